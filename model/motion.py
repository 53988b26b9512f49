"""Driving people to the condition pictures of a video: put onto the reference's people, made wrong, drawn."""

import numpy as np

from infra.errors import SteadyDancerError
from model.inputs import DrawnPoses, Motion
from model.pose.alignment import Mode, align
from model.pose.perturbation import negative, official_draws, stretched
from model.pose.tracks import PoseTrack
from model.pose.wholebody import neck


def motion_of(
    tracks: list[PoseTrack],
    track_size: tuple[int, int],
    reference_poses: list[PoseTrack] | None,
    reference_size: tuple[int, int],
    size: tuple[int, int],
    *,
    seed: int,
    mode: Mode = "robust",
) -> Motion:
    """The people of ``tracks`` on the bodies and at the places of ``reference_poses``, for a video of ``size``.

    Tracks are in pixels of a ``track_size`` (height, width) frame and of one length; reference poses (one frame each)
    in pixels of the picture. Several people are matched from left to right (:func:`left_to_right`); each is aligned on
    their own. None: the tracks show the same people at the same places already. The negative pose comes from ``seed``,
    another one for each person; in the ``official`` mode as the release's Python draws it, the same for all people.
    Raises SteadyDancerError for unequal counts, and as :func:`model.pose.alignment.align`.
    """
    if reference_poses is None:
        placed = [track.resized(track_size, reference_size) for track in tracks]
    elif len(tracks) != len(reference_poses):
        raise SteadyDancerError(
            f"{len(tracks)} driving people and {len(reference_poses)} of the reference do not match.",
            "Give as many of the one as of the other.",
        )
    else:
        pairs = zip(left_to_right(tracks), left_to_right(reference_poses), strict=True)
        placed = [align(track, track_size, pose, reference_size, mode) for track, pose in pairs]
    if mode == "official":
        wrong = [stretched(track, *official_draws(seed, len(track))) for track in placed]
    else:
        # The first person's are those of a pair folder with this seed.
        wrong = [negative(track, np.random.default_rng([seed, n] if n else seed)) for n, track in enumerate(placed)]
    return Motion(DrawnPoses(placed, reference_size, size), DrawnPoses(wrong, reference_size, size))


def left_to_right(tracks: list[PoseTrack]) -> list[PoseTrack]:
    """The people in the order of their necks' x, each where theirs is first seen; the never seen last."""

    def place(track: PoseTrack) -> float:
        points, seen = neck(track.keypoints, track.scores)
        return float(points[seen.argmax(), 0]) if seen.any() else np.inf

    return sorted(tracks, key=place)
