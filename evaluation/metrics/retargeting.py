"""Where the joints of the reference's body would be if it moved as the driver: directions and path of the one, lengths
of the other, by forward kinematics.
"""

import numpy as np

from evaluation.metrics.bones import BODY, SEEN, SHORTEST, angle_difference, torso_length
from evaluation.metrics.evidence import NotComputable
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

JOINTS = np.arange(joint.LEFT_SHOULDER, joint.RIGHT_ANKLE + 1)
"""Shoulders, elbows, wrists, hips, knees, ankles: left, right."""
NECK, HIPS = 12, 13  # the middles of the shoulders and of the hips, behind the 12 joints
# part -> (parent, child) of its left and right side; parents come first
TREE = {
    "spine": [(NECK, HIPS)],
    "shoulders": [(NECK, 0), (NECK, 1)],
    "upper_arm": [(0, 2), (1, 3)],
    "lower_arm": [(2, 4), (3, 5)],
    "hips": [(HIPS, 6), (HIPS, 7)],
    "upper_leg": [(6, 8), (7, 9)],
    "lower_leg": [(8, 10), (9, 11)],
}
MEASURED = {**TREE, "shoulders": [(0, 1)], "hips": [(6, 7)]}  # halves of a width would be too short too soon
SMALLEST, LARGEST = 0.5, 2.0


def retarget(driver: PoseTrack, reference: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
    """JOINTS as complex numbers (T, 12) in pixels of the reference, and whether each can be placed, (T, 12) bool.

    A part's length is the driver's of the moment times :func:`_ratios`. The neck starts at the reference's and moves as
    the driver's, scaled as the spine is; the neck because half bodies have it too. Raises NotComputable where one of
    them has no neck, or no part of the driver can be measured against the reference.
    """
    theirs, theirs_seen = _points(driver)
    ours, ours_seen = _points(reference)
    if not ours_seen[0, NECK]:
        raise NotComputable("the reference does not show both shoulders, from which its body is placed")
    if not theirs_seen[:, NECK].any():
        raise NotComputable("the driver never shows both shoulders, from which its body is placed")
    ratios = _ratios(driver, reference)
    place, known = np.zeros_like(theirs), np.zeros_like(theirs_seen)
    start = int(np.argmax(theirs_seen[:, NECK]))
    place[:, NECK] = ours[0, NECK] + ratios["spine"] * (theirs[:, NECK] - theirs[start, NECK])
    known[:, NECK] = theirs_seen[:, NECK]
    for part, edges in TREE.items():
        for parent, child in edges:
            place[:, child] = place[:, parent] + ratios[part] * (theirs[:, child] - theirs[:, parent])
            known[:, child] = known[:, parent] & theirs_seen[:, child]
    return place[:, :NECK], known[:, :NECK]


def _ratios(driver: PoseTrack, reference: PoseTrack) -> dict[str, float]:
    """The reference's length of each part over the driver's, within 0.5 and 2, mean of left and right.

    Each is measured in the frame, of those that show it, where the driver stands most like the reference. A part that
    either does not show, or shows so short that it must be foreshortened, has the median of the others.
    """
    distance = _pose_distance(driver, reference)
    measured = {}
    for part, edges in MEASURED.items():
        sides = []
        for edge in edges:
            length, usable = _length(driver, edge)
            wanted, shown = _length(reference, edge)
            nearest = int(np.argmin(np.where(usable, distance, np.inf)))
            if shown[0] and usable[nearest] and np.isfinite(distance[nearest]):
                sides.append(np.clip(wanted[0] / length[nearest], SMALLEST, LARGEST))
        if sides:
            measured[part] = float(np.mean(sides))
    if not measured:
        raise NotComputable("no part of the driver's body can be measured against the reference's")
    return dict.fromkeys(TREE, float(np.median(list(measured.values())))) | measured


def _points(track: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
    """JOINTS, NECK and HIPS: (T, 14) complex, (T, 14) bool."""
    place = (track.keypoints[..., 0].astype(np.float64) + 1j * track.keypoints[..., 1])[:, JOINTS]
    seen = track.scores[:, JOINTS] >= SEEN
    middles = np.stack([place[:, 0] + place[:, 1], place[:, 6] + place[:, 7]], axis=1) / 2
    middles_seen = np.stack([seen[:, 0] & seen[:, 1], seen[:, 6] & seen[:, 7]], axis=1)
    return np.concatenate([place, middles], axis=1), np.concatenate([seen, middles_seen], axis=1)


def _length(track: PoseTrack, edge: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(T,) pixels, and (T,) bool: seen and long enough."""
    points, seen = _points(track)
    length = np.abs(points[:, edge[1]] - points[:, edge[0]])
    return length, seen[:, edge].all(axis=1) & (length > 0) & ~(length < SHORTEST * torso_length(track))


def _pose_distance(driver: PoseTrack, reference: PoseTrack) -> np.ndarray:
    """(T,) degrees: mean angle between the bones of both; inf where less than half of the reference's can be seen."""
    theirs, theirs_usable = BODY.usable(driver)
    ours, ours_usable = BODY.usable(reference)
    both = theirs_usable & ours_usable
    enough = both.sum(axis=1) >= max(1, ours_usable.sum() / 2)
    total = np.where(both, angle_difference(theirs, ours), 0).sum(axis=1)
    return np.where(enough, total / np.maximum(both.sum(axis=1), 1), np.inf)
