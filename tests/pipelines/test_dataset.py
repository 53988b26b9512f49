"""Shards and manifest from rows made by hand: what other tools find in them."""

import io
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import CorruptArtifact
from model import video
from model.pose.tracks import PoseTrack
from pipelines import dataset, shards
from pipelines.columns import COLUMNS
from pipelines.gates import HAS_BODY, Gate, Gates, judge

GATES = Gates((Gate("single_person", "person_count", min=0.6), Gate("people", "person_count", max=1), HAS_BODY))


def row(number, **changed):
    base = {
        "clip_id": f"{number:020x}",
        "source_id": f"{(number * 2654435761) % 2**32:08x}" + "0" * 56,
        "source": f"video{number}.mp4",
        "crop": [0, 0, 96, 64],
        "caption": f"Dance {number}.",
        "shot": 0,
        "start": 0.5,
        "frames": 9,
        "fps": 10.0,
        "duration": 2.0,
        "brightness": 100.0,
        "pixel_change": 3.0,
        "people": 1.0,
        "single_person": 1.0,
        "body_confidence": 0.9,
        "body_visibility": 1.0,
        "body_speed": 0.2,
        "bucket": "96x64",
        "stored_frames": 9,
    } | changed
    return base | judge(base, GATES)


@pytest.fixture
def rows(tmp_path):
    made = [row(n) for n in range(5)] + [row(9, people=2.0, single_person=0.0), row(8, fault="too_short", start=None)]
    made[2]["caption"] = "Sie dreht sich, schnell."
    for number in range(5):
        frames = (np.full((96, 64, 3), 20 * number + n, np.uint8) for n in range(9))
        video.write(tmp_path / f"{number:020x}.mp4", frames, 10.0)
        points = np.full((9, 133, 2), number, np.float32)
        PoseTrack(points, np.ones((9, 133), np.float32)).save(tmp_path / f"{number:020x}.npz")
    return made


def written(folder, rows, tmp_path, max_clips=2):
    def members(row):
        return dataset.made_members(tmp_path / f"{row['clip_id']}.mp4", tmp_path / f"{row['clip_id']}.npz", row)

    return dataset.write_shards(folder, rows, members, max_clips, 100.0)


def test_plain_webdataset_reads_the_shards(rows, tmp_path):
    import webdataset

    out = written(tmp_path / "shards", rows, tmp_path)
    paths = sorted(str(path) for path in (tmp_path / "shards").iterdir())
    assert [path[-16:] for path in paths] == [f"shard-{n:06d}.tar" for n in range(3)]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    kept = [r for r in out if r["verdict"] == "kept"]
    assert [s["__key__"] for s in samples] == [r["clip_id"] for r in kept]
    for sample, kept_row in zip(samples, kept, strict=True):
        assert {"mp4", "pose.npz", "txt", "json"} <= set(sample)
        assert sample["txt"].decode() == kept_row["caption"]
        with np.load(io.BytesIO(sample["pose.npz"]), allow_pickle=False) as pose:
            assert pose["keypoints"].shape == (9, 133, 2) and pose["keypoints"][0, 0, 0] == int(kept_row["clip_id"], 16)
    assert samples[2]["txt"].decode() == "Sie dreht sich, schnell."


def test_a_clip_is_read_by_its_offset_alone(rows, tmp_path):
    for kept in (r for r in written(tmp_path / "shards", rows, tmp_path) if r["verdict"] == "kept"):
        members = shards.read(tmp_path / "shards", kept["shard"], kept["offset"], kept["bytes"])
        assert members["mp4"] == (tmp_path / f"{kept['clip_id']}.mp4").read_bytes()
        assert members["txt"].decode() == kept["caption"]
        shard = (tmp_path / "shards" / kept["shard"]).read_bytes()
        found = {m["suffix"]: shard[m["offset"] : m["offset"] + m["bytes"]] for m in kept["members"]}
        assert found == members


