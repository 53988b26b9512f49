"""`steadydancer animate`: files in, videos, grid and provenance out. Estimator and model know the answer, mostly."""

import hashlib
import json

import numpy as np
import pytest
import torch
import yaml
from animating import SMALL, call, comment, pair, shots
from known_answer import Stub
from PIL import Image
from safetensors.torch import save_file

from infra import commits, config
from infra.errors import SteadyDancerError
from model import video
from model.animation import command, parts, rendering, reporting
from model.animation.out_of_memory import OutOfMemory
from model.animation.parts import choose
from model.checkpoint import build_base, load_model, save_model
from model.denoising import Denoiser


def test_a_picture_and_a_driving_become_a_video_that_says_what_it_is(files, stub, checkpoint, monkeypatch, capfd):
    previews = []
    whole = rendering.generate

    def generate(*inputs, **options):
        frames = whole(*inputs, **options)
        previews.extend(path.name for path in (files / "new").iterdir())
        return frames

    monkeypatch.setattr(rendering, "generate", generate)
    common = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", checkpoint, *SMALL]
    assert call(*common, "--out", "new/out.mp4", "--seed", 3, "--preview", "clip.frames=81") == 0
    shown = capfd.readouterr()
    assert len(shots("new/out.mp4")) == 9, "the length it was trained on"
    assert video.probe("new/out.mp4").fps == 16
    assert "9 frames of 32x48 at 16 fps, seed 3" in shown.out and "dB" in shown.out
    assert "below 20 dB is unlike the picture" in shown.err, "the model is untrained"
    assert "animate.steps=1, animate.precision=fp32, 32x48 pixels" in shown.err
    assert previews == ["out.preview.png"] and [path.name for path in (files / "new").iterdir()] == ["out.mp4"]
    made, before = json.loads(comment("new/out.mp4")), shots(files / "new/out.mp4")
    assert made["seed"] == 3 and made["model"] == commits.read(checkpoint).id and made["animate"]["steps"] == 1
    for name, file in (("image", "photo.png"), ("driving", "dance.mp4")):
        assert made[name] == hashlib.sha256((files / file).read_bytes()).hexdigest()
    assert "Not a recording" in made["about"] and {"settings", "code"} <= made.keys()
    assert made["encoders"] == {"codec": "block-dct-1", "image": "patches-1-48", "text": "words-1-32"}
    width = load_model(checkpoint / "model").blocks[0].attn1.to_q.weight.shape[0]
    layer = "diffusion_model.blocks.0.self_attn.q"
    ends = {f"{layer}.lora_down.weight": torch.ones(1, width), f"{layer}.lora_up.weight": torch.ones(width, 1)}
    save_file(ends, files / "style.safetensors")
    elsewhere = ["--lora", "style.safetensors:0.5", "encode.codec_weights=/elsewhere"]
    assert call(*common, "--out", "new/out.mp4", "--seed", 3, *elsewhere) == 0
    again = json.loads(comment("new/out.mp4"))
    digest = hashlib.sha256((files / "style.safetensors").read_bytes()).hexdigest()
    assert again.pop("lora") == [{"sha256": digest, "scale": 0.5}] and again == made
    assert any((frame != old).any() for frame, old in zip(shots(files / "new/out.mp4"), before, strict=True))


