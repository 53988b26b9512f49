"""The planted faults: takes that a gate must find, and files that are damaged after they were written."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from infra.schema import Sample
from model import video
from pipelines.sample.film import Script
from pipelines.sample.labels import Label, label
from pipelines.sample.record import Take

Labels = dict[str, Label]
Seed = tuple[int, int]


def out_of_focus(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), min(picture.shape[:2]) / 40)


def in_the_dark(picture: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=0.06)


def _static(s: Sample, seed: Seed) -> Take:
    return Take("static", (Script(backdrop="room", still=True),), s.seconds, s.short_side, seed, "motion")


def _two_people(s: Sample, seed: Seed) -> Take:
    script = Script("4:3", backdrop="room", fps=25, people=2)
    return Take("two_people", (script,), s.seconds, s.short_side, seed, "person_count")


def _nobody(s: Sample, seed: Seed) -> Take:
    script = Script("16:9", camera="pan", backdrop="street", fps=25, people=0, ball=True)
    return Take("nobody", (script,), s.seconds, s.short_side, seed, "person_count")


def _cut_in_middle(s: Sample, seed: Seed) -> Take:
    scripts = Script(backdrop="street", fps=25), Script(backdrop="park", fps=25)
    return Take("cut_in_middle", scripts, min(s.seconds, 9.6), s.short_side, seed, "too_short")


def _letterboxed(s: Sample, seed: Seed) -> Take:
    script = Script("16:9", "half", backdrop="plaster", fps=24)
    return Take("letterboxed", (script,), s.seconds, s.short_side, seed, "letterboxed", bars=0.14)


def _blurred(s: Sample, seed: Seed) -> Take:
    script = Script(backdrop="park", fps=25)
    return Take("blurred", (script,), s.seconds, s.short_side, seed, "blurred", spoil=out_of_focus)


def _too_dark(s: Sample, seed: Seed) -> Take:
    script = Script(backdrop="stage", fps=25)
    return Take("too_dark", (script,), s.seconds, s.short_side, seed, "too_dark", spoil=in_the_dark)


def _too_short(s: Sample, seed: Seed) -> Take:
    return Take(
        "too_short", (Script(backdrop="plaster", fps=24),), min(s.seconds, 3.0), s.short_side, seed, "too_short"
    )


def _shaky_camera(s: Sample, seed: Seed) -> Take:
    script = Script(camera="shaky", backdrop="street", fps=25)
    return Take("shaky_camera", (script,), s.seconds, s.short_side, seed, "shaky_camera")


def _low_resolution(s: Sample, seed: Seed) -> Take:
    side = min(96, s.short_side // 2)
    return Take("low_resolution", (Script(backdrop="room", fps=25),), s.seconds, side, seed, "low_resolution")


def _variable_frame_rate(s: Sample, seed: Seed) -> Take:
    why = "Good, though the time between its frames varies."
    script = Script(camera="pan", backdrop="room", fps=30)
    return Take("variable_frame_rate", (script,), s.seconds, s.short_side, seed, why=why, uneven=True)


def _rotated(s: Sample, seed: Seed) -> Take:
    why = "Good, though stored lying on its side: the rotation metadata stands it up."
    return Take("rotated", (Script(backdrop="street", fps=25),), s.seconds, s.short_side, seed, why=why, rotation=90)


FAULTY_SHOTS: tuple[Callable[[Sample, Seed], Take], ...] = (
    _static,
    _two_people,
    _nobody,
    _cut_in_middle,
    _letterboxed,
    _blurred,
    _too_dark,
    _too_short,
    _shaky_camera,
    _low_resolution,
    _variable_frame_rate,
    _rotated,
)


def near_duplicate(folder: Path, labels: Labels) -> Labels:
    """``dancer_00`` once more: three quarters of the size, at a lower quality, with its joints in the new pixels."""
    original = labels["dancer_00.mp4"]
    height, width = original.size
    size = 2 * round(height * 0.375), 2 * round(width * 0.375)
    source = folder / "videos" / "dancer_00.mp4"
    smaller = (video.resize(picture, size) for _, picture in video.frames(source))
    video.write(folder / "videos" / "near_duplicate.mp4", smaller, original.fps, crf=30)
    with np.load(folder / "joints" / "dancer_00.npz", allow_pickle=False) as joints:
        ratio = np.float32([size[1] / width, size[0] / height])
        keypoints = (joints["keypoints"] + np.float32(0.5)) * ratio - np.float32(0.5)
        kept = {"scores": joints["scores"], "times": joints["times"]}
        np.savez(folder / "joints" / "near_duplicate.npz", keypoints=keypoints, **kept)
    facts = {"people": 1, "fps": original.fps, "size": size, "seconds": original.seconds, "of": "dancer_00.mp4"}
    return {"near_duplicate.mp4": label("duplicate", original.seconds, **facts)}


def _victim(folder: Path, dancers: int) -> bytes:
    return (folder / "videos" / f"dancer_{dancers - 1:02d}.mp4").read_bytes()


def _truncated(folder: Path, dancers: int, rng: np.random.Generator) -> Labels:
    whole = _victim(folder, dancers)
    (folder / "videos" / "truncated.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    return {"truncated.mp4": label("unreadable")}


def _bit_flipped(folder: Path, dancers: int, rng: np.random.Generator) -> Labels:
    """Flips bits in the middle third of the coded pictures; container, first and last pictures stay whole."""
    data = bytearray(_victim(folder, dancers))
    start, size = _media(data)
    for place in rng.integers(start + size // 3, start + 2 * size // 3, max(size // 400, 40)):
        data[place] ^= 1 << int(rng.integers(8))
    (folder / "videos" / "bit_flipped.mp4").write_bytes(data)
    return {"bit_flipped.mp4": label("damaged")}


def _media(data: bytearray) -> tuple[int, int]:
    """Where the content of the mp4's ``mdat`` box starts, and its size in bytes."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"mdat":
            return at + 8, size - 8
        at += size
    raise ValueError("an mp4 without an mdat box")


def _empty(folder: Path, dancers: int, rng: np.random.Generator) -> Labels:
    (folder / "videos" / "empty.mp4").write_bytes(b"")
    return {"empty.mp4": label("unreadable")}


def _text_file(folder: Path, dancers: int, rng: np.random.Generator) -> Labels:
    text = json.dumps({"note": "This is a text file, whatever its name says."}, indent=1)
    (folder / "videos" / "text_file.mp4").write_text(text + "\n")
    return {"text_file.mp4": label("unreadable")}


DAMAGES: tuple[Callable[[Path, int, np.random.Generator], Labels], ...] = (_truncated, _bit_flipped, _empty, _text_file)
