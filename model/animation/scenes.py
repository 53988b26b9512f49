"""What people hand in for a video: photos, drivings and pair folders, and what is to be made of them."""

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra import schema
from infra.errors import SteadyDancerError, UsageError
from model import video
from model.animation.provenance import sha256_of
from model.inputs import Motion
from model.motion import motion_of
from model.pose.drawing import draw_pose
from model.pose.driving import DrivingTracks, person_path, read_driving_tracks
from model.pose.estimator import PoseEstimator
from model.pose.pair_reading import NumberedPictures, Pair, read_pair
from model.pose.reading import bounded, frames_shown, people_text, read_picture, read_reference, size_text
from model.pose.tracks import PoseTrack, read_pose_file
from model.resolution import TIME, output_size

SMALLEST_SIDE = 64
"""Of a reference picture, in pixels: below it there is nothing to see of a person."""
FEWEST_FRAMES = 5
NAME_BYTES = 120
"""Of 255: number, seed, ending and what marks a draft come to it."""


class Photo(NamedTuple):
    """A reference picture."""

    picture: np.ndarray
    """(H, W, 3) uint8 RGB; of a large one at most 1280 pixels a side, unless ``pose.compat``"""
    poses: list[PoseTrack]
    """one frame each, in pixels of it"""
    sha256: str
    notes: list[str]


class Dance(NamedTuple):
    """A driving video or saved track."""

    path: Path
    driving: DrivingTracks
    sha256: dict[str, str]
    """of all files that it was read from"""
    notes: list[str]

    def frames(self) -> Iterable[np.ndarray]:
        """The video's own frames at the moments of the poses; of a saved track its poses, drawn."""
        tracks, size, shown, _ = self.driving
        if shown is not None:
            return frames_shown(self.path, shown)
        small = bounded(size)
        people = [track.resized(size, small) for track in tracks]
        points, scores = (np.stack([getattr(each, part) for each in people], 1) for part in ("keypoints", "scores"))
        return (draw_pose(*each, small) for each in zip(points, scores, strict=True))


class Scene(NamedTuple):
    """One reference and what moves it."""

    name: str
    """of its file, no ending"""
    reference: np.ndarray
    driving: str
    """its name"""
    poses: int
    """that it holds"""
    motion: Callable[[int, int], Motion]
    """(frames, seed) -> condition pictures"""
    prompt: str
    inputs: dict[str, str]
    """SHA-256 of what was handed in"""
    frames: Callable[[], Iterable[np.ndarray]]
    """what drives it, to look at"""


def check_photo(path: Path, area: int) -> np.ndarray:
    """The picture. Raises SteadyDancerError where it is unreadable, too small, or too narrow for videos of ``area``."""
    picture = read_picture(path)
    _check_size(path, picture, area)
    return picture


def _check_size(path: Path, picture: np.ndarray, area: int) -> None:
    size = picture.shape[:2]
    if min(size) < SMALLEST_SIDE:
        raise SteadyDancerError(
            f"{path}: {size_text(size)} pixels, at least {SMALLEST_SIDE} a side are needed.", "Use a larger picture."
        )
    try:
        output_size(area, *size)
    except SteadyDancerError as error:
        raise SteadyDancerError(f"{path}: {error}") from None


def read_photo(path: Path, estimator: PoseEstimator, settings: schema.Pose, people: int) -> Photo:
    """A picture and the ``people`` most prominent persons in it. Raises SteadyDancerError where there are fewer."""
    picture, poses, note = read_reference(path, estimator, people)
    full = picture.shape[:2]
    size = full if settings.compat else bounded(full)
    poses = [pose.resized(full, size) for pose in poses[:people]]
    return Photo(video.resize(picture, size), poses, sha256_of(path), [note] if note else [])


def check_driving(path: Path) -> None:
    """Raises SteadyDancerError where ``path`` is neither a readable video nor a pose track."""
    if path.suffix.lower() == ".npz":
        read_pose_file(path)
    else:
        video.probe(path)


def read_dance(
    path: Path,
    estimator: PoseEstimator,
    settings: schema.Pose,
    fps: float,
    people: int,
    frames: int | None,
    progress: Callable[[float], None] | None = None,
) -> Dance:
    """A driving at ``fps``, its first ``frames`` poses. Raises SteadyDancerError where it shows fewer ``people``."""
    driving = read_driving_tracks(path, estimator, settings, fps, people=people, frames=frames, progress=progress)
    notes = []
    if driving.seen > people:
        who = "the most prominent moves" if people == 1 else f"the {people} most prominent move"
        notes = [
            f"{path.name} shows {people_text(driving.seen)}; {who} the picture. --people {driving.seen} takes all."
        ]
    hashes = {"driving": sha256_of(path)}
    if driving.shown is None:
        others = range(2, people + 1)
        hashes |= {f"driving of person {number}": sha256_of(person_path(path, number)) for number in others}
    return Dance(path, driving, hashes, notes)