def test_several_become_a_folder_with_a_grid_and_what_fails_is_named(files, fake, capfd):
    Image.fromarray(np.full((200, 100, 3), 200, np.uint8)).save("other.png")
    (files / "text.mp4").write_text("no video")
    (track,) = Stub().estimate(np.zeros((9, 120, 80, 3), np.uint8))
    track.save(files / "saved.pose.npz", about={"fps": 16.0, "size": [120, 80]})
    images = ["--image", "photo.png", "--image", "other.png"]
    drivings = ["--driving", "dance.mp4", "--driving", "text.mp4", "--driving", "saved.pose.npz"]
    seeds = ["--seed", 1, "--seed", 2]
    assert call(*images, *drivings, *seeds, "--checkpoint", "m", "--out", "many", "clip.frames=9", *SMALL) == 1
    shown = capfd.readouterr()
    assert "text.mp4: not a readable video" in shown.err and "Failed: text.mp4; the rest was made" in shown.err
    names = [f"{image}-{driving}-seed" for image in ("photo", "other") for driving in ("dance", "saved")]
    assert {path.name for path in (files / "many").iterdir()} == {
        "grid.mp4",
        *(f"{name}{seed}.mp4" for name in names for seed in (1, 2)),
    }
    handed_in = {hashlib.sha256((files / name).read_bytes()).hexdigest() for name in ("photo.png", "dance.mp4")}
    about = json.loads(comment("many/grid.mp4"))
    assert about["seeds"] == [1, 2] and handed_in < set(about["inputs"])
    grid = shots("many/grid.mp4")
    assert len(grid) == 9 and grid[0].shape == (3 * 48, 5 * 32, 3)
    panels = grid[8].reshape(3, 48, 5, 32, 3)[:, 12:36, :, 8:24].mean((1, 3))
    assert panels[0, :3] == pytest.approx(np.array([[0] * 3, [90] * 3, [0] * 3]), abs=4), "the driving, once"
    assert panels[0, 3].max() > 20 and panels[0, 4].max() < 4, "a saved track is drawn"
    assert panels[1] == pytest.approx(np.full((5, 3), 40), abs=4)
    assert panels[2] == pytest.approx(np.full((5, 3), 200), abs=4)
    assert [each["seed"] for each in fake] == [1, 2] * 4


@pytest.mark.parametrize(
    "where, error, told",
    [
        ("provenance", SteadyDancerError("the LoRA is gone."), "gone"),
        ("generate", SteadyDancerError("no memory left."), "no memory left"),
        ("video.write", OSError(28, "full"), "full"),
    ],
)
def test_a_failed_video_leaves_the_old_one(files, fake, monkeypatch, capfd, where, error, told):
    """And a picture beside it, which may be anybody's; a preview of what failed goes."""
    old = ["out.mp4", "out.preview.png"]
    for name in old:
        (files / name).write_text("mine")

    def failing(*inputs, **options):
        if where == "video.write":
            inputs[0].write_text("half")
        if where == "generate" and options["preview"]:
            options["preview"](0, np.zeros((8, 8, 3), np.uint8))
            assert (files / "new.preview.png").exists()
        raise error

    monkeypatch.setattr(f"model.animation.rendering.{where}", failing)
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", "m", "clip.frames=9"]
    assert call(*arguments, "--out", "out.mp4") == call(*arguments, "--out", "new.mp4", "--preview") == 1
    assert told in capfd.readouterr().err and [(files / name).read_text() for name in old] == ["mine"] * 2
    assert sorted(path.name for path in files.iterdir()) == ["dance.mp4", *old, "photo.png"]
    assert bool(fake) == (where == "video.write"), "what the video is made of is read before it is made"


def test_a_picture_of_the_users_that_has_a_previews_name_stays(files, fake):
    (files / "out.preview.png").write_text("mine")
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", "m", "--out", "out.mp4"]
    assert call(*arguments, "clip.frames=9") == 0
    assert (files / "out.preview.png").read_text() == "mine"


def test_previews_that_do_not_fit_into_the_memory_are_left_out(files, stub, checkpoint, monkeypatch, capfd):
    tried = []

    def few_frames(denoiser, latent_BCTHW):
        tried.append(latent_BCTHW)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Denoiser, "_few_frames", few_frames)
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", checkpoint, "--out", "out.mp4"]
    assert call(*arguments, "--preview", "animate.steps=3", "animate.area=1536", "animate.frames=5") == 0
    assert len(tried) == 1 and "without more of them" in capfd.readouterr().err and (files / "out.mp4").exists()


