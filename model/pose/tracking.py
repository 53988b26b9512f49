"""People through a clip: searched for on some frames, followed by their own joints in between, each kept apart.

A frame where a person is not found has score 0 in their track. Nothing but joints is kept of a frame, and its cost does
not depend on the clip's length.
"""

from collections.abc import Callable, Iterable
from heapq import nlargest
from itertools import compress, islice

import numpy as np

from model.pose.frames import checked
from model.pose.tracks import JOINTS, PoseTrack
from model.pose.wholebody import BODY

Detect = Callable[[list[np.ndarray]], list[np.ndarray]]
Locate = Callable[[list[tuple[np.ndarray, np.ndarray]]], tuple[np.ndarray, np.ndarray]]
Poses = tuple[np.ndarray, np.ndarray]  # keypoints (n, 133, 2) and scores (n, 133)

SEEN = 0.3  # score above which a joint counts
FEWEST_SEEN = 3  # body joints of a person who is there
FALLEN = 0.5  # of the confidence when the detector last saw the person: below it the frame is searched again
BEYOND = 1.2  # a person is larger than their joints (hands, top of the head), and moves on to the next frame
CROWD = 8  # people followed beyond those asked for: bounds what a frame with an audience costs

# Differences between two poses, in the size of the person (see difference).
SAME = 0.15  # below: one person, found twice on a frame, or on two frames one after the other in their own crop
NEAR = 0.5  # below: may be the person of the frame before
RETURNED, ABSENCE = 0.75, 0.25  # below: may be a person who was away, whom ABSENCE puts behind one who was not
COASTING = 10  # frames for which somebody out of sight is expected to go on as before


def follow(
    frames: Iterable[np.ndarray], detect: Detect, locate: Locate, *, detect_every: int, people: int, chunk: int
) -> list[PoseTrack]:
    """One track per person through (H, W, 3) uint8 ``frames``, the most prominent first (their area summed over time).

    ``detect``: n frames -> n arrays (N, 5) of left, top, right, bottom in px and score, the surest first. ``locate``:
    n pairs of frame and box (4,) -> keypoints (n, 133, 2) float32 px, scores (n, 133) float32 0..1.
    Every ``detect_every``-th frame is searched, and one in between where a followed person's confidence falls or their
    pose jumps (not within ``detect_every // 4`` frames of the last search). Somebody lost is not searched for; the next
    search finds them, who they were if place and size fit. Up to ``chunk`` frames are held and batched; it does not
    change what comes out. At most ``people`` tracks, each as long as the clip; [] where nobody is found.
    Raises SteadyDancerError for bad frames (see :func:`model.pose.frames.checked`).
    """
    crowd = _Crowd(detect, locate, detect_every, people + CROWD)
    stream, length = checked(frames), 0
    while part := list(islice(stream, chunk)):
        searched = [index for index in range(len(part)) if (length + index) % detect_every == 0]
        found = dict(zip(searched, crowd.search([part[index] for index in searched]), strict=True)) if searched else {}
        for index, frame in enumerate(part):
            crowd.step(length + index, frame, found.get(index))
        length += len(part)
    ranked = sorted(crowd.people, key=lambda person: -person.prominence)
    return [person.track(length) for person in ranked[:people]]


