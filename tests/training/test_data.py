"""Reading committed clips by offset, and the datasets that are refused."""

import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoded_noise import FRAMES, tiny_config, write_encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError
from model.resolution import output_size
from training.clips import data
from training.clips.data import EncodedDataset, Unreadable


def test_clips_are_read_from_their_shards(workspace):
    encoded = commits.read(workspace.encoded)
    train, held_out = EncodedDataset(encoded, "train"), EncodedDataset(encoded, "val")
    assert [row["clip_id"] for row in train.rows] == ["clip0", "clip1", "clip2", "clip3"] and len(held_out) == 1
    clips = [train[i] for i in range(4)]
    assert [c.clip_id for c in clips] == ["clip0", "clip1", "clip2", "clip3"]
    assert clips[0].latent.shape == (16, 3, 8, 6) and clips[0].keypoints.shape == (FRAMES, 133, 2)
    assert not np.array_equal(clips[0].latent, clips[1].latent)
    assert train.null_text.shape == (1, 32)


def overwrite(dataset, row, place, noise):
    """Changes a clip's bytes in its shard, as a failing disk would. Returns what was there."""
    path = Path(dataset.uri) / "shards" / dataset.rows[row]["shard"]
    with path.open("r+b") as shard:
        shard.seek(dataset.rows[row]["offset"] + place)
        sound = shard.read(len(noise))
        shard.seek(dataset.rows[row]["offset"] + place)
        shard.write(noise)
    return sound


def test_a_damaged_clip_is_named_and_the_others_are_read(workspace):
    dataset = EncodedDataset(commits.read(workspace.encoded))
    overwrite(dataset, 2, 0, b"\xff" * 8)
    with pytest.raises(Unreadable, match=r"clip2 at byte \d+ of .*00000.tar cannot be read: the bytes are no") as error:
        dataset[2]
    assert error.value.clip_id == "clip2" and str(pickle.loads(pickle.dumps(error.value))) == str(error.value)  # noqa: S301
    assert dataset[1].clip_id == "clip1"
    shard = workspace.encoded / "shards" / "00001.tar"
    shard.write_bytes(shard.read_bytes()[: dataset.rows[3]["offset"] + 100])
    with pytest.raises(Unreadable, match="clip3.*bytes before the clip does"):
        dataset[3]
    dataset = EncodedDataset(commits.read_record(workspace.encoded))
    shard.unlink()
    with pytest.raises(Unreadable, match="clip1.*No such file"):
        dataset[1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 900), st.binary(min_size=1, max_size=9))
def test_no_damage_gives_anything_but_a_whole_clip_or_unreadable(workspace, place, noise):
    dataset = EncodedDataset(commits.read_record(workspace.encoded))
    sound = overwrite(dataset, 0, place, noise)
    try:
        clip = dataset[0]
        assert clip.latent.shape == dataset.blank(0).latent.shape and np.isfinite(clip.text).all()
    except Unreadable as error:
        assert "clip0" in str(error)
    finally:
        overwrite(dataset, 0, place, sound)


def with_value(shape, value):
    tensor = np.zeros(shape, np.float32)
    tensor.flat[-1] = value
    return tensor


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"latent": (16, 3, 6, 8)}, r"latent is float32 \(16, 3, 6, 8\), a 64x48 clip has float32 \(16, 3, 8, 6\)"),
        ({"pose_latent": (16, 2, 8, 6)}, "pose_latent"),
        ({"clip_pose": (257, 32)}, "clip_pose"),
        ({"text": (0, 32)}, "text"),
        ({"scores": np.ones((5, 133), np.float32)}, "scores"),
        ({"image_latent": np.zeros((16, 3, 8, 6))}, "image_latent is float64"),
        ({"latent": with_value((16, 3, 8, 6), np.nan)}, "latent holds NaN"),
        ({"text": with_value((5, 32), np.inf)}, "text holds NaN or infinite"),
        ({"scores": with_value((9, 133), 1.5)}, "0..1 expected"),
    ],
)
def test_tensors_that_cannot_be_of_the_clip_are_unreadable(tmp_path, changed, said):
    dataset = EncodedDataset(write_encoded(tmp_path / "e", clips=1, **changed))
    with pytest.raises(Unreadable, match=said):
        dataset[0]


def test_sizes_are_told_apart_and_a_blank_has_the_shapes_of_its_clip(tmp_path):
    dataset = EncodedDataset(write_encoded(tmp_path / "e", buckets=[(64, 48), (48, 64)]))
    assert [dataset.bucket(row) for row in range(5)] == ["64x48", "48x64", "64x48", "48x64", "64x48"]
    for row in range(2):
        clip, blank = dataset[row], dataset.blank(row)
        assert clip.clip_id == blank.clip_id and not blank.latent.any()
        for name in data.TENSORS:
            if name != "text":
                assert getattr(blank, name).shape == getattr(clip, name).shape
            assert getattr(blank, name).dtype == np.float32
        assert blank.text.shape == (1, 32)


