"""Following people through scenes whose every joint is known: who is who, when the detector is asked, what is kept."""

import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose.frames import checked
from model.pose.tracking import CROWD, follow

HEIGHT, WIDTH = 90, 160  # of the frames; their first pixel says which frame of the scene it is
FIGURE = np.random.default_rng(0).uniform((-0.2, -0.5), (0.2, 0.5), (133, 2))
FIGURE[:17:16] = (-0.2, -0.5), (0.2, 0.5)


class Person:
    """``path`` (T, 2) of the middle, ``size`` px, ``there`` (T,) bool, ``sure`` (T,) the score of the joints."""

    def __init__(self, path, size=50.0, there=True, sure=0.9):
        self.size, frames = size, len(path)
        self.joints = np.asarray(path)[:, None] + FIGURE * size
        self.there, self.sure = np.broadcast_to(there, frames), np.broadcast_to(sure, frames)

    def box(self, time):
        return np.array([*self.joints[time].min(axis=0), *self.joints[time].max(axis=0), self.sure[time]])

    def middle(self, time):
        return self.joints[time, [0, 16]].mean(axis=0)


class Scene:
    """A detector and a pose network with the manners of real ones: of two people in one place only the first is found,
    and a crop shows whoever is nearest to its middle, or noise."""

    def __init__(self, *people):
        self.people, self.length = people, len(people[0].joints)
        self.searched, self.located = [], []

    def frames(self):
        for time in range(self.length):
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            frame[0, 0] = divmod(time, 256) + (0,)
            yield frame

    def visible(self, time):
        kept = []
        for person in self.people:
            gaps = [np.linalg.norm(person.middle(time) - other.middle(time)) for other in kept]
            if person.there[time] and all(gap > 0.15 * person.size for gap in gaps):
                kept.append(person)
        return kept

    def detect(self, frames):
        times = [256 * int(frame[0, 0, 0]) + int(frame[0, 0, 1]) for frame in frames]
        self.searched += times
        found = [[person.box(time) for person in self.visible(time)] for time in times]
        return [np.array(sorted(boxes, key=lambda box: -box[4])).reshape(-1, 5) for boxes in found]

    def locate(self, pairs):
        self.located.append(len(pairs))
        keypoints, scores = np.full((len(pairs), 133, 2), 7, np.float32), np.full((len(pairs), 133), 0.1, np.float32)
        for index, (frame, box) in enumerate(pairs):
            time = 256 * int(frame[0, 0, 0]) + int(frame[0, 0, 1])
            middle, half = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]) / 2
            inside = [p for p in self.visible(time) if (np.abs(p.middle(time) - middle) <= half).all()]
            if inside:
                person = min(inside, key=lambda p: np.linalg.norm(p.middle(time) - middle))
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


@pytest.mark.parametrize("detect_every", [1, 5, 10])
@pytest.mark.parametrize("apart", [0, 6, 12])
def test_two_who_cross_keep_their_tracks(detect_every, apart):
    right = Person(line((20, 40), (140, 40), 60))
    left = Person(line((140, 40 + apart), (20, 40 + apart), 60))
    tracks = Scene(right, left).follow(detect_every)[:2]
    assert sorted(whose(track, [right, left])[0] for track in tracks) == [0, 1]
    for track in tracks:
        there, (_, wrong) = (track.scores > 0.3).any(axis=1), whose(track, [right, left])
        assert there[:20].all() and there[-12:].all() and wrong <= 2
    both = np.all([(track.scores > 0.3).any(axis=1) for track in tracks], axis=0)
    assert np.abs(tracks[0].keypoints - tracks[1].keypoints)[both].max(axis=(1, 2)).min() > 1  # never one twice


@pytest.mark.parametrize("detect_every", [1, 5])
def test_who_leaves_and_comes_back_is_the_same_and_a_newcomer_is_not(detect_every):
    path = np.concatenate([line((130, 45), (190, 45), 30), np.full((40, 2), 190), line((190, 45), (120, 45), 30)])
    path[30:70, 1] = 45
    away = Person(path, there=path[:, 0] < 175)
    new = Person(np.full((100, 2), (30, 40)), there=np.arange(100) >= 50)
    first, second = Scene(away, new).follow(detect_every)
    one, other = (first, second) if first.scores[0].any() else (second, first)
    there = shown(one, away)
    assert there[:15].all() and there[-15:].all() and not there[30:70].any()
    there = shown(other, new)
    assert not there[:50].any() and there[50 + detect_every :].all()


