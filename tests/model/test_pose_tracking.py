"""Following people through scenes whose every joint is known: when it is searched, what it costs, what is kept."""

import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking_scenes import FIGURE, Person, Scene, line, shown, whose

from infra.errors import SteadyDancerError
from model.pose.frames import checked
from model.pose.tracking import CROWD, follow


def test_who_the_detector_misses_is_held_by_their_own_crop():
    person = Person(line((40, 45), (90, 45), 30))
    scene = Scene(person)
    detect = scene.detect
    scene.detect = lambda frames: [
        boxes[frame[0, 0, 1] == 10 :] for frame, boxes in zip(frames, detect(frames), strict=True)
    ]
    (track,) = scene.follow(10)
    assert scene.searched == [0, 10, 20] and shown(track, person).all()


@pytest.mark.parametrize("detect_every", [1, 7])
def test_an_empty_scene_costs_scheduled_searches_only(detect_every):
    scene = Scene(Person(np.full((50, 2), 40), there=False))
    assert scene.follow(detect_every) == []
    assert scene.searched == list(range(0, 50, detect_every)) and not scene.located


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


@pytest.mark.parametrize("detect_every", [1, 10])
def test_an_audience_does_not_cost_more_than_a_few_people_do(detect_every):
    places = [(x, y) for x in range(4, 160, 8) for y in (20, 50)]
    audience = [Person(np.full((60, 2), place), 8) for place in places]
    dancer = Person(np.full((60, 2), (80, 75)), 25)
    scene, rng = Scene(*audience, dancer), np.random.default_rng(0)
    detect = scene.detect

    def trembling(frames):  # so that others of the audience are the largest each time
        return [boxes + rng.uniform(-1, 1, boxes.shape) * (1, 1, 1, 1, 0) for boxes in detect(frames)]

    scene.detect = trembling
    (track,) = scene.follow(detect_every, people=1, chunk=1)
    assert shown(track, dancer).all() and len(places) > 4 * CROWD
    for time in range(60):
        assert 1 <= scene.located[time] <= (1 + CROWD) * (2 if time in scene.searched else 1)


def test_the_main_person_is_not_given_up_for_a_crowd_of_larger_ones():
    frames = np.arange(60)
    dancer = Person(np.full((60, 2), (80, 68)), 30)
    passing = [Person(np.full((60, 2), (x, 25)), 45, there=(frames >= 30) & (frames < 42)) for x in range(12, 156, 12)]
    (track,) = Scene(dancer, *passing).follow(5, people=1)
    assert len(passing) > 1 + CROWD and shown(track, dancer).all()


@pytest.mark.parametrize("detect_every", [1, 3])
def test_a_detector_that_finds_somebody_new_every_time_does_not_cost_more_and_more(detect_every):
    crops, memory = Counter(), []

    def stream():
        for time in range(120):
            memory.append(tracemalloc.get_traced_memory()[0])
            yield np.full((20, 7200, 3), time, np.uint8)

    def detect(frames):
        lefts = [np.array([60.0, 90]) + 60 * int(frame[0, 0, 0]) for frame in frames]
        return [np.column_stack([each, 0 * each, each + 8, 0 * each + 20, 0 * each + 1]) for each in lefts]

    def locate(pairs):  # sees somebody in the middle of every crop
        crops.update(int(frame[0, 0, 0]) for frame, _ in pairs)
        middles = np.array([box[:2] + box[2:4] for _, box in pairs]) / 2
        return (middles[:, None] + FIGURE * 20).astype(np.float32), np.full((len(pairs), 133), 0.9, np.float32)

    tracemalloc.start()
    try:
        follow(stream(), detect, locate, detect_every=detect_every, people=2, chunk=1)
    finally:
        tracemalloc.stop()
    assert max(crops.values()) <= 2 * (2 + CROWD)
    if detect_every == 1:  # nobody is held by their own crop, and so everybody is there for one frame
        assert memory[-1] - memory[40] < 50 * 133 * 3 * 4  # of the 160 poses since


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
