"""COCO-WholeBody 133 and its conversion to what the condition picture is drawn from: OpenPose 18, hands and face.

All functions are vectorised over leading axes (frames). Left and right are the person's own. Specification section 4.2.
"""

from dataclasses import dataclass

import numpy as np

NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(5)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = range(5, 11)
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = range(11, 17)
LEFT_BIG_TOE, LEFT_SMALL_TOE, LEFT_HEEL, RIGHT_BIG_TOE, RIGHT_SMALL_TOE, RIGHT_HEEL = range(17, 23)

BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)

# A joint is drawn above VISIBLE; the neck, mean of the shoulders, is seen when both shoulders are above SHOULDERS_SEEN.
VISIBLE = 0.35
SHOULDERS_SEEN = 0.3

NECK = 1
_BODY_FROM_133 = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]  # -1: the neck

# Bones for people to look at; the condition picture has its own list.
LEFT_BONES = [(NOSE, LEFT_EYE), (LEFT_EYE, LEFT_EAR), (LEFT_SHOULDER, LEFT_ELBOW), (LEFT_ELBOW, LEFT_WRIST)]
LEFT_BONES += [(LEFT_SHOULDER, LEFT_HIP), (LEFT_HIP, LEFT_KNEE), (LEFT_KNEE, LEFT_ANKLE)]
LEFT_BONES += [(LEFT_ANKLE, LEFT_HEEL), (LEFT_ANKLE, LEFT_BIG_TOE), (LEFT_BIG_TOE, LEFT_SMALL_TOE)]
RIGHT_BONES = [(NOSE, RIGHT_EYE), (RIGHT_EYE, RIGHT_EAR), (RIGHT_SHOULDER, RIGHT_ELBOW), (RIGHT_ELBOW, RIGHT_WRIST)]
RIGHT_BONES += [(RIGHT_SHOULDER, RIGHT_HIP), (RIGHT_HIP, RIGHT_KNEE), (RIGHT_KNEE, RIGHT_ANKLE)]
RIGHT_BONES += [(RIGHT_ANKLE, RIGHT_HEEL), (RIGHT_ANKLE, RIGHT_BIG_TOE), (RIGHT_BIG_TOE, RIGHT_SMALL_TOE)]
MIDDLE_BONES = [(LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_HIP, RIGHT_HIP)]

HAND_EDGES = [(0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21)]


@dataclass(frozen=True, eq=False)
class OpenPose:
    """float64, in the units of what it was made from. Body points keep their place where they are not visible."""

    body: np.ndarray
    """(..., 18, 2)"""
    body_visible: np.ndarray
    """(..., 18) bool"""
    hands: np.ndarray
    """(..., 2, 21, 2): left, right"""
    hands_visible: np.ndarray
    """(..., 2, 21) bool"""
    face: np.ndarray
    """(..., 68, 2)"""
    face_visible: np.ndarray
    """(..., 68) bool"""


def neck(keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 133, 2), (..., 133) -> the neck (..., 2) and whether it is seen (...) bool."""
    place = (keypoints[..., LEFT_SHOULDER, :] + keypoints[..., RIGHT_SHOULDER, :]) / 2
    return place, (scores[..., LEFT_SHOULDER] > SHOULDERS_SEEN) & (scores[..., RIGHT_SHOULDER] > SHOULDERS_SEEN)


def to_openpose(keypoints: np.ndarray, scores: np.ndarray) -> OpenPose:
    """One person's (..., 133, 2) keypoints and (..., 133) scores, as OpenPose points (specification section 4.2)."""
    keypoints = np.asarray(keypoints, np.float64)
    body, body_visible = keypoints[..., _BODY_FROM_133, :], scores[..., _BODY_FROM_133] > VISIBLE
    body[..., NECK, :], body_visible[..., NECK] = neck(keypoints, scores)
    seen = scores >= VISIBLE
    return OpenPose(
        body=body,
        body_visible=body_visible,
        hands=np.stack([keypoints[..., LEFT_HAND, :], keypoints[..., RIGHT_HAND, :]], axis=-3),
        hands_visible=np.stack([seen[..., LEFT_HAND], seen[..., RIGHT_HAND]], axis=-2),
        face=keypoints[..., FACE, :],
        face_visible=seen[..., FACE],
    )


def from_openpose_body(body: np.ndarray) -> np.ndarray:
    """(..., 18, 2) -> the 17 COCO body joints (..., 17, 2); the neck is left out."""
    return body[..., [_BODY_FROM_133.index(joint) for joint in range(17)], :]