def test_a_model_that_does_not_fit_into_the_memory_is_told_with_numbers(files, stub, checkpoint, monkeypatch, capfd):
    def full(*inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(parts, "build_encoders", full)
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", checkpoint, "--out", "out.mp4"]
    assert call(*arguments, *SMALL) == 1
    told = " ".join(capfd.readouterr().err.split())
    assert "9 frames of 32x48 need about 0.0 GB while" in told and "the device has" in told


def test_each_of_several_is_told_when_it_is_made_and_half_moved_layers_end_it(files, fake, monkeypatch, capfd):
    whole, told = rendering.generate, []

    def generate(*inputs, **options):
        told.append(capfd.readouterr())
        if len(told) == 2:
            raise OutOfMemory("Out of memory.")
        options["progress"](1, 4)
        return whole(*inputs, **options)

    monkeypatch.setattr(rendering, "generate", generate)
    monkeypatch.setattr(reporting, "LINE_SECONDS", 0)
    seeds = ["--seed", 1, "--seed", 2, "--seed", 3]
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", *seeds, "--checkpoint", "m", "--out", "many"]
    assert call(*arguments, "clip.frames=9", "animate.offload=blocks", *SMALL) == 1
    assert len(told) == 2 and "seed 1; the first is like" in told[1].out
    assert "Animating photo-dance-seed1 (1 of 3): 1 of 4, 0:00:00 left" in told[1].err
    assert "photo-dance-seed2 failed, and the rest is not made" in capfd.readouterr().err
    assert [path.name for path in (files / "many").iterdir()] == ["photo-dance-seed1.mp4"]


def test_a_grid_of_pairs_ends_with_the_longest_video(files, fake, capfd):
    pairs = ["--pair", pair(files / "one", 13, 13), "--pair", pair(files / "two", 6, 6)]
    assert call(*pairs, "--checkpoint", "m", "--out", "many", "clip.frames=9", "--seed", 1, "--seed", 2, *SMALL) == 0
    grid = shots("many/grid.mp4")
    assert len(grid) == 9 and grid[0].shape == (2 * 48, 4 * 32, 3)
    assert capfd.readouterr().err.count("5 frames are made instead of 9") == 1, "once, whatever the seeds"


def test_without_a_config_a_checkpoint_brings_its_work_folders(files, capsys):
    """A model of others' has the schema's, whose sampling is the paper's."""
    owned = config.load("demo", ["animate.steps=3", "pose.fill_seconds=0.5"])
    with commits.write(files / "work/stage3", "checkpoint"):
        pass
    (files / "work/config.yaml").write_text(yaml.safe_dump({"chain": "1", "config": owned.model_dump(mode="json")}))
    (files / "other").mkdir()

    def used(*arguments):
        assert call("--out", "out.mp4", *arguments, "--print-config", "animate.shift=4.0", "--seed", 7) == 0
        return config.validate(yaml.safe_load(capsys.readouterr().out))

    mine = used("--checkpoint", "work/stage3")
    assert mine == owned.model_copy(update={"animate": mine.animate, "seed": 7})
    assert mine.animate == owned.animate.model_copy(update={"shift": 4.0})
    theirs, paper = used("--checkpoint", "other").animate, config.load("paper").animate
    assert (theirs.steps, theirs.area, theirs.shift) == (paper.steps, paper.area, 4.0)
    assert used("--checkpoint", "work/stage3", "--config", "demo").animate.steps == 8


def test_an_interruption_promises_nothing(files, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "animate_files", interrupted)
    assert call("--image", "photo.png", "--driving", "dance.mp4", "--out", "out.mp4", "--checkpoint", "m") == 130
    told = capsys.readouterr().err
    assert "Interrupted." in told and "continues" not in told


def test_models_of_another_kind_are_refused(files, stub, checkpoint, capfd):
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--out", "out.mp4", *SMALL]
    save_model(build_base(config.load("demo").model, 0), files / "base")
    (files / "model.pt").write_bytes(b"PK\x03\x04")
    for model, told in (("base", "42"), ("model.pt", "safetensors"), ("photo.png", "photo.png is no safetensors file")):
        assert call(*arguments, "--checkpoint", model) == 1
        assert told in " ".join(capfd.readouterr().err.split()), model
    bare = checkpoint / "model"
    for chosen in (["model.size=small"], ["--config", "paper"]):
        assert call(*arguments, "--checkpoint", bare, *chosen) == 1
        told = " ".join(capfd.readouterr().err.split())
        assert "is not of model.size=" in told and "Use model.size=tiny." in told
    assert call(*arguments, "--checkpoint", bare, "clip.frames=5") == 0
    assert "embedded stand-ins" in capfd.readouterr().err


def test_what_a_model_was_trained_with_decides_and_its_weights_may_lie_elsewhere(checkpoint):
    loaded = config.load("paper", ["encode.codec_weights=/here", "encode.codec_tiling=true", "animate.precision=fp32"])
    made = choose(loaded, str(checkpoint))
    assert made.clip.frames == 9 and made.encode.codec == "embedded" and made.notes == []
    assert made.encode.codec_weights == "/here" and made.encode.codec_tiling
