"""Reading a pair folder (:mod:`model.pose.pair`): one that we wrote, or one of the official release's users.

The pictures are taken as they are (specification 3.1): ``positive/`` and ``negative/`` hold ``0000.jpg``, ``0001.jpg``
and so on, .png as well. Other files in them, such as the release's ``single.mp4``, are passed over.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from infra import commits
from infra.errors import SteadyDancerError
from model.pose.reading import read_picture, size_text

NUMBERED = re.compile(r"(\d+)\.(jpe?g|png)", re.IGNORECASE)
SAME_ASPECT = 0.05
"""The release's own pairs differ from their reference by the rounding of sizes to 16 pixels."""


class NumberedPictures(Sequence):
    """Condition pictures, read when asked for and resized by bicubic to ``size`` (height, width) (specification 3.2.1).

    ``pictures[n]`` is (H, W, 3) uint8 RGB. Raises SteadyDancerError for a picture that is damaged.
    """

    def __init__(self, files: list[Path], size: tuple[int, int]):
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> np.ndarray:
        picture = Image.fromarray(read_picture(self.files[number]))
        return np.asarray(picture.resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC))


class Pair(NamedTuple):
    reference: np.ndarray
    """(H, W, 3) uint8 RGB, at its own size"""
    positive: NumberedPictures
    negative: NumberedPictures
    """as many as ``positive``"""
    prompt: str
    """"" where the folder has no prompt.txt"""
    fps: float | None
    """of the driving, where the folder says it (ours do)"""
    notes: list[str]
    """what to tell the user"""

    def sha256(self) -> str:
        """Over the reference and the condition pictures."""
        digest = hashlib.sha256(self.reference.tobytes())
        for path in (*self.positive.files, *self.negative.files):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_pair(folder: Path) -> Pair:
    """The pair in ``folder``. Where one of positive and negative has more pictures, the rest of it is left out.

    Raises SteadyDancerError for a missing part, a number that is left out or given twice, and pictures that are not all
    of one size.
    """
    picture = folder / "ref_image.png"
    if not picture.is_file():
        raise SteadyDancerError(
            f"{folder}: ref_image.png is missing.",
            "Give a folder that holds ref_image.png, positive/ and negative/, as `steadydancer pose --pair` writes it.",
        )
    reference, notes = read_picture(picture), []
    size = reference.shape[:2]
    positive, negative = (_numbered(folder / name) for name in ("positive", "negative"))
    if len(positive) != len(negative):
        notes.append(f"{folder}: {len(positive)} positive and {len(negative)} negative pictures; the rest is left out.")
    count = min(len(positive), len(negative))
    shape = _one_size([*positive[:count], *negative[:count]])
    if abs(shape[0] / shape[1] * size[1] / size[0] - 1) > SAME_ASPECT:
        notes.append(
            f"{folder}: the condition pictures ({size_text(shape)}) have another aspect than the reference "
            f"({size_text(size)}); they are stretched to it."
        )
    return Pair(
        reference,
        NumberedPictures(positive[:count], size),
        NumberedPictures(negative[:count], size),
        _prompt(folder / "prompt.txt"),
        _fps(folder),
        notes,
    )


def _numbered(folder: Path) -> list[Path]:
    found = [(path, NUMBERED.fullmatch(path.name)) for path in sorted(folder.glob("*"))]
    numbered = sorted((int(match[1]), path) for path, match in found if match)
    if not numbered:
        raise SteadyDancerError(
            f"{folder} holds no 0000.jpg and so on.", "Both positive and negative pictures are needed."
        )
    for expected, (number, path) in enumerate(numbered):
        if number > expected:
            raise SteadyDancerError(
                f"{folder}: picture {expected:04d} is missing, {path.name} follows.", "Number them from 0000, no gaps."
            )
        if number < expected:
            raise SteadyDancerError(f"{folder}: picture {number:04d} is there twice.", f"Remove {path.name}.")
    return [path for _, path in numbered]


def _one_size(files: list[Path]) -> tuple[int, int]:
    """(height, width) of all the pictures, from their headers."""
    sizes = {}
    for path in files:
        try:
            with Image.open(path) as opened:
                sizes.setdefault((opened.height, opened.width), path)
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise SteadyDancerError(f"{path}: not a readable picture ({error}).", "Make the pair anew.") from error
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise SteadyDancerError(
            f"{first} is {size_text(one)}, {second} is {size_text(other)}.", "All pictures of a pair have one size."
        )
    return next(iter(sizes))


def _prompt(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SteadyDancerError(f"{path}: not readable as UTF-8 text ({error}).", "Write it anew.") from error


def _fps(folder: Path) -> float | None:
    if not (folder / commits.COMMIT_FILE).exists():
        return None
    return commits.read_record(folder).config.get("fps")