def test_in_the_place_of_somebody_gone_a_person_of_another_size_is_somebody_else():
    time = np.arange(60)
    tall = Person(np.full((60, 2), (80, 45)), 80, there=time < 20)
    small = Person(np.full((60, 2), (80, 60)), 20, there=time >= 40)
    tracks = Scene(tall, small).follow(5)
    assert len(tracks) == 2
    assert shown(tracks[0], tall).sum() >= 20 and shown(tracks[1], small).sum() == 20


def test_where_one_goes_and_another_comes_nobody_takes_over_a_track():
    time = np.arange(40)
    stays = Person(np.full((40, 2), (80, 45)))
    beside, far = (Person(np.full((40, 2), (x, 45)), there=time < 20) for x in (60, 20))
    comes = Person(np.full((40, 2), (100, 45)), there=time >= 20)
    for people in ([stays, beside, comes], [far, comes]):
        tracks = Scene(*people).follow(1)
        assert len(tracks) == len(people)
        found = [people[whose(track, people)[0]] for track in tracks]
        assert all(np.array_equal(shown(track, who), who.there) for track, who in zip(tracks, found, strict=True))


def test_who_the_detector_misses_is_held_by_their_own_crop():
    person = Person(line((40, 45), (90, 45), 30))
    scene = Scene(person)
    detect = scene.detect
    scene.detect = lambda frames: [
        boxes[frame[0, 0, 1] == 10 :] for frame, boxes in zip(frames, detect(frames), strict=True)
    ]
    (track,) = scene.follow(10)
    assert scene.searched == [0, 10, 20] and shown(track, person).all()


def test_the_most_prominent_come_first_and_no_more_than_asked_for():
    brief = Person(np.full((40, 2), (120, 45)), 80, there=np.arange(40) < 5)
    large, small = Person(np.full((40, 2), (60, 45)), 70), Person(np.full((40, 2), (20, 45)), 30)
    every = Scene(small, brief, large).follow(4)
    assert [whose(track, [large, small, brief])[0] for track in every] == [0, 1, 2]
    (only,) = Scene(small, brief, large).follow(4, people=1)
    assert np.array_equal(only.keypoints, every[0].keypoints) and len(only) == 40


@pytest.mark.parametrize("detect_every", [1, 7])
def test_an_empty_scene_costs_scheduled_searches_only(detect_every):
    scene = Scene(Person(np.full((50, 2), 40), there=False))
    assert scene.follow(detect_every) == []
    assert scene.searched == list(range(0, 50, detect_every)) and scene.located == []


def test_followed_people_need_scheduled_searches_only():
    people = [Person(line((30, 45), (60, 45), 80), 50), Person(line((130, 45), (100, 45), 80), 50)]
    scene = Scene(*people)
    tracks = scene.follow(10)
    assert scene.searched == list(range(0, 80, 10))
    assert all(shown(track, people[whose(track, people)[0]]).all() for track in tracks) and len(tracks) == 2


def test_who_jumps_out_of_the_crop_is_searched_for_at_once():
    path = np.full((40, 2), (60.0, 45.0))
    path[14:, 0] += 20
    person = Person(path)
    scene = Scene(person)
    (track,) = scene.follow(10)
    assert sorted(scene.searched) == [0, 10, 14, 20, 30] and shown(track, person).all()


def test_who_is_lost_is_not_searched_for_on_every_frame():
    person = Person(np.full((100, 2), (80, 45)), there=np.arange(100) < 33)
    scene = Scene(person)
    (track,) = scene.follow(10)
    assert sorted(scene.searched) == sorted([*range(0, 100, 10), 33])
    assert shown(track, person).tolist() == [True] * 33 + [False] * 67


