"""COCO-WholeBody 133, OpenPose 18 with hands and face, and the official release's arrays; conversions between them.

All functions are vectorised over leading axes (frames, persons). Left and right are the person's own. Specification
section 4.2.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from model.pose.tracks import JOINTS, InvalidPose

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
_BODY_TO_133 = [_BODY_FROM_133.index(joint) for joint in range(17)]

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
    """Points float64 in the units of what they were made from, scores float64; leading axes are frames and persons.

    Points keep their place where they are not visible. ``pose[frames]`` and ``pose[:, person]`` select.
    """

    body: np.ndarray
    """(..., 18, 2)"""
    body_scores: np.ndarray
    """(..., 18); the neck's is 1 or 0"""
    hands: np.ndarray
    """(..., 2, 21, 2): left, right"""
    hands_scores: np.ndarray
    """(..., 2, 21)"""
    face: np.ndarray
    """(..., 68, 2)"""
    face_scores: np.ndarray
    """(..., 68)"""

    @property
    def body_visible(self) -> np.ndarray:
        """(..., 18) bool"""
        return self.body_scores > VISIBLE

    @property
    def hands_visible(self) -> np.ndarray:
        """(..., 2, 21) bool"""
        return self.hands_scores >= VISIBLE

    @property
    def face_visible(self) -> np.ndarray:
        """(..., 68) bool"""
        return self.face_scores >= VISIBLE

    def __getitem__(self, index) -> "OpenPose":
        return OpenPose(*(getattr(self, field.name)[index] for field in fields(self)))

    def in_units_of(self, *unit: float) -> "OpenPose":
        """All points divided by ``unit``: one length, or the frame's (width, height)."""
        return OpenPose(
            self.body / unit, self.body_scores, self.hands / unit, self.hands_scores, self.face / unit, self.face_scores
        )


class OfficialPose(NamedTuple):
    """One frame's n persons as the official release stores them; frames are leading axes."""

    candidate: np.ndarray
    """(..., 18 n, 2) body points, never masked"""
    subset: np.ndarray
    """(..., n, 18): the row of ``candidate``, or -1 where the joint is not visible"""
    hands: np.ndarray
    """(..., 2 n, 21, 2): all persons' left hands, then all right hands; (-1, -1) where not visible"""
    faces: np.ndarray
    """(..., n, 68, 2); (-1, -1) where not visible"""


