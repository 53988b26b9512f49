"""Validation videos: what is sampled, what is written, and that nothing of it reaches the training."""

import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from encoded_noise import FRAMES, HEIGHT, WIDTH, tiny_config
from rich.console import Console
from safetensors.torch import save_file

from infra import commits
from model import video
from training import preview
from training.job import Job
from training.preview import Previews

SIZE = (HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def config():
    return tiny_config("animate.steps=3", "animate.negative_prompt=''", "animate.area=3072", "train.preview_every=10")


@pytest.fixture(scope="module")
def trained(config) -> dict[str, torch.Tensor]:
    """What stage 1 trains, after a good deal of training."""
    from training.adapters import make_trainable
    from training.trainer import starting_model

    model = starting_model(config, None)
    make_trainable(model, config.train.stages[0], seed=0)
    torch.manual_seed(0)
    return {
        name: value.detach() + 0.05 * torch.randn_like(value)
        for name, value in model.named_parameters()
        if value.requires_grad
    }


def test_a_clip_is_sampled_as_a_video_is_animated(config, monkeypatch):
    """By the same numbers from the same noise, though one starts from encoded parts and the other from pictures."""
    from model import animate
    from model.denoising import Denoiser
    from model.encoders import build_encoders
    from model.inputs import DrawnPoses, Motion, encode_image, encode_pose, to_signed
    from model.pose.perturbation import negative
    from model.pose.tracks import PoseTrack
    from training.clips.data import EncodedClip
    from training.trainer import starting_model
    from training.validation_video import sampled

    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (FRAMES, *SIZE, 3), np.uint8)
    points = random.uniform(4, WIDTH - 4, (FRAMES, 133, 2)).astype(np.float32)
    track = PoseTrack(points, np.ones((FRAMES, 133), np.float32))
    encoders = build_encoders(config.encode, config.model)
    image, pose = encode_image(encoders, pictures[0], FRAMES, SIZE), encode_pose(encoders, track, SIZE, SIZE)
    prompt, nothing = encoders.text(["a dancer", ""])
    parts = encoders.codec.encode(to_signed(pictures).transpose(0, 1)[None]), pose.latent_BCTHW, image.latent_BCTHW
    parts = [part[0].numpy() for part in (*parts, image.clip_BND, pose.clip_BND)]
    clip = EncodedClip("a", *parts, prompt.numpy(), track.keypoints, track.scores)
    model = starting_model(config, None)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # the new parts are zero before any training
            parameter += 0.05 * torch.randn_like(parameter)
    denoiser = Denoiser(model, encoders, config.animate, torch.device("cpu"))
    shown = sampled(denoiser, clip, nothing, np.random.default_rng(5))

    draws = np.random.default_rng(5)
    noise = draws.standard_normal((1, *clip.latent.shape), dtype=np.float32)
    motion = Motion(*(DrawnPoses([each], SIZE, SIZE) for each in (track, negative(track, draws))))
    monkeypatch.setattr(animate, "reused_noise", lambda *_: torch.from_numpy(noise))
    expected = animate.generate(model, encoders, pictures[0], motion, "a dancer", config.animate, seed=0, window=FRAMES)
    assert np.array_equal(shown.generated, expected)
    assert shown.true.shape == shown.pose.shape == expected.shape == (FRAMES, *SIZE, 3)
    assert not np.array_equal(shown.true, shown.pose)