def test_where_the_confidence_falls_the_detector_is_asked_once():
    person = Person(np.full((40, 2), (80, 45)), sure=np.where(np.arange(40) < 14, 0.9, 0.4))
    scene = Scene(person)
    (track,) = scene.follow(10)
    assert sorted(scene.searched) == [0, 10, 14, 20, 30] and shown(track, person).all()


def test_a_person_who_jumps_on_and_on_does_not_call_the_detector_on_every_frame():
    person = Person(np.where(np.arange(120)[:, None] % 2, (75.0, 45.0), (90.0, 45.0)))
    scene = Scene(person)
    (track,) = scene.follow(12)
    assert 120 / 12 < len(scene.searched) <= 120 / (12 // 4 + 1) and shown(track, person).any()


def test_a_person_found_twice_is_one():
    person = Person(line((40, 45), (90, 45), 30))
    scene = Scene(person)
    detect = scene.detect
    scene.detect = lambda frames: [np.concatenate([boxes, boxes + (3, 3, 3, 3, -0.1)]) for boxes in detect(frames)]
    for detect_every in (1, 6):
        (track,) = scene.follow(detect_every)
        assert shown(track, person).all()


def test_an_audience_does_not_cost_more_than_a_few_people_do():
    places = [(x, y) for x in range(4, 160, 8) for y in (20, 50)]
    audience = [Person(np.full((2, 2), place), 8) for place in places]
    dancer = Person(np.full((2, 2), (80, 75)), 25)
    scene = Scene(*audience, dancer)
    (track,) = scene.follow(1, people=1, chunk=1)
    assert max(scene.located) == 1 + CROWD and len(places) > 2 * CROWD
    assert shown(track, dancer).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 60), st.sampled_from([1, 3, 10]))
def test_how_many_frames_are_held_does_not_change_what_comes_out(chunk, detect_every):
    def scene():
        time = np.arange(40)
        there = (time < 13) | (time > 24)
        return Scene(Person(line((20, 45), (140, 45), 40)), Person(line((140, 52), (20, 52), 40), there=there))

    one, other = scene(), scene()
    tracks, again = one.follow(detect_every, chunk=1), other.follow(detect_every, chunk=chunk)
    assert sorted(one.searched) == sorted(other.searched) and len(tracks) == len(again) >= 2
    for track, same in zip(tracks, again, strict=True):
        assert np.array_equal(track.keypoints, same.keypoints) and np.array_equal(track.scores, same.scores)


def test_a_stream_is_never_held_as_a_whole():
    scene, alive, most = Scene(Person(line((20, 45), (140, 45), 300))), [], []

    def stream():
        for frame in scene.frames():
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            most.append(sum(each() is not None for each in alive))

    (track,) = follow(stream(), scene.detect, scene.locate, detect_every=10, people=1, chunk=8)
    assert len(track) == 300 and max(most) <= 2 * 8


GOOD = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    "frames, named",
    [
        ([], "no frame"),
        (np.zeros((0, 4, 6, 3), np.uint8), "no frame"),
        (np.zeros((2, 0, 6, 3), np.uint8), r"frame 0 .*\(0, 6, 3\)"),
        (np.zeros((2, 4, 6, 3), np.float32), "frame 0 is float32"),
        ([GOOD, GOOD[..., 0]], r"frame 1 is uint8 \(4, 6\)"),
        ([GOOD, np.zeros((4, 6, 4), np.uint8)], r"frame 1 .*\(4, 6, 4\)"),
        (GOOD, r"frame 0 is uint8 \(6, 3\)"),
        ([GOOD, GOOD, np.zeros((6, 4, 3), np.uint8)], "frame 2 is 4x6, the first 6x4"),
        (["a.png"], "frame 0 is a str"),
    ],
)
def test_frames_that_are_none_are_refused_by_their_index(frames, named):
    scene = Scene(Person(np.full((5, 2), 40)))
    with pytest.raises(SteadyDancerError, match=named):
        list(checked(frames))
    with pytest.raises(SteadyDancerError, match=named):
        follow(frames, scene.detect, scene.locate, detect_every=1, people=1, chunk=4)