def scene_of(name: str, photo: Photo, dance: Dance, config: schema.Config, prompt: str) -> Scene:
    """``photo`` moving like ``dance``."""
    size = photo.picture.shape[:2]

    def motion(frames: int, seed: int) -> Motion:
        return motion_of(
            [track[:frames] for track in dance.driving.tracks],
            dance.driving.size,
            photo.poses,
            size,
            output_size(config.animate.area, *size),
            seed=seed,
            mode="official" if config.pose.compat else "robust",
        )

    inputs = {"image": photo.sha256, **dance.sha256}
    poses = len(dance.driving.tracks[0])
    return Scene(name, photo.picture, dance.path.name, poses, motion, prompt, inputs, dance.frames)


def open_pair(folder: Path, area: int) -> Pair:
    """An official pair folder. Raises SteadyDancerError as :func:`read_pair` and :func:`check_photo`."""
    pair = read_pair(folder)
    _check_size(folder / "ref_image.png", pair.reference, area)
    return pair


def slow_motion(folder: Path, pair: Pair, fps: float) -> str | None:
    """What to tell the user of a pair that was made at another frame rate: its pictures are shown one a frame."""
    if not isinstance(pair.fps, (int, float)) or abs(pair.fps - fps) < 0.01:
        return None
    return (
        f"{folder}: its pictures are of {pair.fps:g} frames a second and shown at {fps:g}: "
        f"{pair.fps / fps:.2g} times as long as they took."
    )


def pair_scene(name: str, folder: Path, pair: Pair, prompt: str | None) -> Scene:
    """A pair as it is; ``prompt`` in place of its own."""

    def motion(frames: int, seed: int) -> Motion:
        return Motion(*(NumberedPictures(each.files[:frames], each.size) for each in (pair.positive, pair.negative)))

    inputs = {"pair": pair.sha256()}
    prompt = pair.prompt if prompt is None else prompt
    return Scene(name, pair.reference, folder.name, len(pair.positive), motion, prompt, inputs, lambda: pair.positive)


def wanted_frames(setting: int | str | None, clip_frames: int) -> int | None:
    """Frames to make, None for as many as there are. Raises UsageError unless they are 4k+1 and at least 5."""
    if setting == "all":
        return None
    frames = clip_frames if setting is None else setting
    if frames % TIME != 1 or frames < FEWEST_FRAMES:
        near = max(FEWEST_FRAMES, (frames - 1) // TIME * TIME + 1)
        raise UsageError(f"animate.frames={frames}: videos have 4k+1 frames, at least {FEWEST_FRAMES}.", f"Use {near}.")
    return frames


def frames_of(scene: Scene, wanted: int | None, fps: float) -> tuple[int, str | None]:
    """How many frames the scene's video gets, and what to tell the user where that is not what they asked for.

    A driving that is too short gives the longest video of 4k+1 frames that it holds: poses are not made up. Raises
    SteadyDancerError for one of less than 5.
    """
    there = f"{scene.driving} has {scene.poses} poses at {fps:g} fps ({scene.poses / fps:.2f} s)"
    if scene.poses < FEWEST_FRAMES:
        raise SteadyDancerError(
            f"{there}, at least {FEWEST_FRAMES} are needed.", f"Use one of at least {FEWEST_FRAMES / fps:.2f} s."
        )
    if wanted is not None and scene.poses >= wanted:
        return wanted, None
    frames = (scene.poses - 1) // TIME * TIME + 1
    if wanted is not None:
        return frames, f"{there}: {frames} frames are made instead of {wanted}."
    return frames, None if frames == scene.poses else f"{there}: {frames} frames are made, the most of 4k+1."


def check_windows(frames: int, window: int, overlap: int) -> None:
    """Raises UsageError where no windows of ``window`` frames that share ``overlap`` make ``frames``."""
    most = window - 1 - TIME
    if frames > window and overlap > most:
        raise UsageError(
            f"animate.overlap={overlap}: windows of {window} frames (clip.frames) can share at most {most}.",
            f"Use animate.overlap={most} or less."
            if most
            else f"Make a video of {window} frames: animate.frames={window}.",
        )


def scene_names(names: list[str]) -> list[str]:
    """``names`` cut to fit a file's name, which is counted in bytes, and numbered unless they are different."""
    cut = [os.fsencode(name)[:NAME_BYTES].decode(errors="ignore") for name in names]
    if len({name.casefold() for name in [*cut, "", "grid", "preview"]}) == len(cut) + 3:
        return cut
    return [f"{number:02d}-{name}" for number, name in zip(itertools.count(1), cut)]