def neck(keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 133, 2), (..., 133) -> the neck (..., 2) and whether it is seen (...) bool."""
    place = (keypoints[..., LEFT_SHOULDER, :] + keypoints[..., RIGHT_SHOULDER, :]) / 2
    return place, (scores[..., LEFT_SHOULDER] > SHOULDERS_SEEN) & (scores[..., RIGHT_SHOULDER] > SHOULDERS_SEEN)


def to_openpose(keypoints: np.ndarray, scores: np.ndarray) -> OpenPose:
    """(..., 133, 2) keypoints and (..., 133) scores as OpenPose points; the feet fall away.

    Raises InvalidPose for other shapes, shapes that do not belong together, NaN and infinities.
    """
    keypoints, scores = np.asarray(keypoints, np.float64), np.asarray(scores, np.float64)
    if keypoints.shape[-2:] != (JOINTS, 2) or scores.shape != keypoints.shape[:-1]:
        raise InvalidPose(
            f"pose: keypoints {keypoints.shape} and scores {scores.shape} given, "
            f"(..., {JOINTS}, 2) and (..., {JOINTS}) expected."
        )
    if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
        raise InvalidPose("pose: NaN or infinite keypoints or scores; unseen joints need score 0.")
    body, body_scores = keypoints[..., _BODY_FROM_133, :], scores[..., _BODY_FROM_133]
    body[..., NECK, :], body_scores[..., NECK] = neck(keypoints, scores)
    return OpenPose(
        body=body,
        body_scores=body_scores,
        hands=np.stack([keypoints[..., LEFT_HAND, :], keypoints[..., RIGHT_HAND, :]], axis=-3),
        hands_scores=np.stack([scores[..., LEFT_HAND], scores[..., RIGHT_HAND]], axis=-2),
        face=keypoints[..., FACE, :],
        face_scores=scores[..., FACE],
    )


def from_openpose(pose: OpenPose) -> tuple[np.ndarray, np.ndarray]:
    """(..., 133, 2) keypoints and (..., 133) scores, float64. Feet are at 0 with score 0; the neck is left out."""
    leading = pose.body.shape[:-2]
    keypoints, scores = np.zeros((*leading, JOINTS, 2)), np.zeros((*leading, JOINTS))
    keypoints[..., BODY, :], scores[..., BODY] = pose.body[..., _BODY_TO_133, :], pose.body_scores[..., _BODY_TO_133]
    for side, hand in enumerate((LEFT_HAND, RIGHT_HAND)):
        keypoints[..., hand, :], scores[..., hand] = pose.hands[..., side, :, :], pose.hands_scores[..., side, :]
    keypoints[..., FACE, :], scores[..., FACE] = pose.face, pose.face_scores
    return keypoints, scores


def select_person(
    keypoints: np.ndarray, scores: np.ndarray, person: int = 0, *, compat: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """One of several persons: (..., P, 133, 2), (..., P, 133) -> (..., 133, 2), (..., 133).

    ``compat`` repeats the official release, which draws and aligns the first person with the first two hands of its
    array: of two persons and more these are two left hands, so the right hand is the second person's left one.
    """
    persons = keypoints.shape[-3]
    if not 0 <= person < persons:
        raise InvalidPose(f"pose: person {person} of {persons} asked for, 0..{persons - 1} expected.")
    chosen, sure = keypoints[..., person, :, :].copy(), scores[..., person, :].copy()
    if compat and person == 0 and persons > 1:
        chosen[..., RIGHT_HAND, :], sure[..., RIGHT_HAND] = keypoints[..., 1, LEFT_HAND, :], scores[..., 1, LEFT_HAND]
    return chosen, sure


def to_official(pose: OpenPose) -> OfficialPose:
    """The official arrays of ``pose`` (..., n persons); an axis for the persons is expected, also for one."""
    *leading, persons = pose.body.shape[:-2]
    rows = np.arange(persons * 18).reshape(persons, 18)
    hands = np.where(pose.hands_visible[..., None], pose.hands, -1.0)
    return OfficialPose(
        candidate=pose.body.reshape(*leading, persons * 18, 2),
        subset=np.where(pose.body_visible, rows, -1.0),
        hands=np.concatenate([hands[..., 0, :, :], hands[..., 1, :, :]], axis=-3),
        faces=np.where(pose.face_visible[..., None], pose.face, -1.0),
    )


def from_official(official: OfficialPose) -> OpenPose:
    """The persons (..., n) of official arrays. Scores are 1 where a point is visible and 0 where it is not.

    A hand or face point is taken for invisible where a coordinate is negative: alignment moves the (-1, -1) markers.
    """
    *leading, persons, _ = official.subset.shape
    own = np.arange(persons * 18).reshape(persons, 18)
    rows = np.where(official.subset >= 0, official.subset, own).astype(int).reshape(*leading, persons * 18, 1)
    left, right = np.split(official.hands, 2, axis=-3)
    hands = np.stack([left, right], axis=-3)
    return OpenPose(
        body=np.take_along_axis(official.candidate, rows, axis=-2).reshape(*leading, persons, 18, 2),
        body_scores=(official.subset >= 0).astype(np.float64),
        hands=hands,
        hands_scores=(hands >= 0).all(axis=-1).astype(np.float64),
        face=official.faces,
        face_scores=(official.faces >= 0).all(axis=-1).astype(np.float64),
    )
