"""What `steadydancer animate` is handed: pairs, people, lengths, pictures, and wrong use of every kind."""

import hashlib
import json

import numpy as np
import pytest
from animating import SMALL, call, comment, pair
from known_answer import Stub, dance, picture
from PIL import Image

import steadydancer
from infra.errors import SteadyDancerError
from model.animation import command
from model.animation.rendering import psnr
from model.animation.scenes import Scene, frames_of, scene_names, wanted_frames
from model.motion import motion_of
from model.pose import pair as pair_writing
from model.pose.tracks import PoseTrack
from model.pose.wholebody import neck


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