class _Person:
    def __init__(self):
        self.frames: list[int] = []
        self.poses: list[tuple[np.ndarray, np.ndarray]] = []
        self.prominence = self.area = 0.0  # px: summed over time, when last seen
        self.velocity = np.zeros(2)
        self.confidence = 0.0  # the mean body score when the detector last saw them
        self.here = True

    def add(self, time: int, keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> None:
        if self.frames:
            before, before_scores = self.poses[-1]
            common = _seen(scores) & _seen(before_scores)
            if common.any():
                moved = (keypoints[BODY][common] - before[BODY][common]).mean(axis=0)
                self.velocity = 0.7 * self.velocity + 0.3 * moved / (time - self.frames[-1])
        self.frames.append(time)
        self.poses.append((keypoints, scores))
        box = np.clip(_box(keypoints, scores), 0, (size[1], size[0]) * 2)
        self.area = float((box[2:] - box[:2]).prod())
        self.prominence += self.area

    def crop(self) -> np.ndarray:
        """Where to look for them in the next frame: a box (4,)."""
        box = _box(*self.poses[-1])
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        return np.concatenate([centre - BEYOND * half, centre + BEYOND * half])

    def difference(self, time: int, poses: Poses) -> np.ndarray:
        """(n,) from where they were, or would be by now, to each pose."""
        keypoints, scores = self.poses[-1]
        ahead = keypoints + self.velocity * min(time - self.frames[-1], COASTING)
        return _differences((np.stack([keypoints, ahead]), np.stack([scores, scores])), poses).min(axis=0)

    def fallen(self, scores: np.ndarray) -> bool:
        return bool(scores[BODY].mean() < FALLEN * self.confidence)

    def track(self, length: int) -> PoseTrack:
        keypoints, scores = np.zeros((length, JOINTS, 2), np.float32), np.zeros((length, JOINTS), np.float32)
        keypoints[self.frames] = [pose for pose, _ in self.poses]
        scores[self.frames] = [pose for _, pose in self.poses]
        return PoseTrack(keypoints, scores)


class _Crowd:
    """Who is here, and of those who were the most prominent: never more than twice ``most`` people."""

    def __init__(self, detect: Detect, locate: Locate, detect_every: int, most: int):
        self.people: list[_Person] = []
        self._detect, self._locate, self._every, self._most = detect, locate, detect_every, most
        self._searched = 0

    def search(self, frames: list[np.ndarray]) -> list[Poses]:
        """Everybody the detector finds in each frame, each person once."""
        crops, counts = [], []
        for frame, boxes in zip(frames, self._detect(frames), strict=True):
            area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            largest = np.sort(np.argsort(-area, kind="stable")[: self._most])
            crops += [(frame, box[:4]) for box in boxes[largest]]
            counts.append(len(largest))
        keypoints, scores = self._poses(crops)
        ends = np.cumsum(counts)[:-1]
        return [_once(poses) for poses in zip(np.split(keypoints, ends), np.split(scores, ends), strict=True)]

    def step(self, time: int, frame: np.ndarray, found: Poses | None) -> None:
        """Take the next frame, and who was ``found`` on it where it was searched."""
        here = [person for person in self.people if person.here]
        if found is not None:
            self._meet(time, frame, found, None)
        elif here:
            own = self._poses([(frame, person.crop()) for person in here])
            apart = np.stack([person.difference(time, own) for person in here]).diagonal()
            shown = (apart < SAME) & ~_twice(own, apart)
            fallen = [person.fallen(scores) for person, scores in zip(here, own[1], strict=True)]
            if (~shown | fallen).any() and time - self._searched > self._every // 4:
                self._meet(time, frame, self.search([frame])[0], dict(zip(here, zip(*own, strict=True), strict=True)))
            else:
                for person, keypoints, scores in compress(zip(here, *own, strict=True), shown):
                    person.add(time, keypoints, scores, frame.shape[:2])

    def _meet(self, time: int, frame: np.ndarray, found: Poses, own: dict | None) -> None:
        """Who of those known is who of those found. The rest of the found are new; the rest of those here are held by
        ``own``, what their own crop shows, if that shows them and nobody else."""
        self._searched = time
        known = self._assign(time, found)
        held = [person for person in self.people if person.here and person not in known.values()]
        for person in held:
            person.here = False
        for index, (keypoints, scores) in enumerate(zip(*found, strict=True)):
            if index not in known:
                known[index] = _Person()
                self.people.append(known[index])
            known[index].add(time, keypoints, scores, frame.shape[:2])
            known[index].here, known[index].confidence = True, float(scores[BODY].mean())
        held = held if self._every > 1 else []
        crops = [] if own else [(frame, person.crop()) for person in held]
        own = own or dict(zip(held, zip(*self._poses(crops), strict=True), strict=True))
        for person in held:
            pose, others = _stacked([own[person]]), [other.poses[-1] for other in self.people if other.here]
            alone = not others or (_differences(pose, _stacked(others)) >= SAME).all()
            if alone and person.difference(time, pose)[0] < SAME and not person.fallen(pose[1][0]):
                person.here = True
                person.add(time, pose[0][0], pose[1][0], frame.shape[:2])
        self._forget()

    def _forget(self) -> None:
        """Follow on as many of the most prominent as asked for, however small they are now, and of the others the CROWD
        largest. Of those away remember as many: whom so many surpass is not among those returned."""
        here = sorted((person for person in self.people if person.here), key=lambda person: -person.prominence)
        asked = self._most - CROWD
        followed = here[:asked] + nlargest(CROWD, here[asked:], key=lambda person: person.area)
        for person in here:
            person.here = person in followed
        away = (person for person in self.people if not person.here)
        kept = followed + nlargest(self._most, away, key=lambda person: person.prominence)
        self.people = [person for person in self.people if person in kept]

    def _assign(self, time: int, found: Poses) -> dict[int, _Person]:
        """Index of a found pose -> the person it is; the assignment with the smallest sum of differences."""
        from scipy.optimize import linear_sum_assignment

        if not self.people or not len(found[0]):
            return {}
        cost = np.stack([person.difference(time, found) for person in self.people])
        limit = np.array([[NEAR if person.here else RETURNED + ABSENCE] for person in self.people])
        cost += np.array([[0 if person.here else ABSENCE] for person in self.people])
        rows, columns = linear_sum_assignment(np.minimum(cost, limit))
        fits = cost[rows, columns] < limit[rows, 0]
        return {int(column): self.people[row] for row, column in zip(rows[fits], columns[fits], strict=True)}

    def _poses(self, crops: list[tuple[np.ndarray, np.ndarray]]) -> Poses:
        if crops:
            return self._locate(crops)
        return np.zeros((0, JOINTS, 2), np.float32), np.zeros((0, JOINTS), np.float32)


def _seen(scores: np.ndarray) -> np.ndarray:
    return scores[..., BODY] > SEEN


def _box(keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Around the seen joints: (4,) px. Hands, feet and face count too."""
    points = keypoints[scores > SEEN]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _stacked(poses: list[tuple[np.ndarray, np.ndarray]]) -> Poses:
    return np.stack([keypoints for keypoints, _ in poses]), np.stack([scores for _, scores in poses])


def difference(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """From one pose, keypoints (133, 2) px and scores (133,), to another in place and size, in units of the person.

    Below NEAR they may be one person's on two frames in a row, below RETURNED those of one who was away in between;
    infinite where fewer than FEWEST_SEEN body joints are seen in both.
    """
    return float(_differences(_stacked([one]), _stacked([other]))[0, 0])


def _differences(ones: Poses, others: Poses) -> np.ndarray:
    """(A, B) between A and B poses: the mean distance of body joints seen in both, in units of the larger person's
    extent, plus half the logarithm of the ratio of their sizes. Infinite where too few joints are seen in both."""
    (a, a_scores), (b, b_scores) = ones, others
    common = (_seen(a_scores)[:, None] & _seen(b_scores)[None])[..., None]
    count = common.sum(axis=(2, 3))
    share = common / np.maximum(count, 1)[..., None, None]
    a, b = a[:, None, BODY].astype(np.float64), b[None, :, BODY].astype(np.float64)
    spreads = []
    for points in (a, b):
        middle = (points * share).sum(axis=2, keepdims=True)
        spreads.append(np.sqrt((np.square(points - middle) * share).sum(axis=(2, 3))) + 1)
    # A standing body's extent is about three times the standard deviation of its joints.
    distance = (np.linalg.norm(a - b, axis=-1) * share[..., 0]).sum(axis=2) / (3 * np.maximum(*spreads))
    return np.where(count < FEWEST_SEEN, np.inf, distance + np.abs(np.log(spreads[0] / spreads[1])) / 2)


def _once(poses: Poses) -> Poses:
    """Without those who are not there, and without all but the first of those who are the same."""
    keep: list[int] = []
    differences = _differences(poses, poses)
    for index in np.flatnonzero(np.isfinite(differences.diagonal())).tolist():
        if (differences[index, keep] >= SAME).all():
            keep.append(index)
    return poses[0][keep], poses[1][keep]


def _twice(own: Poses, apart: np.ndarray) -> np.ndarray:
    """(n,) bool: whose own crop shows somebody else here, who is less far ``apart`` (n,) from the pose."""
    out = np.zeros(len(apart), bool)
    for one, other in np.argwhere(np.triu(_differences(own, own) < SAME, 1)):
        out[other if apart[one] <= apart[other] else one] = True
    return out
