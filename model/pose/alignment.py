"""Fits a driving person's pose to the body of a reference person: directions from the one, lengths from the other.

Specification section 4.4. Body parts are scaled one after the other from the neck outwards, by the ratio of the two
persons' limb lengths, then everything is moved so that the necks meet. Lengths are in units of the frame's height.
"""

from typing import Literal

import numpy as np

from infra.errors import SteadyDancerError
from model.pose.tracks import PoseTrack
from model.pose.wholebody import (
    BODY,
    FACE,
    FEET,
    LEFT_HAND,
    NECK,
    RIGHT_HAND,
    OpenPose,
    from_openpose_body,
    to_openpose,
)

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

# joint, the joint it hangs on, the part whose ratio scales the way between them; parents come first.
CHAIN = [(0, 1, "neck"), (14, 0, "face_right"), (16, 0, "face_right"), (15, 0, "face_left"), (17, 0, "face_left")]
CHAIN += [(2, 1, "shoulders"), (3, 2, "arm_upper"), (4, 3, "arm_lower")]
CHAIN += [(5, 1, "shoulders"), (6, 5, "arm_upper"), (7, 6, "arm_lower")]
CHAIN += [(8, 1, "torso"), (9, 8, "leg_upper"), (10, 9, "leg_lower")]
CHAIN += [(11, 1, "torso"), (12, 11, "leg_upper"), (13, 12, "leg_lower")]

# What hangs on a body joint as a whole: keypoints, joint, part.
HANGING = [(LEFT_HAND, 7, "hand"), (RIGHT_HAND, 4, "hand")]
LEFT_FOOT, RIGHT_FOOT = slice(FEET.start, FEET.start + 3), slice(FEET.start + 3, FEET.stop)
HANGING += [(LEFT_FOOT, 13, "leg_lower"), (RIGHT_FOOT, 10, "leg_lower"), (FACE, 0, "face")]

# A limb seen end-on gives a ratio without meaning; none may leave this factor around the median of all.
LARGEST_DEVIATION = 2.0


def _points(pose: OpenPose) -> tuple[np.ndarray, np.ndarray]:
    hips = (pose.body[..., [8], :] + pose.body[..., [11], :]) / 2
    hips_seen = pose.body_visible[..., [8]] & pose.body_visible[..., [11]]
    return np.concatenate([pose.body, hips], axis=-2), np.concatenate([pose.body_visible, hips_seen], axis=-1)


def _length(points: np.ndarray, chain: tuple[int, ...]) -> np.ndarray:
    return np.linalg.norm(np.diff(points[..., chain, :], axis=-2), axis=-1).sum(axis=-1)


def _official_ratios(driving: OpenPose, reference: OpenPose) -> dict[str, float]:
    """From the first frame, seen or not. An undefined ratio counts 1, an infinite one destroys its part (NaN)."""
    theirs, ours = _points(driving)[0][0], _points(reference)[0][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            part: float(np.mean([_length(ours, chain) / _length(theirs, chain) for chain in chains]))
            for part, chains in MEASURES.items()
        }
    ratios = {part: 1.0 if np.isnan(ratio) else ratio for part, ratio in ratios.items()}
    ratios["hand"] = (ratios["arm_upper"] + ratios["arm_lower"]) / 2
    return {part: ratio if np.isfinite(ratio) else np.nan for part, ratio in ratios.items()}


def _robust_ratios(driving: OpenPose, reference: OpenPose) -> dict[str, float]:
    """Each length from the first frame that shows it; what cannot be measured takes the mean of what can."""
    (theirs, theirs_seen), (ours, ours_seen) = _points(driving), _points(reference)
    ratios: dict[str, float] = {}
    for part, chains in MEASURES.items():
        measured = []
        for chain in chains:
            length = _length(theirs, chain)
            usable = np.flatnonzero(theirs_seen[:, chain].all(axis=1) & (length > 0))
            wanted = _length(ours[0], chain)
            if usable.size and ours_seen[0, chain].all() and wanted > 0:
                measured.append(wanted / length[usable[0]])
        if measured:
            ratios[part] = float(np.mean(measured))
    middle, mean = float(np.median(list(ratios.values()) or 1.0)), float(np.mean(list(ratios.values()) or 1.0))
    ratios = {
        part: float(np.clip(ratios.get(part, mean), middle / LARGEST_DEVIATION, middle * LARGEST_DEVIATION))
        for part in MEASURES
    }
    ratios["hand"] = (ratios["arm_upper"] + ratios["arm_lower"]) / 2
    ratios["face"] = (ratios["face_left"] + ratios["face_right"]) / 2
    return ratios


def _neck_offset(driving: OpenPose, reference: OpenPose) -> np.ndarray:
    frames = np.flatnonzero(driving.body_visible[:, NECK])
    for who, seen in (("driving", frames.size), ("reference", reference.body_visible[0, NECK])):
        if not seen:
            raise SteadyDancerError(
                f"pose alignment: the {who} pose never shows both shoulders, so it cannot be placed.",
                fix="Use a picture or video in which one person's upper body is seen from the front or the back.",
            )
    return reference.body[0, NECK] - driving.body[frames[0], NECK]


def align(
    track: PoseTrack,
    track_size: tuple[int, int],
    reference: PoseTrack,
    reference_size: tuple[int, int],
    mode: Literal["robust", "official"] = "robust",
) -> PoseTrack:
    """The driving ``track`` on the body and at the place of ``reference`` (one frame), in pixels of its frame.

    Sizes are (height, width). ``official`` repeats the released algorithm with its faults: ratios from the first frame
    whether its joints are seen or not, and parts with an infinite ratio thrown off the canvas. ``robust`` measures on
    seen joints only, repairs ratios without meaning, and carries face and feet along. Scores stay the driving ones.
    Raises SteadyDancerError where ``robust`` has no neck to start from.
    """
    if len(reference) != 1:
        raise ValueError(f"the reference pose is one frame, not {len(reference)}")
    keypoints = track.keypoints.astype(np.float64) / track_size[0]
    driving = to_openpose(keypoints, track.scores)
    target = to_openpose(reference.keypoints.astype(np.float64) / reference_size[0], reference.scores)
    robust = mode == "robust"
    ratios = _robust_ratios(driving, target) if robust else _official_ratios(driving, target)
    offset = _neck_offset(driving, target) if robust else target.body[0, NECK] - driving.body[0, NECK]

    body = driving.body.copy()
    for joint, parent, part in CHAIN:
        body[:, joint] = body[:, parent] + ratios[part] * (driving.body[:, joint] - driving.body[:, parent])
    aligned = keypoints.copy()
    aligned[:, BODY] = from_openpose_body(body)
    for what, joint, part in HANGING:
        if part in ratios:
            aligned[:, what] = body[:, [joint]] + ratios[part] * (keypoints[:, what] - driving.body[:, [joint]])
    if not robust:
        aligned[:, LEFT_HAND][~driving.hands_visible[:, 0]] = -1
        aligned[:, RIGHT_HAND][~driving.hands_visible[:, 1]] = -1
        aligned[:, FACE][~driving.face_visible] = -1
        aligned[np.isnan(aligned)] = -1
    return PoseTrack(((aligned + offset) * reference_size[0]).astype(np.float32), track.scores)
