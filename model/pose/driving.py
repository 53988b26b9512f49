"""A driving video, or the pose tracks saved of one, as the tracks that a reference is animated by."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model import video
from model.pose.estimator import PoseEstimator
from model.pose.people import MOST_PEOPLE
from model.pose.reading import read_driving, too_few
from model.pose.retiming import retime
from model.pose.tracks import InvalidPose, PoseTrack, read_pose_file

COUNTED_FRAMES = 5


class DrivingTracks(NamedTuple):
    """A driving video or saved track as far as animation needs it."""

    tracks: list[PoseTrack]
    """most prominent person first, of one length"""
    size: tuple[int, int]
    """(height, width) that their pixels belong to"""
    shown: np.ndarray | None
    """(T,) index of the video's frame that is shown at the moment of each pose; None for a saved track"""
    seen: int
    """people in the video, the median of some frames; of a saved track the tracks that lie there"""


def read_driving_tracks(
    path: Path,
    estimator: PoseEstimator,
    settings: Pose,
    fps: float,
    *,
    people: int = 1,
    frames: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> DrivingTracks:
    """The poses of the ``people`` most prominent persons at ``fps``, the first ``frames`` at most.

    Of a video (with ``settings.compat`` at its own frame rate), or of a saved ``x.pose.npz`` (``x.person2.pose.npz``
    and so on for further people): its own record says frame rate and size; where there is none, it is taken to be at
    ``fps`` already and its video ``x.mp4`` must lie beside it for the size. Raises SteadyDancerError where there are
    fewer people.
    """
    if path.suffix.lower() != ".npz":
        rate = video.probe(path).fps if settings.compat else fps
        seconds = None if frames is None else frames / rate
        driving = read_driving(
            path, estimator, settings, fps, people=people, seconds=seconds, samples=COUNTED_FRAMES, progress=progress
        )
        if len(driving.people) < people:
            raise too_few(path, "video", len(driving.people), people)
        tracks = [driven.track[:frames] for driven in driving.people]
        seen = round(float(np.median(driving.counts or [people])))  # a wrong length in the header: no frame was sampled
        return DrivingTracks(tracks, driving.size, driving.shown[:frames], seen)
    others = [person_path(path, number) for number in range(2, MOST_PEOPLE + 1)]
    files = [path, *itertools.takewhile(Path.exists, others)]
    if len(files) < people:
        raise too_few(path, "track", len(files), people, f" ({others[0].name} and so on hold the others)")
    saved = [_saved_track(each, fps) for each in files[:people]]
    if len({(len(track), size) for track, size in saved}) > 1:
        raise InvalidPose(f"{path}: the other people's tracks have another length or size.", "Give those of one video.")
    return DrivingTracks([track[:frames] for track, _ in saved], saved[0][1], None, len(files))


def person_path(path: Path, number: int) -> Path:
    """Where the track of another person of the video lies: ``x.person2.pose.npz`` beside ``x.pose.npz``."""
    ending = ".pose.npz" if path.name.endswith(".pose.npz") else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}.person{number}{ending}")


def _saved_track(path: Path, fps: float) -> tuple[PoseTrack, tuple[int, int]]:
    track, _, about = read_pose_file(path)
    if "size" in about and "fps" in about:
        try:
            (height, width), rate = map(int, about["size"]), float(about["fps"])
            if min(height, width) <= 0 or not 0 < rate <= video.FASTEST:
                raise ValueError
        except (TypeError, ValueError) as error:
            raise InvalidPose(f"{path}: size and fps of its about are {about['size']}, {about['fps']}.") from error
        return (track if rate == fps else retime(track, np.arange(len(track)) / rate, fps)), (height, width)
    clip = path.with_name(path.name.removesuffix(".npz").removesuffix(".pose") + ".mp4")
    if not clip.exists():
        raise SteadyDancerError(f"{path}: {clip.name} is not beside it.", "Its size is needed, or give the video.")
    info = video.probe(clip)
    return track, (info.height, info.width)
