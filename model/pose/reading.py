"""What people hand in, as poses: a reference picture, and a driving video or a saved pose track."""

from collections.abc import Callable, Iterator
from math import ceil, isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model import video
from model.pose.cleaning import clean
from model.pose.estimator import PoseEstimator
from model.pose.people import MOST_PEOPLE
from model.pose.retiming import retime
from model.pose.tracks import PoseTrack
from model.pose.wholebody import neck

LONGEST_SIDE = 1280
"""Of the frames that are searched for people, in pixels."""


class Reference(NamedTuple):
    picture: np.ndarray
    """(H, W, 3) uint8 RGB, at its own size"""
    poses: list[PoseTrack]
    """of everybody who was found, most prominent first; one frame each, in pixels of the picture"""
    note: str | None
    """what to tell the user where there are more people than were asked for"""

    @property
    def pose(self) -> PoseTrack:
        return self.poses[0]

    @property
    def people(self) -> int:
        return len(self.poses)


class Driven(NamedTuple):
    """One person of a driving video."""

    track: PoseTrack
    confidence: np.ndarray
    """(T, 133) float32: the estimator's own scores, at the track's frame rate"""
    uncleaned: PoseTrack
    """as estimated, at the track's frame rate"""
    filled: int
    """places in gaps, one per joint and frame of the video, that cleaning filled"""


class Driving(NamedTuple):
    people: list[Driven]
    """most prominent first; in pixels of the video"""
    size: tuple[int, int]
    fps: float
    """of the tracks"""
    times: np.ndarray
    """(N,) seconds of the video's own frames"""
    shown: np.ndarray
    """(T,) index of the video's frame that is shown at the moment of each pose"""
    whole: bool
    """whether the poses go on to the end of the video"""
    detector_calls: int
    """that following the people took"""
    counts: list[int]
    """people on the sampled frames"""


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, transparency over white. Raises SteadyDancerError."""
    try:
        with Image.open(path) as opened:
            picture = _eight_bits(ImageOps.exif_transpose(opened), path).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise SteadyDancerError(f"{path}: not a readable picture ({error}).", "Give a PNG, JPEG or WebP.") from error
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def _eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """Greyscale of 16 bits scaled to 8, where Pillow would cut it off."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise SteadyDancerError(f"{path}: a picture of mode {picture.mode}.", "Give one of 8 or 16 bits.")
    return picture


def read_reference(path: Path, estimator: PoseEstimator, people: int = 1) -> Reference:
    """The picture and whom it shows, the ``people`` most prominent ones with both shoulders in view.

    Raises SteadyDancerError where it shows fewer.
    """
    picture = read_picture(path)
    size = picture.shape[:2]
    small = video.resize(picture, bounded(size))
    poses = [pose.resized(small.shape[:2], size) for pose in estimator.estimate(small[None], MOST_PEOPLE)]
    if not poses:
        raise SteadyDancerError(
            f"{path}: nobody was found in it.", "Use a picture that shows one person, head and shoulders in view."
        )
    necks = [neck(pose.keypoints[0], pose.scores[0]) for pose in poses]
    if people > 1:
        poses = [pose for pose, (_, shown) in zip(poses, necks, strict=True) if shown]
        if len(poses) < people:
            raise too_few(path, "picture", len(poses), people, ", both shoulders in view")
    elif not necks[0][1]:
        raise SteadyDancerError(f"{path}: both shoulders are needed, and not seen.", "Use a picture that shows them.")
    note = None
    if len(poses) > people == 1:
        note = (
            f"{path.name} shows {people_text(len(poses))}; the most prominent was taken, whose neck is at "
            f"{place_text(necks[0][0])} of {size_text(size)}. Crop the picture to choose another."
        )
    elif len(poses) > people:
        note = f"{path.name} shows {people_text(len(poses))}; the {people} most prominent were taken."
    return Reference(picture, poses, note)


def too_few(path: Path, what: str, found: int, people: int, how: str = "") -> SteadyDancerError:
    """That ``people`` were asked for and ``found`` are there."""
    shown = f"{found} {'person' if found == 1 else 'people'}{how}"
    return SteadyDancerError(
        f"{path}: {shown}; {people} were asked for.", f"Use --people {max(found, 1)}, or a {what} that shows {people}."
    )


