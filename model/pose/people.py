"""Counting people with a detector that finds one at a time: hide whom it found and look again."""

from collections.abc import Callable

import cv2
import numpy as np

MOST_PEOPLE = 6
SEEN = 0.5  # visibility from which a landmark counts
FEWEST_SEEN = 5  # of the 13 below, as a face with shoulders and elbows shows; of a false finding few are
SMALLEST = 0.25  # of the largest person's torso: smaller ones are far background, or nothing
GREY = 128

# Landmarks of MediaPipe's pose: nose, shoulders, elbows, wrists, hips, knees, ankles.
BODY = [0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
LIMBS = [(11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)]
LIMBS += [(23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)]
TRUNK = [11, 12, 24, 23]
HEAD = range(11)


def count_people(frame: np.ndarray, detect: Callable[[np.ndarray], np.ndarray | None]) -> int:
    """People in ``frame`` (H, W, 3) uint8, at most 6.

    ``detect``: picture -> (33, 3) landmarks of one person (x and y in fractions of the picture, visibility), or None.
    Everyone found is painted grey along the body and the rest searched again. A finding counts where enough of its body
    is seen inside the frame and outside what is already grey (else it is the same person once more), at a size that
    goes with the largest one.
    """
    height, width = frame.shape[:2]
    image, hidden = frame.copy(), np.zeros((height, width), np.uint8)
    torsos: list[float] = []
    for _ in range(MOST_PEOPLE):
        landmarks = detect(image)
        if landmarks is None and not torsos:
            landmarks = _detect_in_squares(image, detect)
        if landmarks is None:
            break
        points = landmarks[:, :2] * (width, height)
        torso = float(np.linalg.norm(points[TRUNK[:2]].mean(axis=0) - points[TRUNK[2:]].mean(axis=0)))
        if _seen(points, landmarks[:, 2], hidden) >= FEWEST_SEEN:
            torsos.append(torso)
        region = _region(points, torso, (height, width))
        image[region > 0] = GREY
        hidden |= region
    return sum(torso >= SMALLEST * max(torsos) for torso in torsos)


def _detect_in_squares(image: np.ndarray, detect: Callable[[np.ndarray], np.ndarray | None]) -> np.ndarray | None:
    """The first finding in three overlapping squares: the detector sees a square, and people in it become larger."""
    height, width = image.shape[:2]
    side = min(height, width)
    for step in (0.5, 0.0, 1.0):
        top, left = round(step * (height - side)), round(step * (width - side))
        landmarks = detect(np.ascontiguousarray(image[top : top + side, left : left + side]))
        if landmarks is not None:
            landmarks[:, 0] = (landmarks[:, 0] * side + left) / width
            landmarks[:, 1] = (landmarks[:, 1] * side + top) / height
            return landmarks
    return None


def _seen(points: np.ndarray, visibility: np.ndarray, hidden: np.ndarray) -> int:
    """Body landmarks that are visible, inside the frame, and not where somebody was found before."""
    height, width = hidden.shape
    x, y = np.floor(points[BODY]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (visibility[BODY] >= SEEN)
    return int((hidden[y[inside], x[inside]] == 0).sum())


def _region(points: np.ndarray, torso: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8, 1 where the person is: trunk, limbs and head with some clothing, but not the box around them."""
    region = np.zeros(size, np.uint8)
    shoulders = float(np.linalg.norm(points[11] - points[12]))
    breadth = max(torso, shoulders, 4.0)
    at = np.clip(points, -(1 << 14), 1 << 14).round().astype(int)
    cv2.fillConvexPoly(region, cv2.convexHull(at[TRUNK].astype(np.int32)), 1)
    for start, end in [*LIMBS, *zip(TRUNK, TRUNK[1:] + TRUNK[:1], strict=True)]:
        cv2.line(region, at[start].tolist(), at[end].tolist(), 1, max(1, round(0.3 * breadth)))
    head = at[HEAD].mean(axis=0).round().astype(int).tolist()
    cv2.circle(region, head, max(1, round(0.4 * breadth)), 1, thickness=-1)
    return region
