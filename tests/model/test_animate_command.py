"""`steadydancer animate`: files in, videos, grid and provenance out. Estimator and model know the answer, mostly."""

import hashlib
import json
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
import yaml
from known_answer import Stub, dance, picture
from PIL import Image
from safetensors.torch import save_file

import steadydancer
from infra import commits, config
from infra.errors import SteadyDancerError
from model import video
from model.animation import command, parts, rendering, reporting
from model.animation.out_of_memory import OutOfMemory
from model.animation.parts import Chosen, Parts, choose
from model.animation.rendering import psnr
from model.animation.scenes import Scene, frames_of, scene_names, wanted_frames
from model.checkpoint import Found, build_base, build_model, load_model, save_model
from model.denoising import Denoiser
from model.motion import motion_of
from model.pose import command as pose_command
from model.pose import pair as pair_writing
from model.pose.tracks import PoseTrack
from model.pose.wholebody import neck
from model.transformer import model_config

SMALL = ["animate.steps=1", "animate.area=1536"]


def call(*arguments):
    return steadydancer._main(["animate", *(str(each) for each in arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage") / "stage3"
    trained = config.load("demo", ["clip.frames=9"])
    with commits.write(folder, "checkpoint", config=config.section_values(trained, "clip", "encode", "model")) as draft:
        save_model(build_model(trained.model, 0), draft / "model")
    return folder


@pytest.fixture
def stub(monkeypatch):
    made = Stub()
    for module in (command, pose_command):
        monkeypatch.setattr(module, "build_estimator", lambda settings: made)
    return made


@pytest.fixture
def fake(monkeypatch, stub):
    """A model that gives the picture it was shown, again and again; the calls to it."""
    calls = []

    def generate(model, encoders, reference, motion, prompt, settings, *, seed, preview, progress, **rest):
        progress(1, 1)
        calls.append({"motion": motion, "prompt": prompt, "seed": seed, "reference": reference})
        return np.stack([rendering.shown_reference(reference, (48, 32))] * len(motion.positive))

    def chosen(loaded, source):
        return Chosen(Found(source, model_config("tiny"), None), loaded.clip, loaded.encode, loaded.model, [])

    def opened(loaded, chosen, loras, device):
        return Parts(None, SimpleNamespace(ids={}), device, chosen.clip, "the model")

    monkeypatch.setattr(rendering, "generate", generate)
    monkeypatch.setattr(command, "choose", chosen)
    monkeypatch.setattr(command, "open_parts", opened)
    return calls


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    dance(tmp_path / "dance.mp4", 24)
    return tmp_path


def pair(folder, positive=9, negative=9, size=(96, 64)):
    for name, count in (("positive", positive), ("negative", negative)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            colour = (0, 0, 200 - 10 * number) if name == "positive" else (200, 0, 0)
            Image.fromarray(np.full((*size, 3), colour, np.uint8)).save(
                folder / name / f"{number:04d}.jpg", quality=100
            )
    picture(folder / "ref_image.png")
    (folder / "prompt.txt").write_text("Somebody spins.\n")
    return folder


def shots(path):
    return [image for _, image in video.frames(path)]


def comment(path):
    with av.open(str(path)) as container:
        return container.metadata.get("comment")


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


def test_a_pair_is_taken_as_it_is(files, fake, capfd):
    pair(files / "pair", 11, 9)
    (files / "pair/positive/single.mp4").write_text("of the release")
    assert call("--pair", "pair", "--checkpoint", "m", "--out", "o.mp4", "clip.frames=81", *SMALL) == 0
    shown = " ".join(capfd.readouterr().err.split())
    assert "11 positive and 9 negative pictures" in shown and "9 frames are made instead of 81" in shown
    (made,) = fake
    assert made["prompt"] == "Somebody spins." and len(made["motion"].positive) == len(made["motion"].negative) == 9
    assert made["motion"].positive[3].shape == made["motion"].negative[3].shape == (240, 160, 3)
    assert made["motion"].positive[3][100, 80].tolist() == pytest.approx([0, 0, 170], abs=3)
    assert made["motion"].negative[3][100, 80].tolist() == pytest.approx([200, 0, 0], abs=3)
    assert json.loads(comment("o.mp4"))["pair"]
    options = ["--prompt", "Other.", "--no-provenance", *SMALL]
    assert call("--pair", "pair", "--checkpoint", "m", "--out", "o.mp4", *options) == 0
    assert fake[1]["prompt"] == "Other." and comment("o.mp4") is None


@pytest.mark.parametrize("compat", [False, True])
def test_a_pair_of_ours_holds_the_pictures_that_animate_draws(files, fake, monkeypatch, capfd, compat):
    """Up to what JPEG makes of them; the official timing is told."""
    monkeypatch.setattr(pair_writing, "AREA", 36864)
    dance(files / "short.mp4", 7)
    common = [f"pose.compat={str(compat).lower()}", "clip.frames=5", "seed=3"]
    written = ["--reference", "photo.png", "--pair", "pair", "--out", "poses"]
    assert steadydancer._main(["pose", "short.mp4", *written, *common]) == 0
    out = ["--checkpoint", "m", "--out", "o.mp4", "animate.area=36864", *common]
    assert call("--pair", "pair", *out) == 0
    assert ("of 24 frames a second and shown at 16" in capfd.readouterr().err) == compat
    assert call("--image", "photo.png", "--driving", "short.mp4", *out) == 0
    for read, drawn in zip(fake[0]["motion"], fake[1]["motion"], strict=True):
        likeness = [psnr(read[t], drawn[t]) for t in range(5)]
        assert min(likeness) > 24 and len(read) == len(drawn) == 5
    assert psnr(read[3], drawn[4]) < min(likeness) - 3, "the negative pose jumps from frame to frame"


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda folder: [path.unlink() for path in (folder / "negative").iterdir()], "negative holds no 0000.jpg"),
        (lambda folder: (folder / "positive/0004.jpg").unlink(), "picture 0004 is missing, 0005.jpg follows"),
        (lambda folder: picture(folder / "negative/0004.png"), "picture 0004 is there twice"),
        (lambda folder: picture(folder / "negative/0004.jpg"), "is 160x240"),
        (lambda folder: (folder / "negative/0004.jpg").write_text("text"), "0004.jpg: not a readable picture"),
        (lambda folder: (folder / "ref_image.png").unlink(), "ref_image.png is missing"),
        (lambda folder: (folder / "prompt.txt").write_bytes(b"\xff\xfe\xff"), "not readable as UTF-8"),
        (lambda folder: [(folder / f"positive/{n:04d}.jpg").unlink() for n in range(4, 9)], "has 4 poses"),
    ],
)
def test_a_spoilt_pair_is_told(files, fake, monkeypatch, capfd, spoil, told):
    monkeypatch.setattr(command, "open_parts", None)
    spoil(pair(files / "pair"))
    assert call("--pair", "pair", "--checkpoint", "m", "--out", "out.mp4", *SMALL) == 1
    assert told in " ".join(capfd.readouterr().err.split()) and not (files / "out.mp4").exists()


class Two(Stub):
    """Sees the stub's person and another one further right; the right one is the more prominent."""

    def estimate(self, frames, people=1):
        (track,) = super().estimate(frames, 1)
        points = track.keypoints.copy()
        points[..., 0] += 30
        return [PoseTrack(points, track.scores), track][:people]


def test_several_people_are_matched_from_left_to_right(files, fake, monkeypatch, capfd):
    monkeypatch.setattr(command, "build_estimator", lambda settings: Two(2))
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", "m", "--out", "out.mp4"]
    assert call(*arguments, "clip.frames=5") == 0
    assert "shows 2 people" in capfd.readouterr().err and len(fake[0]["motion"].positive.tracks) == 1
    assert call(*arguments, "--people", 2, "clip.frames=5") == 0
    left, right = fake[1]["motion"].positive.tracks
    places = [neck(track.keypoints, track.scores)[0][0].tolist() for track in (left, right)]
    assert places == [pytest.approx([88, 80], abs=1), pytest.approx([118, 80], abs=1)]
    assert call(*arguments, "--people", 3, "clip.frames=5") == 1
    assert "photo.png: 2 people, both shoulders in view; 3 were asked for" in " ".join(capfd.readouterr().err.split())
    saved = ["two.pose.npz", "two.person2.pose.npz"]
    for name, track in zip(saved, Two(2).estimate(np.zeros((9, 120, 80, 3), np.uint8), 2), strict=True):
        track.save(files / name, about={"fps": 16.0, "size": [120, 80]})
    arguments[3] = saved[0]
    assert call(*arguments, "--people", 2, "clip.frames=5") == 0
    made = json.loads(comment("out.mp4"))
    hashes = [hashlib.sha256((files / name).read_bytes()).hexdigest() for name in saved]
    assert [made["driving"], made["driving of person 2"]] == hashes
    (one,) = Stub().estimate(np.zeros((1, 120, 80, 3), np.uint8))
    with pytest.raises(SteadyDancerError, match="2 driving people and 1 of the reference"):
        motion_of([one, one], (120, 80), [one], (120, 80), (48, 32), seed=0)


@pytest.mark.parametrize(
    "wanted, poses, frames, told",
    [
        (81, 200, 81, None),
        (81, 81, 81, None),
        (81, 40, 37, "dance.mp4 has 40 poses at 16 fps (2.50 s): 37 frames are made instead of 81."),
        (None, 101, 101, None),
        (None, 100, 97, "97 frames are made"),
    ],
)
def test_lengths_follow_the_driving_and_are_told(wanted, poses, frames, told):
    scene = Scene("dance", None, "dance.mp4", poses, None, "", {}, None)
    assert frames_of(scene, wanted, 16.0)[0] == frames
    said = frames_of(scene, wanted, 16.0)[1]
    assert said is None if told is None else told in said
    with pytest.raises(SteadyDancerError, match="has 4 poses"):
        frames_of(scene._replace(poses=4), wanted, 16.0)
    assert wanted_frames("all", 81) is None and wanted_frames(None, 81) == 81 and wanted_frames(9, 81) == 9


def test_names_of_files_are_different_and_bounded():
    assert scene_names(["a-b", "c-b"]) == ["a-b", "c-b"]
    for names in (["a", "A", "b"], ["grid", "b"], ["x" * 300, "x" * 301], ["舞" * 45 + "-" + "蹈" * 45], ["\udcff"]):
        made = scene_names(names)
        assert len({name.casefold() for name in [*made, "grid"]}) == len(names) + 1
        assert all(0 < len(name.encode()) < 125 for name in made)


def save_rotated(path):
    """A standing picture whose pixels lie."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((160, 240, 3), 40, np.uint8)).save(path, exif=exif)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: Image.fromarray(np.full((240, 160, 4), 100, np.uint8)).save(path),
        lambda path: Image.fromarray(np.full((240, 160, 3), 100, np.uint8)).quantize(8).save(path),
        lambda path: Image.fromarray(np.full((240, 160), 30000, np.uint16)).save(path),
        save_rotated,
    ],
    ids=["alpha", "palette", "16 bit", "EXIF rotation"],
)
def test_pictures_of_every_kind_are_taken_upright_in_rgb(files, fake, make):
    make(files / "any.png")
    arguments = ["--image", "any.png", "--driving", "dance.mp4", "--checkpoint", "m", "--out", "out.mp4"]
    assert call(*arguments, "clip.frames=5", *SMALL) == 0
    assert fake[0]["reference"].shape == (240, 160, 3) and fake[0]["reference"].dtype == np.uint8


@pytest.mark.parametrize(
    "name, make, told",
    [
        ("thin.png", lambda path: picture(path, (4000, 64)), "less extreme aspect"),
        ("tiny.png", lambda path: picture(path, (8, 8)), "8x8 pixels, at least 64"),
        ("text.png", lambda path: path.write_text("words"), "not a readable picture"),
        ("empty.mp4", lambda path: path.touch(), "not a readable video"),
        ("still.png", lambda path: picture(path), "holds a picture"),
        ("short.mp4", lambda path: dance(path, 4), "poses at 16 fps"),
        ("bad.npz", lambda path: np.savez(path, keypoints=np.zeros(3)), "lacks an array"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_name_before_the_model_is_read(
    files, fake, monkeypatch, capfd, name, make, told
):
    monkeypatch.setattr(command, "open_parts", None)
    make(files / name)
    as_image = name in ("thin.png", "tiny.png", "text.png")
    image, driving = (name, "dance.mp4") if as_image else ("photo.png", name)
    assert call("--image", image, "--driving", driving, "--checkpoint", "m", "--out", "out.mp4", *SMALL) == 1
    shown = " ".join(capfd.readouterr().err.split())
    assert name in shown and told in shown and not (files / "out.mp4").exists() and not fake


def test_pictures_and_drivings_without_people_are_refused_before_the_model_is_read(
    files, fake, stub, monkeypatch, capfd
):
    monkeypatch.setattr(command, "open_parts", None)
    stub.people = 0
    arguments = ["--image", "photo.png", "--driving", "dance.mp4", "--checkpoint", "m", "--out", "out.mp4"]
    assert call(*arguments) == 1
    assert "photo.png: nobody was found" in capfd.readouterr().err
    seen = stub.estimate
    stub.people = 1
    stub.estimate = lambda frames, people=1: seen(frames, people) if len(list(frames)) == 1 else []
    assert call(*arguments) == 1
    assert "dance.mp4: nobody was found" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["--image", "photo.png"], 2, "--image and --driving go together"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--pair", "."], 2, "--pair"),
        (["--pair", ".", "--people", 2], 2, "--people"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--seed", 1, "--seed", 1], 2, "--seed: the same"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--seed", 1, "--seed", 2], 2, "need a folder"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--out", "out"], 2, "End the name in .mp4"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--out", "./dance.mp4"], 2, "would be replaced"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--out", "folder.mp4"], 1, "is a folder"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--out", "/proc/x/out.mp4"], 1, "cannot be written"),
        (["--image", "photo.png", "--driving", "dance.mp4", "animate.frames=50"], 2, "Use 49"),
        (
            ["--image", "photo.png", "--driving", "dance.mp4", "animate.frames=9", "clip.frames=5"],
            2,
            "share at most 0",
        ),
        (
            ["--image", "photo.png", "--driving", "dance.mp4", "animate.frames=13", "clip.frames=9"],
            2,
            "Use animate.overlap=4",
        ),
        (["--image", "photo.png", "--driving", "dance.mp4", "animate.text_guidance=.nan"], 2, "animate.text_guidance"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--seed", 2**63], 2, "--seed"),
        (["--image", "photo.png", "--driving", "dance.mp4", f"seed={2**63}"], 2, "seed: "),
        (
            ["--image", "photo.png", "--driving", "dance.mp4", "--lora", "photo.png", "--lora", "./photo.png:2"],
            2,
            "--lora: the same",
        ),
        (["--image", "photo.png", "--driving", "dance.mp4", "--lora", "none.safetensors:0.5"], 2, "does not exist"),
        (["--image", "photo.png", "--driving", "dance.mp4", "--lora", "photo.png:strong"], 2, "strong is no scale"),
    ],
)
def test_wrong_use_is_named(files, fake, monkeypatch, capfd, arguments, code, told):
    monkeypatch.setattr(command, "open_parts", None)
    (files / "folder.mp4").mkdir()
    arguments = arguments if "--out" in arguments else [*arguments, "--out", "out.mp4"]
    assert call(*arguments, "--checkpoint", "m") == code
    assert told in " ".join(capfd.readouterr().err.split()) and not fake


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