def read_driving(
    path: Path,
    estimator: PoseEstimator,
    settings: Pose,
    fps: float,
    *,
    people: int = 1,
    seconds: float | None = None,
    samples: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Driving:
    """Up to ``people`` persons of a video, their poses cleaned (unless ``settings.clean`` is never) and resampled by
    time to ``fps``.

    With ``settings.compat`` frames are taken as they come and nothing is cleaned, as in the official release. Only the
    poses of the first ``seconds`` are returned; with compat as many as they are at the declared rate. On ``samples``
    frames the people are counted. ``progress`` is given the seconds that are done. Raises UnreadableVideo, or
    SteadyDancerError where nobody is seen.
    """
    info = video.probe(path)
    size, small = (info.height, info.width), bounded((info.height, info.width))
    length = info.seconds if seconds is None else min(seconds, info.seconds)
    compat, count = settings.compat, None
    if seconds is not None and isfinite(seconds):
        count = max(1, ceil(seconds * (info.fps if compat else fps) - 0.01))
    moments = iter((np.arange(samples) + 0.5) * length / max(samples, 1))
    times, sampled, wanted, whole = [], [], next(moments, None), True

    def stream() -> Iterator[np.ndarray]:
        nonlocal wanted, whole
        for time, image in video.frames(path):
            ended = count is not None and (len(times) == count if compat else time >= seconds - video.SAME_MOMENT)
            whole = whole and not ended
            # Where frames are rare, the last pose needs this one too.
            if ended and times and (compat or times[-1] >= (count - 1) / fps - video.SAME_MOMENT):
                return
            times.append(time)
            image = video.resize(image, small)
            if wanted is not None and time + 0.5 / info.fps >= wanted:
                sampled.append(image)
                wanted = next(moments, None)
            if progress is not None:
                progress(time)
            yield image

    before = estimator.detector_calls
    found = [track.resized(small, size) for track in estimator.estimate(stream(), people)]
    if not found:
        raise SteadyDancerError(f"{path}: nobody was found in it.", "Use a video that shows one person.")
    calls = estimator.detector_calls - before
    at = np.array(times) - times[0]
    rate = (len(at) - 1) / at[-1] if len(at) > 1 else info.fps
    driven = [_cleaned_and_retimed(track, at, rate, settings, fps, count) for track in found]
    shown = np.arange(len(at))
    if not compat:
        moments = np.arange(len(driven[0].track)) / fps
        shown = np.searchsorted(at, moments + video.SAME_MOMENT, side="right") - 1
    return Driving(
        people=driven,
        size=size,
        fps=rate if compat else fps,
        times=at,
        shown=shown,
        whole=whole,
        detector_calls=calls,
        counts=estimator.count_people(np.stack(sampled)).tolist() if sampled else [],
    )


def _cleaned_and_retimed(
    raw: PoseTrack, times: np.ndarray, rate: float, settings: Pose, fps: float, count: int | None
) -> Driven:
    if settings.compat:
        return Driven(raw, raw.scores, raw, 0)
    uncleaned = retime(raw, times, fps)[:count]
    if settings.clean == "never":
        return Driven(uncleaned, uncleaned.scores, uncleaned, 0)
    cleaned = clean(raw, rate, times=times, fill_seconds=settings.fill_seconds, smooth_seconds=settings.smooth_seconds)
    return Driven(retime(cleaned.track, times, fps)[:count], uncleaned.scores, uncleaned, int(cleaned.filled.sum()))


def frames_shown(path: Path, shown: np.ndarray) -> Iterator[np.ndarray]:
    """The video's frames of the indices ``shown``, which do not fall."""
    times = np.bincount(shown)
    for count, (_, image) in zip(times.tolist(), video.frames(path), strict=False):
        for _ in range(count):
            yield image


def bounded(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) within 1280 pixels a side, the aspect kept."""
    factor = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def size_text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def place_text(point: np.ndarray) -> str:
    return f"x={point[0]:.0f}, y={point[1]:.0f}"


def people_text(count: int) -> str:
    return f"{count} people" + (" or more" if count >= MOST_PEOPLE else "")
