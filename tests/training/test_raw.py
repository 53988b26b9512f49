"""Clips of a dataset that was not encoded, against what `encode` makes of them."""

import numpy as np
import pytest
import torch
from encoded_noise import tiny_config, write_encoded
from safetensors.numpy import load_file

from infra import commits
from infra.errors import SteadyDancerError
from model import video
from model.encoders import build_encoders
from model.pose.tracks import PoseTrack
from pipelines import dataset
from pipelines.encode import FEATURES, NULL_TEXT, EncodeClip, ReadClip
from pipelines.work import stage
from pipelines.work.stage import PerProcess
from training.clips import data
from training.clips.data import EncodedDataset, Unreadable
from training.clips.raw import RawDataset, open_clips

CONFIG = tiny_config("train.data=raw")
SPLITS = ("train", "val", "train")


def encoders(settings=None):
    return build_encoders(CONFIG.encode, CONFIG.model)


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Three kept clips of 9 frames of 64x48, the last with a pose that is one frame short, and a rejected one."""
    folder, rows, files = tmp_path_factory.mktemp("raw"), [], {}
    for number in range(3):
        name = f"{number:020x}"
        images = np.random.default_rng(number).integers(0, 255, (9, 8, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        body = np.random.default_rng(number).uniform(8, 40, (9 - number // 2, 133, 2)).astype(np.float32)
        pose = PoseTrack(body, np.ones(body.shape[:2], np.float32)).save(folder / f"{name}.npz")
        files[name] = video.write(folder / f"{name}.mp4", images, 16.0), pose
        span = {"clip_id": name, "frames": 9, "fps": 16.0, "crop": [0, 0, 64, 48], "bucket": "64x48"}
        rows.append({**span, "source_id": f"{number:064x}", "caption": f"Dance {number}.", "verdict": "kept"})
    rows.append({"clip_id": "f" * 20, "verdict": "rejected", "reason": "damaged"})
    with commits.write(folder / "dataset", "dataset") as draft:
        members = lambda row: dataset.made_members(*files[row["clip_id"]], row)  # noqa: E731
        rows = dataset.write_shards(draft / "shards", rows, members, 2, 10.0)
        for row, split in zip(rows, SPLITS, strict=False):
            row["split"] = split
        dataset.write_manifest(draft / "manifest.parquet", rows)
    return commits.read(folder / "dataset")


def test_a_raw_clip_is_the_encoded_one_tensor_for_tensor(curated, tmp_path):
    data.check(curated, CONFIG)
    train, held_out = open_clips(curated, CONFIG)
    assert (len(train), len(held_out)) == (2, 1) and train.codec == "block-dct-1" and train.bucket(1) == "64x48"
    for clips, place, name in ((train, 0, f"{0:020x}"), (held_out, 0, f"{1:020x}")):
        row = {**clips.rows[place], "shards": f"{curated.uri}/shards", "folder": tmp_path}
        stage.run([ReadClip(), EncodeClip(PerProcess({}, encoders))], row)
        clip, encoded = clips[place], load_file(tmp_path / FEATURES)
        assert clip.clip_id == name and set(encoded) == set(data.TENSORS)
        for tensor in data.TENSORS:
            assert np.array_equal(getattr(clip, tensor), encoded[tensor]), tensor
            assert getattr(clip, tensor).dtype == np.float32
        assert np.array_equal(clips.null_text, load_file(tmp_path / NULL_TEXT)["text"])
    assert held_out.blank(0).latent.shape == held_out[0].latent.shape


def test_what_cannot_be_encoded_is_unreadable(curated):
    clips = RawDataset(curated, None, encoders())
    with pytest.raises(Unreadable, match=f"{2:020x} at byte .*pose 8 frames, 9 frames of 64x48 expected"):
        clips[2]
    shard = curated.path / "shards" / clips.rows[0]["shard"]
    sound = shard.read_bytes()
    try:
        shard.write_bytes(sound[:3000] + bytes([sound[3000] ^ 1]) + sound[3001:])
        with pytest.raises(Unreadable, match=f"{0:020x}.*not those that were written"):
            clips[0]
        assert clips[1].clip_id == f"{1:020x}"
    finally:
        shard.write_bytes(sound)


def test_latents_that_are_no_numbers_are_unreadable(curated):
    class Overflowing:
        id = "overflowing"

        def encode(self, video_BCTHW):
            return torch.full((1, 16, 3, 8, 6), torch.inf)

    real = encoders()
    with pytest.raises(Unreadable, match="latent holds NaN or infinite"):
        RawDataset(curated, "train", type(real)(Overflowing(), real.image, real.text))[0]


def test_the_kind_of_data_is_the_one_the_config_names(curated, tmp_path):
    encoded = write_encoded(tmp_path / "encoded")
    assert isinstance(open_clips(encoded, tiny_config())[0], EncodedDataset)
    with pytest.raises(SteadyDancerError, match="train.data=encoded reads 'encoded'"):
        data.check(curated, tiny_config())
    with pytest.raises(SteadyDancerError, match="clip.area=6144"):
        data.check(curated, tiny_config("train.data=raw", "clip.area=6144"))
