"""Fits a driving person's pose to the body of a reference person: directions from the one, lengths from the other.

Specification section 4.4. Body parts are scaled one after the other from the neck outwards, by the ratio of the two
persons' limb lengths, then everything is moved so that the necks meet. Lengths are in units of the frame's height.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from infra.errors import SteadyDancerError
from model.pose.proportions import Ratio, first, official_ratios, robust_ratios, trusted_frames
from model.pose.tracks import PoseTrack
from model.pose.wholebody import FEET, NECK, OpenPose, from_openpose, to_openpose

Mode = Literal["robust", "official"]

# joint, the joint it hangs on, the part whose ratio scales the way between them; parents come first.
CHAIN = [(0, 1, "neck"), (14, 0, "face_right"), (16, 0, "face_right"), (15, 0, "face_left"), (17, 0, "face_left")]
CHAIN += [(2, 1, "shoulders"), (3, 2, "arm_upper"), (4, 3, "arm_lower")]
CHAIN += [(5, 1, "shoulders"), (6, 5, "arm_upper"), (7, 6, "arm_lower")]
CHAIN += [(8, 1, "torso"), (9, 8, "leg_upper"), (10, 9, "leg_lower")]
CHAIN += [(11, 1, "torso"), (12, 11, "leg_upper"), (13, 12, "leg_lower")]

# What hangs on a body joint as a whole: the side's hand and foot.
HANDS = [(0, 7), (1, 4)]
FEET_AT = [(slice(FEET.start, FEET.start + 3), 13), (slice(FEET.start + 3, FEET.stop), 10)]


def _neck_offset(driving: OpenPose, reference: OpenPose, trusted: np.ndarray) -> np.ndarray:
    seen = driving.body_visible[:, NECK]
    for who, shown in (("driving", seen.any()), ("reference", reference.body_visible[0, NECK])):
        if not shown:
            raise SteadyDancerError(
                f"pose alignment: the {who} pose never shows both shoulders, so it cannot be placed.",
                fix="Use a picture or video in which one person's upper body is seen from the front or the back.",
            )
    return reference.body[0, NECK] - driving.body[first(seen & trusted, seen), NECK]


def _moved(driving: OpenPose, ratios: dict[str, float]) -> OpenPose:
    body = driving.body.copy()
    for joint, parent, part in CHAIN:
        body[:, joint] = body[:, parent] + ratios[part] * (driving.body[:, joint] - driving.body[:, parent])
    hands = driving.hands.copy()
    for side, wrist in HANDS:
        arm = driving.hands[:, side] - driving.body[:, [wrist]]
        hands[:, side] = body[:, [wrist]] + ratios["hand"] * arm
    face = driving.face
    if "face" in ratios:
        face = body[:, [0]] + ratios["face"] * (driving.face - driving.body[:, [0]])
    return replace(driving, body=body, hands=hands, face=face)


def align_official(driving: OpenPose, reference: OpenPose) -> tuple[OpenPose, dict[str, Ratio]]:
    """The released algorithm with its faults, and its ratios: (T,) and (1,) poses in units of their frames' heights.

    Ratios come from the first frame whether its joints are seen or not, and an infinite one throws its part and what
    hangs on it off the canvas. Invisible points are the official markers, (-1, -1) plus the offset of the necks.
    """
    ratios = official_ratios(driving, reference)
    pose = _moved(driving, {part: ratio if np.isfinite(ratio) else np.nan for part, (ratio, _) in ratios.items()})
    offset = reference.body[0, NECK] - driving.body[0, NECK]
    hands = np.where(pose.hands_visible[..., None], pose.hands, -1.0)
    face = np.where(pose.face_visible[..., None], pose.face, -1.0)
    body, hands, face = (np.where(np.isnan(points), -1.0, points) + offset for points in (pose.body, hands, face))
    return replace(pose, body=body, hands=hands, face=face), ratios


def align_robust(driving: OpenPose, reference: OpenPose) -> tuple[OpenPose, dict[str, Ratio]]:
    """As :func:`align_official`, without its faults.

    Lengths and the neck's place come from the first frame that shows them and agrees with the frames after it, so that
    a first frame that is unseen, or seen and wrong, does not decide. What reference or driver never show (the legs of
    a half-body picture) is scaled as the rest of the body is, by the median of the measured ratios, and no ratio
    leaves a factor of 2 around it. Raises SteadyDancerError where there is no neck to start from.
    """
    trusted = trusted_frames(driving.body, driving.body_visible)
    offset = _neck_offset(driving, reference, trusted)
    ratios = robust_ratios(driving, reference, trusted)
    pose = _moved(driving, {part: ratio for part, (ratio, _) in ratios.items()})
    return replace(pose, body=pose.body + offset, hands=pose.hands + offset, face=pose.face + offset), ratios


MODES = {"robust": align_robust, "official": align_official}


def align(
    track: PoseTrack,
    track_size: tuple[int, int],
    reference: PoseTrack,
    reference_size: tuple[int, int],
    mode: Mode = "robust",
) -> PoseTrack:
    """The driving ``track`` on the body and at the place of ``reference`` (one frame), in pixels of its frame.

    Sizes are (height, width). ``official``: :func:`align_official`; ``robust``: :func:`align_robust`. Feet, which the
    official release does not know, follow the lower legs. Scores stay the driving ones.
    Raises SteadyDancerError for a reference of several frames, a size that is none, and where ``robust`` has no neck.
    """
    driving, target = _prepared(track, track_size, reference, reference_size)
    pose, ratios = MODES[mode](driving, target)
    keypoints, _ = from_openpose(pose)
    feet = track.keypoints.astype(np.float64) / track_size[0]
    for foot, ankle in FEET_AT:
        lower = feet[:, foot] - driving.body[:, [ankle]]
        keypoints[:, foot] = pose.body[:, [ankle]] + np.nan_to_num(ratios["leg_lower"].value, posinf=0.0) * lower
    return PoseTrack((keypoints * reference_size[0]).astype(np.float32), track.scores)


def limb_ratios(
    track: PoseTrack,
    track_size: tuple[int, int],
    reference: PoseTrack,
    reference_size: tuple[int, int],
    mode: Mode = "robust",
) -> dict[str, Ratio]:
    """By how much :func:`align` scales each body part, and which of these ratios were measured."""
    driving, target = _prepared(track, track_size, reference, reference_size)
    return MODES[mode](driving, target)[1]


def _prepared(track: PoseTrack, track_size: tuple[int, int], reference: PoseTrack, reference_size: tuple[int, int]):
    if len(reference) != 1:
        raise SteadyDancerError(
            f"pose alignment: the reference pose has {len(reference)} frames, one expected.",
            fix="Cut it: reference[:1].",
        )
    for who, size in (("driving", track_size), ("reference", reference_size)):
        if len(size) != 2 or min(size) <= 0:
            raise SteadyDancerError(
                f"pose alignment: the {who} frame's size is {size}, a positive (height, width) expected.",
                fix="Give the size of the frames in whose pixels the keypoints are.",
            )
    return tuple(
        to_openpose(each.keypoints, each.scores).in_units_of(size[0])
        for each, size in ((track, track_size), (reference, reference_size))
    )
