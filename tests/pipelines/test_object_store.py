"""Sources and commits on an S3-compatible server, also one that fails now and then."""

import io
import itertools
from contextlib import ExitStack

import fsspec
import pytest
import s3_server

from infra import commits, storage
from infra.errors import SteadyDancerError
from infra.lineage import descendants
from pipelines.ingest import fetching
from pipelines.ingest.describing import describe
from pipelines.ingest.sources import SourceError, find

pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
FILES = {"a/x.mp4": b"x" * 70_000, "b.mp4": b"b", "b.txt": b"She spins.", "copy.mp4": b"b", "a/notes.md": b""}
TABLE = b'{"path": "a/x.mp4", "licence": "CC0", "take": 1}\n{"path": "missing.mp4"}\n'


@pytest.fixture(scope="module")
def server():
    with s3_server.serving() as server:
        yield server


@pytest.fixture
def failing(server):
    with ExitStack() as until_the_end:
        yield lambda statuses, every=1: until_the_end.enter_context(s3_server.failing(server, statuses, every))


buckets = itertools.count()


@pytest.fixture
def bucket(server):
    name = f"bucket{next(buckets)}"
    filesystem, _ = storage.opened(f"s3://{name}")
    filesystem.mkdir(name)
    for path, content in {**FILES, "table.jsonl": TABLE}.items():
        filesystem.pipe_file(f"{name}/in/{path}", content)
    return f"s3://{name}"


def write(uri, **options):
    with commits.write(uri, "dataset", meta={"n": 1}, about=("report.html",), **options) as folder:
        (folder / "shards").mkdir()
        (folder / "shards/0.tar").write_bytes(b"tar" * 9000)
        (folder / "report.html").write_text("3 s")
    return commits.read(uri)


def on_disk(tmp_path):
    for path, content in {**FILES, "table.jsonl": TABLE}.items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(content)
    return str(tmp_path)


def chain(root, cache):
    """What sources and commits under ``root`` give, without where they lie."""
    rows = describe(find([f"{root}/in", f"{root}/in/table.jsonl"]), cache=cache / "sources")
    copies = [fetching.local(row).read_bytes() for row in rows if "fault" not in row]
    commit = commits.verify(write(f"{root}/out"))
    local = commits.fetch(f"{root}/out", cache / "commits")
    contents = {name: (local.path / name).read_bytes() for name in local.files}
    return [{**row, "path": None, "cache": None} for row in rows], copies, commit.id, contents


def test_the_same_as_on_disk_while_every_tenth_request_fails(bucket, tmp_path, failing):
    failed = failing(["500 Internal Server Error", "503 Slow Down", "reset"], every=10)
    found = chain(bucket, tmp_path / "cache")
    assert found == chain(on_disk(tmp_path), tmp_path / "cache")
    assert [row.get("fault") for row in found[0]] == [None, None, "duplicate", "unreadable"] and found[0][1]["sidecar"]
    assert len(failed) >= 3


def test_a_changed_file_of_a_commit_is_found(bucket):
    commit = write(f"{bucket}/out")
    filesystem, root = storage.opened(f"{bucket}/out")
    filesystem.pipe_file(f"{root}/shards/0.tar", b"TAR" * 9000)
    with pytest.raises(SteadyDancerError, match=r"0\.tar was changed"):
        commits.verify(commit)
    filesystem.rm_file(f"{root}/shards/0.tar")
    with pytest.raises(SteadyDancerError, match=r"0\.tar is missing"):
        commits.read(f"{bucket}/out")


def test_nothing_there_and_descendants(bucket):
    assert commits.find(f"{bucket}/nothing") is None
    dataset = write(f"{bucket}/out")
    with commits.write(f"{bucket}/encoded", "encoded", parents=[dataset]):
        pass
    assert [commit.uri for commit in descendants(dataset.id, bucket)[0]] == [f"{bucket}/encoded"]


def test_a_bucket_that_is_not_there_is_named(server):
    for call in (commits.find, write, lambda uri: find([f"{uri}/x.mp4"])):
        with pytest.raises(SteadyDancerError, match="s3://nobucket/.*bucket does not exist|x.mp4 does not exist"):
            call("s3://nobucket/a")


def test_refused_credentials_are_told(bucket, failing):
    failing(["403 Forbidden"])
    for call in (commits.find, write):
        with pytest.raises(SteadyDancerError, match="access is refused") as caught:
            call(f"{bucket}/out")
        assert "AWS_ACCESS_KEY_ID" in str(caught.value)


def test_no_credentials_and_no_server_are_told(monkeypatch, server):
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()
    monkeypatch.setattr(storage, "RETRIES", {"mode": "standard", "total_max_attempts": 1})
    monkeypatch.setitem(storage._OPTIONS["s3"]["config_kwargs"], "retries", storage.RETRIES)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SteadyDancerError, match=r"cannot be used: Could not connect.*127\.0\.0\.1:9"):
        commits.find("s3://bucket/a")
    filesystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(SteadyDancerError, match="cannot be used: Unable to locate credentials"):
        commits.find("s3://bucket/a")
    filesystem.clear_instance_cache()


def test_a_table_may_lie_on_a_store_and_errors_do_not_tell_where(bucket):
    rows = {row["source"]: row for row in describe(find([f"{bucket}/in/table.jsonl"]))}
    assert rows["a/x.mp4"]["licence"] == "CC0"
    assert rows["missing.mp4"]["fault"] == "unreadable" and bucket not in rows["missing.mp4"]["error"]
    with pytest.raises(SourceError, match="does not exist"):
        find([f"{bucket}/none"])


def test_reading_a_part_of_a_file(bucket):
    commit = write(f"{bucket}/out")
    with commit.open("shards/0.tar") as file:
        file.seek(3)
        assert io.BytesIO(file.read(6)).getvalue() == b"tartar"