def test_videos_and_a_contact_sheet_are_written(config, trained, workspace, tmp_path):
    from training.validation_video import write_preview

    def written(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
        state, out = tmp_path / f"state-{name}", tmp_path / name
        state.mkdir()
        half = sorted(tensors)[: len(tensors) // 2]
        save_file({key: tensors[key] for key in half}, state / "trained-0000.safetensors")
        save_file({key: tensors[key] for key in tensors.keys() - set(half)}, state / "trained-0001.safetensors")
        write_preview(config, 1, None, state, commits.read(workspace.encoded), out, step=7, device="cpu")
        return {path.name: path.read_bytes() for path in out.iterdir()}

    first = written("first", trained)
    assert sorted(first) == ["clip-clip4.mp4", "sheet.jpg"]  # the one that is held out
    assert written("again", trained) == first
    others = written("others", {name: value + 0.05 for name, value in trained.items()})
    assert others["sheet.jpg"] != first["sheet.jpg"] and others["clip-clip4.mp4"] != first["clip-clip4.mp4"]
    frames = [image for _, image in video.frames(tmp_path / "first/clip-clip4.mp4")]
    # three pictures of 48x64 beside each other, 4 times as large, below two lines
    assert len(frames) == FRAMES and frames[0].shape == (2 * 20 + 4 * HEIGHT, 3 * 4 * WIDTH, 3)


def test_clips_of_several_sizes_share_a_sheet():
    from training.validation_video import Shown, contact_sheet, side_by_side

    def shown(name: str, frames: int, height: int, width: int) -> Shown:
        return Shown(name, *(np.full((frames, height, width, 3), grey, np.uint8) for grey in (10, 120, 200)))

    clips = [shown("wide", 9, 48, 256), shown("tall", 1, 64, 32)]
    sheet = contact_sheet(clips, "stage 1, step 2")
    assert sheet.shape == (20 + 3 * (20 + 48) + 3 * (20 + 6 * 64), 5 * 256, 3)
    assert [sheet[20 + 20 + n * 68, 0, 0] for n in range(3)] == [10, 120, 200]
    assert side_by_side(clips[1], "x").shape == (1, 2 * 20 + 6 * 64, 3 * 6 * 32, 3)


class Ray(SimpleNamespace):
    """Tasks that are begun at once and end when told to."""

    def __init__(self, **resources: float):
        super().__init__(resources=resources, begun=[], ended={}, cancelled=[])

    def cluster_resources(self):
        return self.resources

    available_resources = cluster_resources

    def remote(self, **options):
        def task(job, state, step, out, device):
            weights = sorted(path.name for path in state.iterdir())
            self.begun.append(
                SimpleNamespace(step=step, state=state, out=out, device=device, weights=weights, **options)
            )
            return step

        return lambda function: SimpleNamespace(remote=task)

    def wait(self, tasks, timeout):
        return [task for task in tasks if task in self.ended], []

    def get(self, task):
        if isinstance(self.ended[task], Exception):
            raise self.ended[task]
        return self.ended[task]

    def cancel(self, task, force):
        self.cancelled.append(task)


@pytest.fixture
def ray(monkeypatch) -> Ray:
    fake = Ray(CPU=2.0)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


@pytest.fixture
def job(config, tmp_path) -> Job:
    return Job(config, 1, {}, str(tmp_path / "encoded"), tmp_path / "cache", None, tmp_path / "stage")


def checkpoint(job: Job, step: int) -> Path:
    target = job.folder / f"step-{step:06d}"
    with commits.write(target, "train_state", meta={"step": step}) as draft:
        for name in ("trained-0000", "trained-0001", "moments-0000"):
            (draft / f"{name}.safetensors").write_bytes(name.encode())
    return target


def quiet() -> Console:
    return Console(record=True, width=200, file=io.StringIO())


def test_one_at_a_time_and_the_newest_next(ray, job):
    previews = Previews(job, quiet())
    for step in (10, 20, 30):
        previews.submit(state := checkpoint(job, step), step)
        shutil.rmtree(state)  # retention does not wait
    assert [task.step for task in ray.begun] == [10] and previews.collect() == []
    assert ray.begun[0].weights == ["trained-0000.safetensors", "trained-0001.safetensors"]
    ray.ended[10] = ray.begun[0].out
    assert previews.collect() == [(10, ray.begun[0].out)]
    assert [task.step for task in ray.begun] == [10, 30] and len(ray.begun[1].weights) == 2
    assert not ray.begun[0].state.exists()
    ray.ended[30] = ray.begun[1].out
    assert previews.close(0) == [(30, ray.begun[1].out)] and previews.collect() == []
    assert not any((job.folder / "previews").iterdir())


def test_what_goes_wrong_is_told_and_goes_no_further(ray, job):
    console = quiet()
    with Previews(job, console) as previews:
        previews.submit(job.folder / "step-000010", 10)  # gone already
        state = checkpoint(job, 20)
        previews.submit(state, 20)
        ray.ended[20] = RuntimeError("the codec is not there")
        previews.look()
        previews.submit(checkpoint(job, 30), 30)
        previews.submit(checkpoint(job, 40), 40)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preview, "LAST_S", 0.0)
            previews.__exit__(None)
    said = console.export_text()
    assert "step 10. " in said and "no committed artifact" in said and "step 20. the codec is not there" in said
    assert "step 30. It was not done" in said and "step 40. It was not begun" in said and ray.cancelled == [30]
    assert not any((job.folder / "previews").iterdir())


def test_the_driver_looks_for_the_first_checkpoint_since_a_multiple(ray, job, monkeypatch):
    logged = []
    run = SimpleNamespace(log_artifact=lambda path, folder: logged.append((path.name, folder)))
    previews = Previews(replace(job, run=run), quiet())
    previews.look()
    (job.folder / "step-of-somebody").mkdir(parents=True)
    for step, begun in ((6, []), (12, [12]), (18, [12]), (24, [12, 24]), (1_000_001, [12, 24, 1_000_001])):
        checkpoint(job, step)
        for task in ray.begun:
            task.out.mkdir(exist_ok=True)
            (task.out / "sheet.jpg").touch()
            ray.ended[task.step] = task.out
        previews.look()
        assert [task.step for task in ray.begun] == begun
    assert logged == [("sheet.jpg", f"previews/step-0000{step}") for step in (12, 24)]
    monkeypatch.setattr(Path, "glob", lambda *_: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
    previews.look()


@pytest.mark.parametrize(
    ("gpus", "size", "device"),
    [(0, "tiny", "cpu"), (2, "tiny", "cpu"), (3, "tiny", "cuda"), (3, "wan-14b", "cuda"), (2, "wan-14b", None)],
)
def test_a_gpu_is_taken_only_beside_those_of_the_workers(ray, job, gpus, size, device):
    ray.resources["GPU"] = gpus
    config = tiny_config("train.workers=2", f"model.size={size}")
    previews = Previews(replace(job, config=config), quiet())
    previews.submit(checkpoint(job, 10), 10)
    if device is None:
        [(step, error)] = previews.collect()
        assert step == 10 and "none is to spare beside 2 workers" in str(error) and not ray.begun
    else:
        [task] = ray.begun
        assert (task.device, task.num_gpus, task.num_cpus) == (device, int(device == "cuda"), 0)
