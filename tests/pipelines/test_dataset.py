"""Shards, manifest, validation and report from rows made by hand: what other tools find in them."""

import base64
import io
import re
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import video
from model.pose.tracks import PoseTrack
from pipelines import dataset, report, shards, validation
from pipelines.columns import COLUMNS
from pipelines.gates import judge, load

GATES = load("demo")


def row(number, **changed):
    base = {
        "clip_id": f"{number:020x}",
        "source_id": f"{(number * 2654435761) % 2**32:08x}" + "0" * 56,
        "source": f"video{number}.mp4",
        "width": 64,
        "height": 96,
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
    made[2]["sidecar"] = "Sie dreht sich, schnell."
    for number in range(5):
        frames = (np.full((96, 64, 3), 20 * number + n, np.uint8) for n in range(9))
        video.write(tmp_path / f"{number:020x}.mp4", frames, 10.0)
        points = np.full((9, 133, 2), number, np.float32)
        PoseTrack(points, np.ones((9, 133), np.float32)).save(tmp_path / f"{number:020x}.npz")
    return made


def written(folder, rows, tmp_path, max_clips=2):
    files = lambda clip: (tmp_path / f"{clip}.mp4", tmp_path / f"{clip}.npz")  # noqa: E731
    return dataset.write_shards(folder, rows, files, max_clips, 100.0)


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


def test_keypoints_are_scaled_to_the_stored_clip(rows, tmp_path):
    large = [row(3, width=1280, height=1920, bucket="96x64")]
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


def finished_rows(rows, tmp_path):
    dataset.write_manifest(tmp_path / "m.parquet", written(tmp_path / "shards", rows, tmp_path))
    return dataset.read_manifest(tmp_path / "m.parquet")


def test_every_breach_is_refused_with_rule_and_clip(rows, tmp_path):
    good = finished_rows(rows, tmp_path)
    validation.refuse_if_broken(validation.validate(good, GATES, 9, 10.0))
    broken = [dict(r) for r in good]
    broken[0] |= {"stored_frames": 8, "body_speed": 0.01}
    broken[1] |= {"clip_id": broken[0]["clip_id"], "shard": None}
    broken[2] |= {"fps": 12.0, "reason": "motion", "source": "/abs.mp4"}
    broken[5] |= {"reason": "no reason known", "brightness": 300.0}
    broken[6] |= {"reason": None, "shard": "shard-000000.tar", "verdict": "rejected"}
    with pytest.raises(validation.DatasetRefused) as refusal:
        validation.refuse_if_broken(validation.validate(broken, GATES, 9, 10.0))
    for rule, number in {
        "clip_id is unique": 0,
        "source is a relative path": 2,
        "brightness within its range": 5,
        "kept: frames stored": 0,
        "kept: passes gate body_speed (motion)": 0,
        "kept: shard is there": 1,
        "kept: fps as configured": 2,
        "kept: no reason": 2,
        "rejected: a known reason": 5,
        "rejected: has a reason": 6,
        "rejected: is in no shard": 6,
    }.items():
        assert re.search(rf"{re.escape(rule)}: clips .*{broken[number]['clip_id']}", str(refusal.value)), rule
    assert len(str(refusal.value).splitlines()) == 1 + 11 + 1


def test_a_dataset_without_a_kept_clip_is_refused(rows, tmp_path):
    with pytest.raises(validation.DatasetRefused, match="at least one clip is kept"):
        validation.refuse_if_broken(validation.validate(finished_rows(rows, tmp_path)[5:], GATES, 9, 10.0))


def test_the_report_needs_no_network_names_everything_and_is_reproducible(rows, tmp_path):
    made = finished_rows(rows, tmp_path)
    made[0]["source"] = "<script>alert(1)</script>.mp4"
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"\xff\xd8picture")
    pages = []
    for name in ("a.html", "b.html"):
        report.write(
            tmp_path / name, made, GATES, [], lambda clip: picture if clip == made[1]["clip_id"] else tmp_path / "no"
        )
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]
    assert "http" not in pages[0] and "<script" not in pages[0]
    assert all(made_row["clip_id"] in pages[0] for made_row in made)
    assert base64.b64encode(picture.read_bytes()).decode() in pages[0]
