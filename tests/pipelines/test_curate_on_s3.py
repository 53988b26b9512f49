"""Curation and encoding with sources and results on an object store that fails now and then."""

import figures
import pytest
import s3_server
from figures import curated, film

from infra import commits, storage
from infra.workspace import Workspace
from pipelines.encode import encode

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
STATUSES = ["500 Internal Server Error", "503 Slow Down", "reset"]


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """(dataset, encoded) from disk to disk, the same from store to store, and what the store answered wrongly."""
    folder = tmp_path_factory.mktemp("s3")
    films = folder / "films"
    films.mkdir()
    for number in range(2):
        film(films / f"good{number}.mp4", look=number)
    film(films / "two.mp4", figures=2, look=9)
    (films / "text.mp4").write_text("not a video")
    (films / "good1.txt").write_text("A figure swings.")
    made = []
    with s3_server.serving() as server, figures.ray_with(1, folder):
        filesystem, _ = storage.opened("s3://bucket")
        filesystem.mkdir("bucket")
        filesystem.put(str(films), "bucket/films", recursive=True)
        with s3_server.failing(server, STATUSES, every=10) as failed:
            for work, place, overrides in (
                (folder / "disk", films, []),
                (folder / "store", "s3://bucket/films", ["store=s3://bucket/made"]),
            ):
                dataset, _ = curated([place], work, overrides)
                config = figures.settings([place], work, overrides)
                made.append((dataset, encode(config, Workspace(work, config.store), figures.Run())))
        yield *made, failed


def test_the_store_gives_the_bytes_of_the_disk_while_every_tenth_request_fails(chains):
    (dataset, encoded), (remote_dataset, remote_encoded), failed = chains
    assert len(failed) >= 6 and {*failed} == {*STATUSES}
    assert figures.content(dataset) == figures.content(remote_dataset) != {}
    assert encoded.files == remote_encoded.files
    assert remote_dataset.uri == "s3://bucket/made/dataset" and remote_encoded.uri == "s3://bucket/made/encoded"
    assert remote_encoded.parents[0].id == remote_dataset.id
    commits.verify(remote_dataset)
