"""How long the parts of one person's body are, compared with another's (specification section 4.4).

``official_ratios`` measures as the released code does. ``robust_ratios`` measures what is seen, in a frame that agrees
with the frames after it: a pose found wrongly and confidently stands alone. All lengths are in one unit of choice.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.pose.wholebody import OpenPose

HIPS = 18  # a nineteenth point: the middle between joints 8 and 11

# part -> the chains of joints it is measured on; several chains (left and right limb) are averaged as ratios.
MEASURES = {
    "neck": [(0, 1)],
    "face_right": [(16, 14, 0)],
    "face_left": [(17, 15, 0)],
    "shoulders": [(2, 5)],
    "arm_upper": [(2, 3), (5, 6)],
    "arm_lower": [(3, 4), (6, 7)],
    "torso": [(1, HIPS)],
    "leg_upper": [(8, 9), (11, 12)],
    "leg_lower": [(9, 10), (12, 13)],
}

# A limb seen end-on gives a ratio without meaning; none may leave this factor around the median of all. Lengths of one
# limb in two frames agree within the same factor.
LARGEST_DEVIATION = 2.0
# A frame is held against so many of the following ones that show the same.
FOLLOWING = 5


class Ratio(NamedTuple):
    """Reference length over driving length of a body part."""

    value: float
    measured: bool
    """False: the part was not seen in both, or is never measured itself (hand, face); inferred from the others."""


def _points(pose: OpenPose) -> tuple[np.ndarray, np.ndarray]:
    hips = (pose.body[..., [8], :] + pose.body[..., [11], :]) / 2
    hips_seen = pose.body_visible[..., [8]] & pose.body_visible[..., [11]]
    return np.concatenate([pose.body, hips], axis=-2), np.concatenate([pose.body_visible, hips_seen], axis=-1)


def _length(points: np.ndarray, chain: tuple[int, ...]) -> np.ndarray:
    return np.linalg.norm(np.diff(points[..., chain, :], axis=-2), axis=-1).sum(axis=-1)


def official_ratios(driving: OpenPose, reference: OpenPose) -> dict[str, Ratio]:
    """From the first frame, seen or not. An undefined ratio counts 1; an infinite one stays."""
    theirs, ours = _points(driving)[0][0], _points(reference)[0][0]
    ratios = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for part, chains in MEASURES.items():
            ratio = float(np.mean([_length(ours, chain) / _length(theirs, chain) for chain in chains]))
            ratios[part] = Ratio(1.0, False) if np.isnan(ratio) else Ratio(ratio, True)
    ratios["hand"] = Ratio((ratios["arm_upper"].value + ratios["arm_lower"].value) / 2, False)
    return ratios


def _agreeing(frames: int, agree: Callable[[slice, slice], np.ndarray]) -> np.ndarray:
    """(frames,) bool: who agrees with at least half of the next FOLLOWING; the last has none to agree with.

    ``agree(earlier, later)`` compares two equally long runs of frames with each other.
    """
    votes, asked = np.zeros(frames), np.zeros(frames)
    for distance in range(1, min(FOLLOWING, frames - 1) + 1):
        earlier, later = slice(0, frames - distance), slice(distance, frames)
        votes[earlier] += agree(earlier, later)
        asked[earlier] += 1
    return (asked > 0) & (2 * votes >= asked)


def first(*choices: np.ndarray) -> int:
    """The first frame of the first choice, (T,) bool each, that has one; the last choice must."""
    return next(int(np.argmax(choice)) for choice in choices if choice.any())


def trusted_frames(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T,) bool: frames whose pose is near that of the frames after it. A confident but wrong pose stands alone.

    Near: half of the joints seen in both moved by less than the person's spread about their middle (for a standing
    person about the length of the torso; within 5 frames at 16 fps that is faster than people dance).
    """
    shown = np.flatnonzero(seen.sum(axis=1) > 1)
    points = np.where(seen[..., None], points, np.nan)[shown]
    spread = float(np.median(np.sqrt(np.nanvar(points, axis=1).sum(axis=-1)))) if shown.size else 0.0

    def agree(earlier: slice, later: slice) -> np.ndarray:
        moved = np.linalg.norm(points[earlier] - points[later], axis=-1)
        return 2 * (moved < spread).sum(axis=1) > np.isfinite(moved).sum(axis=1)

    trusted = np.zeros(len(seen), bool)
    trusted[shown] = _agreeing(len(shown), agree)
    return trusted


def robust_ratios(driving: OpenPose, reference: OpenPose, trusted: np.ndarray) -> dict[str, Ratio]:
    """Each length from the first trusted frame that shows it; what cannot be measured takes the median of what can."""
    (theirs, theirs_seen), (ours, ours_seen) = _points(driving), _points(reference)
    measured: dict[str, float] = {}
    for part, chains in MEASURES.items():
        found = []
        for chain in chains:
            length, wanted = _length(theirs, chain), _length(ours[0], chain)
            usable = theirs_seen[:, chain].all(axis=1) & (length > 0)
            if usable.any() and ours_seen[0, chain].all() and wanted > 0:
                frame = first(usable & trusted & _steady(length, usable), usable & trusted, usable)
                found.append(wanted / length[frame])
        if found:
            measured[part] = float(np.mean(found))
    middle = float(np.median(list(measured.values()) or 1.0))
    lowest, highest = middle / LARGEST_DEVIATION, middle * LARGEST_DEVIATION
    values = {part: float(np.clip(measured.get(part, middle), lowest, highest)) for part in MEASURES}
    ratios = {part: Ratio(value, part in measured) for part, value in values.items()}
    for part, one, other in (("hand", "arm_upper", "arm_lower"), ("face", "face_left", "face_right")):
        ratios[part] = Ratio((ratios[one].value + ratios[other].value) / 2, False)
    return ratios


def _steady(length: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(T,) bool: usable frames in which a limb is about as long as in the usable frames after it."""
    logs = np.log(length[usable])
    steady = np.zeros(len(length), bool)
    steady[usable] = _agreeing(len(logs), lambda a, b: np.abs(logs[a] - logs[b]) <= np.log(LARGEST_DEVIATION))
    return steady
