"""The bones whose directions are compared between people: which they are, when one can be judged, how it turns.

A bone is the vector from one joint to another as a complex number in pixels. Its angle depends neither on where a
person stands nor on how large or long-limbed it is, so it can be held against another person's. Poses are in pixels,
which are square, so their angles are true as they are; in fractions of a frame that is not square they would not be.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

SEEN = 0.5
SHORTEST = 0.15  # of the yardstick; a bone that points at the camera has no usable angle
COLLAPSED = 0.05  # of the yardstick; a shorter one has no direction at all, whatever the confidence of its joints
CUTOFF_HZ = 4.0
SHOULDER_WIDTHS_PER_TORSO = 1.5


@dataclass(frozen=True, eq=False)
class BoneSet:
    """``joints`` (B, 2): where each bone starts and ends. ``yardstick`` gives what its length is judged by."""

    joints: np.ndarray
    yardstick: Callable[[PoseTrack], np.ndarray]
    """track -> lengths in pixels that broadcast against (B,); nan where the track shows none"""

    def vectors(self, track: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
        """The bones (T, B) complex, and whether both their ends are seen, (T, B) bool."""
        points = track.keypoints[..., 0].astype(np.float64) + 1j * track.keypoints[..., 1]
        start, end = self.joints.T
        return points[:, end] - points[:, start], (track.scores >= SEEN)[:, self.joints].all(axis=2)

    def present(self, track: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
        """The bones (T, B) complex, and whether each is seen and has a length, (T, B) bool.

        None has in a track that shows nothing to judge lengths by.
        """
        vectors, seen = self.vectors(track)
        return vectors, seen & (np.abs(vectors) > COLLAPSED * self.yardstick(track))

    def usable(self, track: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
        """The bones (T, B) complex, and whether each is seen and long enough to have an angle, (T, B) bool."""
        vectors, seen = self.vectors(track)
        return vectors, seen & ~(np.abs(vectors) < SHORTEST * self.yardstick(track))


def torso_length(track: PoseTrack) -> float:
    """Median over the track of what is seen of both ways from shoulder to hip, in pixels.

    A half body shows no hips: then 1.5 times the median width of the shoulders; nan where it shows neither.
    """
    vectors, seen = BODY.vectors(track)
    sides, shoulders = np.abs(vectors[:, 10:12])[seen[:, 10:12]], np.abs(vectors[:, 8])[seen[:, 8]]
    if len(sides):
        return float(np.median(sides))
    return SHOULDER_WIDTHS_PER_TORSO * float(np.median(shoulders)) if len(shoulders) else np.nan


def _palms(track: PoseTrack) -> np.ndarray:
    """The median way from each hand's wrist to its middle knuckle, for its 20 bones, (40,) pixels."""
    vectors, seen = HANDS.vectors(track)
    middle = HANDS.joints[:, 1] - HANDS.joints[:, 0] == 9
    lengths = [np.abs(vectors[:, bone])[seen[:, bone]] for bone in np.flatnonzero(middle)]
    return np.repeat([np.median(length) if len(length) else np.nan for length in lengths], 20)


BODY = BoneSet(
    np.array(
        [
            (joint.LEFT_SHOULDER, joint.LEFT_ELBOW),
            (joint.LEFT_ELBOW, joint.LEFT_WRIST),
            (joint.RIGHT_SHOULDER, joint.RIGHT_ELBOW),
            (joint.RIGHT_ELBOW, joint.RIGHT_WRIST),
            (joint.LEFT_HIP, joint.LEFT_KNEE),
            (joint.LEFT_KNEE, joint.LEFT_ANKLE),
            (joint.RIGHT_HIP, joint.RIGHT_KNEE),
            (joint.RIGHT_KNEE, joint.RIGHT_ANKLE),
            (joint.LEFT_SHOULDER, joint.RIGHT_SHOULDER),
            (joint.LEFT_HIP, joint.RIGHT_HIP),
            (joint.LEFT_SHOULDER, joint.LEFT_HIP),
            (joint.RIGHT_SHOULDER, joint.RIGHT_HIP),
        ]
    ),
    torso_length,
)
HANDS = BoneSet(
    np.array([(h.start + a, h.start + b) for h in (joint.LEFT_HAND, joint.RIGHT_HAND) for a, b in joint.HAND_EDGES]),
    _palms,
)


def angle_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the directions of complex vectors, degrees from 0 to 180."""
    return np.degrees(np.abs(np.angle(a * b.conj())))


def angle_steps(vectors: np.ndarray, seen: np.ndarray, fps: float) -> np.ndarray:
    """Change of angle from frame to frame, radians (T-1, B), of directions low-passed at 4 Hz over the seen frames.

    Directions are averaged as unit vectors under a Gaussian whose gain is 1/sqrt(2) at the cut-off; unseen frames weigh
    nothing.
    """
    sigma = np.sqrt(np.log(2)) / (2 * np.pi * CUTOFF_HZ) * fps
    frame = np.arange(len(vectors))
    weights = np.exp(-0.5 * ((frame[:, None] - frame) / sigma) ** 2)
    length = np.abs(vectors)
    direction = np.where(seen & (length > 0), vectors / np.where(length > 0, length, 1), 0)
    smooth = weights @ direction
    return np.angle(smooth[1:] * smooth[:-1].conj())
