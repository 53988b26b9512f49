"""Scenes whose every joint is known, and how a track is held against them."""

from collections import Counter

import numpy as np

from model.pose.tracking import follow

HEIGHT, WIDTH = 90, 160  # of the frames; their first pixel says which frame of the scene it is
FIGURE = np.random.default_rng(0).uniform((-0.2, -0.5), (0.2, 0.5), (133, 2))
FIGURE[:17:16] = (-0.2, -0.5), (0.2, 0.5)


class Person:
    """``path`` (T, 2) of the middle, ``size`` px, ``there`` (T,) bool, ``sure`` (T,) the score of the joints."""

    def __init__(self, path, size=50.0, there=True, sure=0.9):
        self.size, frames = size, len(path)
        self.joints = np.asarray(path)[:, None] + FIGURE * size
        self.middles = self.joints[:, [0, 16]].mean(axis=1)
        self.there, self.sure = np.broadcast_to(there, frames), np.broadcast_to(sure, frames)

    def box(self, time):
        return np.array([*self.joints[time].min(axis=0), *self.joints[time].max(axis=0), self.sure[time]])


class Scene:
    """A detector and a pose network with the manners of real ones: of two people in one place only the first is found,
    and a crop shows whoever is nearest to its middle, or noise."""

    def __init__(self, *people):
        self.people, self.length = people, len(people[0].joints)
        self.searched, self.located = [], Counter()  # frames, and crops of each frame
        self.visible = [self._visible(time) for time in range(self.length)]

    def frames(self):
        for time in range(self.length):
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            frame[0, 0] = divmod(time, 256) + (0,)
            yield frame

    def _visible(self, time):
        kept = []
        for person in self.people:
            gaps = [np.linalg.norm(person.middles[time] - other.middles[time]) for other in kept]
            if person.there[time] and all(gap > 0.15 * person.size for gap in gaps):
                kept.append(person)
        return kept

    def detect(self, frames):
        times = [256 * int(frame[0, 0, 0]) + int(frame[0, 0, 1]) for frame in frames]
        self.searched += times
        found = [[person.box(time) for person in self.visible[time]] for time in times]
        return [np.array(sorted(boxes, key=lambda box: -box[4])).reshape(-1, 5) for boxes in found]

    def locate(self, pairs):
        keypoints, scores = np.full((len(pairs), 133, 2), 7, np.float32), np.full((len(pairs), 133), 0.1, np.float32)
        for index, (frame, box) in enumerate(pairs):
            time = 256 * int(frame[0, 0, 0]) + int(frame[0, 0, 1])
            self.located[time] += 1
            middle, half = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]) / 2
            inside = [p for p in self.visible[time] if (np.abs(p.middles[time] - middle) <= half).all()]
            if inside:
                person = min(inside, key=lambda p: np.linalg.norm(p.middles[time] - middle))
                joints = person.joints[time]
                seen = ((joints >= 0) & (joints < (WIDTH, HEIGHT))).all(axis=1)
                keypoints[index], scores[index] = joints, np.where(seen, person.sure[time], 0)
        return keypoints, scores

    def follow(self, detect_every, people=4, chunk=7):
        return follow(self.frames(), self.detect, self.locate, detect_every=detect_every, people=people, chunk=chunk)


def line(start, end, frames):
    return np.linspace(start, end, frames)


def shown(track, person):
    """(T,) bool where the track has a pose; every one of them must be this person's."""
    there = (track.scores > 0.3).any(axis=1)
    seen = track.scores > 0.3
    assert np.abs(track.keypoints - person.joints)[seen].max() < 0.01
    return there


def whose(track, people):
    """The person most of the track's poses are of, and how many are of somebody else."""
    there = np.flatnonzero((track.scores > 0.3).any(axis=1))
    nearest = [
        int(np.argmin([np.abs(track.keypoints[time, 3] - person.joints[time, 3]).sum() for person in people]))
        for time in there
    ]
    most = max(set(nearest), key=nearest.count)
    return most, len(nearest) - nearest.count(most)