def test_threads_read_alike_and_few_files_stay_open(workspace, monkeypatch):
    def slow_pread(descriptor, size, offset, pread=os.pread):
        time.sleep(0.0005)  # another thread may come in here
        return pread(descriptor, size, offset)

    monkeypatch.setattr(data, "OPEN_FILES", 1)
    monkeypatch.setattr(os, "pread", slow_pread)
    dataset = EncodedDataset(commits.read(workspace.encoded))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(dataset.__getitem__, [0, 1, 2, 3] * 10))
    assert [clip.clip_id for clip in clips[:4]] == ["clip0", "clip1", "clip2", "clip3"]
    assert all(np.array_equal(clip.latent, clips[n % 4].latent) for n, clip in enumerate(clips))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("shard", "../shards/00000.tar", "no shard of this commit"),
        ("shard", "/etc/passwd", "no shard of this commit"),
        ("shard", None, "has no shard"),
        ("offset", -5, "outside of"),
        ("bytes", 10**9, "outside of"),
        ("bucket", "64by48", "HEIGHTxWIDTH"),
        ("clip_id", "clip1", "is there twice"),
        ("frames", "nine", "cannot be read"),
        (None, None, "no column fps|fps"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused_when_it_is_opened(workspace, tmp_path, column, value, said):
    table = pq.read_table(workspace.encoded / "manifest.parquet")
    rows = table.to_pylist()
    if column is None:
        rows = [{name: row[name] for name in row if name != "fps"} for row in rows]
    else:
        rows = [row | {column: value if row["clip_id"] == "clip0" else row[column]} for row in rows]
        if isinstance(value, str) and column == "frames":
            rows = [row | {column: value} for row in rows]
    source = commits.read(workspace.encoded)
    with commits.write(tmp_path / "e", "encoded", config=source.config, meta=source.meta) as draft:
        shutil.copytree(source.path, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("COMMIT.json"))
        pq.write_table(pa.Table.from_pylist(rows), draft / "manifest.parquet")
    with pytest.raises(CorruptArtifact, match=said):
        EncodedDataset(commits.read(tmp_path / "e"))


def test_a_text_for_dropped_captions_is_there_when_the_dataset_is_opened(workspace):
    (workspace.encoded / "null_text.safetensors").write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match="null_text.safetensors holds no text"):
        EncodedDataset(commits.read_record(workspace.encoded))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["clip.frames=17"], "clip0 has frames 9, clip.frames is 17"),
        (["clip.fps=12.5"], "clip0 has fps 16, clip.fps is 12.5"),
        (["clip.area=16384"], "64x48 pixels.* clip.area of 3072 to 5120; this config has clip.area=16384"),
        (["clip.area=3071"], "64x48 pixels"),
        (["model.size=small"], "encoded for model.size=tiny"),
        (["encode.codec=wan-vae"], "encode.codec='embedded'"),
        (["train.data=raw"], "is a encoded|is of kind"),
    ],
)
def test_a_dataset_of_another_kind_is_refused(workspace, overrides, said):
    with pytest.raises(SteadyDancerError, match=said):
        data.check(commits.read(workspace.encoded), tiny_config(*overrides))
    data.check(commits.read(workspace.encoded), tiny_config())


@pytest.mark.parametrize(("sizes", "said"), [([(72, 48)], "multiples of 16"), ([(64, 48), (32, 32)], "32x32")])
def test_sizes_that_no_model_takes_or_the_config_does_not_make_are_refused(tmp_path, sizes, said):
    encoded = write_encoded(tmp_path / "e", clips=2, buckets=sizes)
    with pytest.raises(SteadyDancerError, match=said):
        data.check(encoded, tiny_config("clip.area=3456"))


@given(st.integers(2**10, 2**20), st.integers(1, 4000), st.integers(1, 4000))
def test_the_size_that_an_area_gives_is_never_refused(area, height, width):
    try:
        size = output_size(area, height, width)
    except SteadyDancerError:
        return
    data._check_buckets("e", [f"{size[0]}x{size[1]}"], area)


def test_a_dataset_without_clips_to_train_on_is_refused(tmp_path):
    with pytest.raises(SteadyDancerError, match="no clips to train on"):
        data.check(write_encoded(tmp_path / "e", clips=1), tiny_config())


def test_another_dataset_has_another_id(tmp_path):
    first, second = write_encoded(tmp_path / "a"), write_encoded(tmp_path / "b", clips=4)
    assert first.id != second.id
