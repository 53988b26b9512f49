"""Finding people with a detector that sees few at a time: hide whom it found and search again."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

MOST_PEOPLE = 6
SEEN = 0.5  # visibility from which a landmark counts
FEWEST_SEEN = 5  # of the 13 below, as a face with shoulders and elbows shows; of a false finding few are
SMALLEST = 0.25  # of the largest person's torso: smaller ones are far background, or nothing
SMALL = 0.2  # radius of the circle around a person, of the picture's longer side: below it they are looked at closely
CLOSE = 1.5  # of the circle: how much is looked at then
GREY = 128

# Landmarks of MediaPipe's pose: nose, shoulders, elbows, wrists, hips, knees, ankles.
BODY = [0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
LIMBS = [(11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)]
LIMBS += [(23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)]
TRUNK = [11, 12, 24, 23]
HEAD = range(11)
HIPS, CIRCLE, SHOULDERS = range(3)  # the marks

Search = Callable[[np.ndarray], list[np.ndarray]]
"""Picture -> marks (3, 2) px of the people seen in it, the surest first: the middle of the hips, a point on the circle
around the whole person, the middle of the shoulders."""
Locate = Callable[[np.ndarray, np.ndarray], np.ndarray | None]
"""Picture and somebody's marks (3, 2) -> their landmarks (33, 3): x and y in px, visibility. None: nobody is there."""


def find_people(frame: np.ndarray, search: Search, locate: Locate) -> list[np.ndarray]:
    """Landmarks (33, 3) of the people in ``frame`` (H, W, 3) uint8, in the order they were found, at most 6.

    Everyone found is painted grey along the body and the rest searched again, until that brings nobody new. A finding
    counts where enough of its body is seen inside the frame and outside what is already hidden (else it is the same
    person once more), at a size that goes with the largest one.
    """
    image, hidden = frame.copy(), np.zeros(frame.shape[:2], np.uint8)
    people: list[np.ndarray] = []
    while len(people) < MOST_PEOPLE:
        new: list[np.ndarray] = []
        for window in _windows(hidden.shape, whole_only=bool(people)):
            new = _look(image, hidden, window, search, locate)
            if new:
                break
        if not new:
            break
        people += new
        image[hidden > 0] = GREY
    sizes = [torso(person) for person in people]
    large = [person for person, size in zip(people, sizes, strict=True) if size >= SMALLEST * max(sizes)]
    return large[:MOST_PEOPLE]


def _windows(size: tuple[int, int], whole_only: bool) -> Iterator[tuple[slice, slice]]:
    """The whole picture; then, as the detector sees a square and people in it become larger, overlapping squares."""
    height, width = size
    side = min(size)
    yield slice(0, height), slice(0, width)
    if whole_only or height == width:
        return
    for step in (0.5, 0.0, 1.0):
        top, left = round(step * (height - side)), round(step * (width - side))
        yield slice(top, top + side), slice(left, left + side)


def _look(
    image: np.ndarray, hidden: np.ndarray, window: tuple[slice, slice], search: Search, locate: Locate
) -> list[np.ndarray]:
    """Who is seen in ``window`` of ``image`` and was not before; marks them in ``hidden``."""
    new = []
    for marks in _closely(image, window, search):
        if _open(marks[[HIPS, SHOULDERS]], hidden).any() and (landmarks := locate(image, marks)) is not None:
            seen = landmarks[BODY, 2] >= SEEN
            if (_open(landmarks[BODY, :2], hidden) & seen).sum() >= FEWEST_SEEN:
                new.append(landmarks)
            hidden |= region(landmarks, hidden.shape)
    return new


def _closely(image: np.ndarray, window: tuple[slice, slice], search: Search) -> list[np.ndarray]:
    """The marks of who is seen in ``window``. Who is small in it is looked at once more in a part of it around them: of
    small people who stand together, the detector often makes one between them."""
    out = []
    for marks in search_in(image, window, search):
        radius = float(np.linalg.norm(marks[CIRCLE] - marks[HIPS]))
        nearer = []
        if radius < SMALL * max(window[0].stop - window[0].start, window[1].stop - window[1].start):
            nearer = search_in(image, around(marks[HIPS], 2 * CLOSE * radius, image.shape), search)
        out += nearer or [marks]
    return out


def search_in(image: np.ndarray, window: tuple[slice, slice], search: Search) -> list[np.ndarray]:
    """The marks, in px of ``image``, of who is seen in ``window`` of it; [] where that is empty."""
    if 0 in (part := image[window]).shape:
        return []
    return [marks + (window[1].start, window[0].start) for marks in search(np.ascontiguousarray(part))]


def around(centre: np.ndarray, side: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of a picture of ``shape`` that lies in a square around ``centre`` (x, y)."""
    corners = np.stack([centre - side / 2, centre + side / 2]).clip(0, (shape[1], shape[0]))
    (left, top), (right, bottom) = corners.round().astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def _open(points: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(n,) bool: which (n, 2) px lie inside the frame and not where somebody was found before."""
    height, width = hidden.shape
    x, y = np.floor(points).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    inside[inside] = hidden[y[inside].astype(int), x[inside].astype(int)] == 0
    return inside


def torso(landmarks: np.ndarray) -> float:
    """Length in px of the trunk of landmarks (33, 3)."""
    shoulders, hips = landmarks[TRUNK[:2], :2].mean(axis=0), landmarks[TRUNK[2:], :2].mean(axis=0)
    return float(np.linalg.norm(shoulders - hips))


def region(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8, 1 where the person is: trunk, limbs and head with some clothing, but not the box around them."""
    out = np.zeros(size, np.uint8)
    points = landmarks[:, :2]
    breadth = max(torso(landmarks), float(np.linalg.norm(points[11] - points[12])), 4.0)
    at = np.clip(points, -(1 << 14), 1 << 14).round().astype(int)
    cv2.fillConvexPoly(out, cv2.convexHull(at[TRUNK].astype(np.int32)), 1)
    for start, end in [*LIMBS, *zip(TRUNK, TRUNK[1:] + TRUNK[:1], strict=True)]:
        cv2.line(out, at[start].tolist(), at[end].tolist(), 1, max(1, round(0.3 * breadth)))
    head = at[HEAD].mean(axis=0).round().astype(int).tolist()
    cv2.circle(out, head, max(1, round(0.4 * breadth)), 1, thickness=-1)
    return out
