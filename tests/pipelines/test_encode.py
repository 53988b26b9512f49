"""The encode step on the real engine and the embedded encoders."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, load_file

from infra import commits, config
from infra.errors import SteadyDancerError
from infra.ray_session import session
from infra.workspace import Workspace
from model import video
from model.pose.tracks import PoseTrack
from pipelines import dataset
from pipelines.encode import FEATURES, EncodeClip, ReadClip, build_encoders, encode
from pipelines.work.stage import PerProcess, check

CONFIG = config.load("demo", ["curate.shard_clips=2", "resources.cpus=1"])


class Run:
    def log_metrics(self, metrics, step=None):
        pass


def write_dataset(workspace, clips=3):
    """Kept clips of 9 frames, 96x64: a bright block that moves right, and a pose that moves with it."""
    rows = []
    with commits.write(workspace.dataset, "dataset") as folder:
        files = {}
        for number in range(clips):
            images = np.full((9, 96, 64, 3), 40 + 30 * number, np.uint8)
            for n in range(9):
                images[n, 20:80, 4 + 4 * n : 24 + 4 * n] = 230
            name = f"{number:020x}"
            mp4 = video.write(workspace.folder / f"{name}.mp4", images, 10.0)
            grid = np.stack(np.meshgrid(np.linspace(4, 24, 7), np.linspace(20, 80, 19)), -1).reshape(133, 2)
            track = np.float32([grid + (4 * n, 0) for n in range(9)])
            pose = PoseTrack(track, np.ones((9, 133), np.float32)).save(workspace.folder / f"{name}.npz")
            files[name] = mp4, pose
            caption = f"Dance {number}."
            scores = {"duration": 1.0, "brightness": 90.0, "pixel_change": 2.0, "people": 1.0, "single_person": 1.0}
            scores |= {"body_confidence": 1.0, "body_visibility": 1.0, "body_speed": 0.5}
            span = {"clip_id": name, "start": 0.0, "frames": 9, "fps": 10.0, "shot": 0, "crop": [0, 0, 96, 64]}
            source = {"source_id": f"{number:064x}", "source": f"{number}.mp4", "caption": caption}
            rows.append({**span, **source, **scores, "bucket": "96x64", "verdict": "kept", "reasons": []})
        rows.append({**source, "clip_id": "f" * 20, "verdict": "rejected", "reason": "damaged", "reasons": ["damaged"]})
        members = lambda row: dataset.made_members(*files[row["clip_id"]], row)  # noqa: E731
        rows = dataset.write_shards(folder / "shards", rows, members, 2, 10.0)
        dataset.write_manifest(folder / "manifest.parquet", rows)
    return rows


def build_failing(settings):
    real = build_encoders(settings)

    class Failing:
        ids, image, text = real.ids, real.image, real.text

        class codec:
            @staticmethod
            def encode(video_BCTHW):
                if video_BCTHW[0, :, 0, 0, 0].mean() > -0.3:  # the brightest background
                    raise RuntimeError("out of memory, say")
                return real.codec.encode(video_BCTHW)

    return Failing()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Two encodings of one dataset: at once, and after a failure on the way. And what the failure said."""
    import sys

    folder = tmp_path_factory.mktemp("encode")
    once, twice = Workspace(folder / "once"), Workspace(folder / "twice")
    with session(CONFIG.resources, Workspace(folder)):
        import ray

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        for workspace in (once, twice):
            workspace.folder.mkdir()
            write_dataset(workspace)
        with pytest.raises(SteadyDancerError) as failure:
            encode(CONFIG, twice, Run(), build=build_failing)
        assert commits.find(twice.encoded) is None
        units = {path: path.stat().st_mtime_ns for path in twice.units.rglob(FEATURES)}
        commits_made = encode(CONFIG, once, Run()), encode(CONFIG, twice, Run())
    assert len(units) == 2 and all(path.stat().st_mtime_ns == time for path, time in units.items())
    return *commits_made, failure.value, once


def test_a_failure_names_its_clip_and_the_next_run_goes_on_to_the_same_bytes(encoded):
    once, twice, failure, _ = encoded
    assert f"{2:020x}: RuntimeError: out of memory, say" in str(failure)
    assert once.files == twice.files and once.id == twice.id


def test_each_sample_is_read_by_offset_and_has_its_shapes(encoded):
    commit, _, _, workspace = encoded
    rows = pq.read_table(commit.path / "manifest.parquet").to_pylist()
    assert [row["clip_id"] for row in rows] == [f"{n:020x}" for n in range(3)]
    for row in rows:
        with (commit.path / "shards" / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            tensors = load(file.read(row["bytes"]))
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        latent = (16, 3, 12, 8)
        assert shapes.pop("text")[1] == 32
        assert shapes == {
            "latent": latent,
            "pose_latent": latent,
            "image_latent": latent,
            "clip_image": (257, 48),
            "clip_pose": (257, 48),
            "keypoints": (9, 133, 2),
            "scores": (9, 133),
        }
        assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert set(load_file(commit.path / "null_text.safetensors")) == {"text"}
    assert commit.meta["encoders"]["codec"] == "block-dct-1"
    assert commit.parents[0].id == commits.read(workspace.dataset).id


def test_latents_decode_to_the_clip_its_pose_and_its_first_frame(encoded):
    commit, _, _, workspace = encoded
    from model.encoders import build_encoders as real

    codec = real(CONFIG.encode, CONFIG.model).codec
    row = pq.read_table(commit.path / "manifest.parquet").to_pylist()[0]
    with (commit.path / "shards" / row["shard"]).open("rb") as file:
        file.seek(row["offset"])
        tensors = load(file.read(row["bytes"]))
    frames = np.stack([image for _, image in video.frames(workspace.folder / f"{row['clip_id']}.mp4")])
    truth = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1
    clip = codec.decode(tensors["latent"][None])[0]
    assert (clip - truth).abs().mean() < 0.12
    image = codec.decode(tensors["image_latent"][None])[0]
    assert (image[:, 0] - truth[:, 0]).abs().mean() < 0.12 and image[:, 5:].abs().mean() < 0.05
    pose = codec.decode(tensors["pose_latent"][None])[0]
    lit = pose.mean(dim=0) > -0.8
    middle = [float(torch.nonzero(lit[t])[:, 1].float().mean()) for t in (0, 8)]
    assert middle[1] - middle[0] == pytest.approx(32, abs=6), "the drawn pose does not move as the person does"


def test_encoder_settings_identify_the_unit_and_the_stages_fit():
    def stage(**settings):
        return EncodeClip(PerProcess(settings, build_encoders))

    assert stage(a=1).settings() != stage(a=2).settings()
    assert EncodeClip(PerProcess({"a": 1}, build_encoders), on_gpu=True).settings() == stage(a=1).settings()
    check([ReadClip(), stage(a=1)], {"shards", "shard", "offset", "bytes", "sha256", "bucket", "folder"})
    assert EncodeClip(PerProcess({}, build_encoders), on_gpu=True).num_gpus == 1 and FEATURES.endswith(".safetensors")
