"""What the files of a benchmark show: a driver's frames, from a video or a folder of pictures, and hashes of both."""

import hashlib
from pathlib import Path

import numpy as np

from infra.errors import SteadyDancerError
from model import video
from model.pose.reading import bounded, read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
LONGEST = 600
"""Frames of a driver that are read; longer ones are cut."""


def read_driver(path: Path, fps: float | None, by_index: bool = False) -> tuple[np.ndarray, float]:
    """(frames (F, h, w, 3) uint8 RGB of at most 1280 pixels a side, their rate), at most LONGEST.

    Of a video whose frame rate varies, the frames shown at even steps of its mean rate; ``by_index``: as they come.
    ``fps``: of a folder of frames. Raises UnreadableVideo, or SteadyDancerError for pictures that make no video.
    """
    if path.is_dir():
        return _pictures(path, fps), fps
    if fps is not None:
        raise SteadyDancerError(f"{path}: fps is for folders of frames; a video has its own.", "Leave fps out.")
    rate = video.probe(path).fps
    times, images = [], []
    for time, image in video.frames(path):
        if len(images) == LONGEST:
            break
        times.append(time)
        images.append(video.resize(image, bounded(image.shape[:2])))
    if by_index:
        return np.stack(images), rate
    moments = np.arange(int((times[-1] + video.SAME_MOMENT) * rate) + 1) / rate
    shown = np.searchsorted(times, moments + video.SAME_MOMENT, side="right") - 1
    return np.stack([images[index] for index in shown[:LONGEST]]), rate


def pictures_of(folder: Path) -> list[Path]:
    """A folder's pictures in the order of their names, numbers by their value."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (not p.stem.isdigit(), int(p.stem) if p.stem.isdigit() else 0, p.name))


def _pictures(folder: Path, fps: float | None) -> np.ndarray:
    if fps is None:
        raise SteadyDancerError(f"{folder} is a folder of frames, and nothing says how fast.", "Set fps of the pair.")
    files = pictures_of(folder)[:LONGEST]
    if not files:
        raise SteadyDancerError(f"{folder} holds no frame ({', '.join(PICTURES)}).")
    images = [read_picture(path) for path in files]
    for path, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            size, first = ("x".join(map(str, each.shape[1::-1])) for each in (image, images[0]))
            raise SteadyDancerError(f"{path}: {size} pixels, the first frame has {first}.")
    return np.stack([video.resize(image, bounded(image.shape[:2])) for image in images])


def content_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's pictures in their order. Raises FileNotFoundError."""
    if path.is_dir():
        return hashlib.sha256("\n".join(map(content_of, pictures_of(path))).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