def test_a_changed_shard_is_found_when_a_clip_is_taken_from_it(rows, tmp_path):
    kept = next(r for r in written(tmp_path / "shards", rows, tmp_path) if r["verdict"] == "kept")
    members = dataset.stored_members(tmp_path)
    assert dict(members(kept))["txt"].decode() == kept["caption"]
    path = tmp_path / "shards" / kept["shard"]
    content = bytearray(path.read_bytes())
    content[kept["offset"] + 700] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match=f"{kept['shard']}.*not those that were written"):
        members(kept)


def test_keypoints_are_scaled_to_the_stored_clip(rows, tmp_path):
    large = [row(3, crop=[40, 20, 1920, 1280], bucket="96x64")]
    (out,) = written(tmp_path / "shards", large, tmp_path)
    members = shards.read(tmp_path / "shards", out["shard"], out["offset"], out["bytes"])
    with np.load(io.BytesIO(members["pose.npz"])) as pose:
        assert pose["keypoints"][0, 0] == pytest.approx([3 * 64 / 523, 3 * 96 / 784], rel=0.002)


def test_the_order_of_rows_does_not_change_a_byte(rows, tmp_path):
    first = written(tmp_path / "a", [dict(r) for r in rows], tmp_path)
    second = written(tmp_path / "b", [dict(r) for r in reversed(rows)], tmp_path)
    dataset.write_manifest(tmp_path / "a.parquet", first)
    dataset.write_manifest(tmp_path / "b.parquet", second)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_plain_pyarrow_reads_the_manifest(rows, tmp_path):
    dataset.write_manifest(tmp_path / "m.parquet", written(tmp_path / "shards", rows, tmp_path))
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.column_names == [column.name for column in COLUMNS]
    assert table["clip_id"].to_pylist() == sorted(r["clip_id"] for r in rows)
    assert table["reasons"].to_pylist()[-1] == ["person_count"]
    assert dataset.funnel(table.to_pylist()) == {
        "sources": 7,
        "found": 7,
        "rejected": {"person_count": 1, "too_short": 1},
        "kept": 5,
    }


def test_clips_of_a_source_share_a_split_and_there_is_something_to_train_on(rows, tmp_path):
    held_out = "00000001" + "0" * 56
    mixed = [row(0, source_id=held_out), row(1, source_id=held_out), row(2, source_id="f" * 64)]
    assert [r["split"] for r in written(tmp_path / "a", mixed, tmp_path)] == ["val", "val", "train"]
    assert [r["split"] for r in written(tmp_path / "b", mixed[:2], tmp_path)] == ["train", "train"]


hashes = st.sets(st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"), min_size=1, max_size=40)


@given(hashes, hashes)
def test_a_source_keeps_its_split_as_a_dataset_grows(sources, more):
    before, after = dataset.splits(sources), dataset.splits(sources | more)
    assert "train" in before.values()
    assert len(sources) < dataset.SPLIT_SOURCES or "val" in before.values()
    by_hash = {name: "val" if int(name[:8], 16) < 0.1 * 2**32 else "train" for name in sources}
    if before == by_hash and set(after.values()) == {"train", "val"} and "val" in by_hash.values():
        assert {name: after[name] for name in sources} == before


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=12), st.integers(1, 5), st.integers(2, 12))
def test_shards_keep_their_bounds_and_lose_nothing(tmp_path_factory, contents, most, kilobytes):
    folder = tmp_path_factory.mktemp("shards")
    samples = [(f"{number:03d}", [("bin", content)]) for number, content in enumerate(contents)]
    places = shards.write(folder, samples, most, kilobytes / 1000)
    found = {}
    for number, path in enumerate(sorted(folder.iterdir())):
        assert path.name == f"shard-{number:06d}.tar"
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert len(members) <= most
            assert (
                len(members) == 1 or sum(512 - -m.size // 512 * 512 for m in members) <= kilobytes * 1000 + 512 * most
            )
            found |= {m.name[:-4]: tar.extractfile(m).read() for m in members}
    assert found == {name: members[0][1] for name, members in samples}
    for name, place in places.items():
        offset, size = place.members["bin"]
        assert (folder / place.shard).read_bytes()[offset : offset + size] == found[name]
