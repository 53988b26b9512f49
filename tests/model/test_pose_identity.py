"""Who is who in scenes whose every joint is known: through crossings, absences and crowds."""

import numpy as np
import pytest
from tracking_scenes import FIGURE, Person, Scene, line, shown, whose

from model.pose.tracking import NEAR, RETURNED, difference


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


def test_the_most_prominent_come_first_and_no_more_than_asked_for():
    brief = Person(np.full((40, 2), (120, 45)), 80, there=np.arange(40) < 5)
    large, small = Person(np.full((40, 2), (60, 45)), 70), Person(np.full((40, 2), (20, 45)), 30)
    every = Scene(small, brief, large).follow(4)
    assert [whose(track, [large, small, brief])[0] for track in every] == [0, 1, 2]
    (only,) = Scene(small, brief, large).follow(4, people=1)
    assert np.array_equal(only.keypoints, every[0].keypoints) and len(only) == 40


def test_a_person_found_twice_is_one():
    person = Person(line((40, 45), (90, 45), 30))
    scene = Scene(person)
    detect = scene.detect
    scene.detect = lambda frames: [np.concatenate([boxes, boxes + (3, 3, 3, 3, -0.1)]) for boxes in detect(frames)]
    for detect_every in (1, 6):
        (track,) = scene.follow(detect_every)
        assert shown(track, person).all()


def pose(middle, size=50.0, seen=133):
    return (FIGURE * size + middle).astype(np.float32), np.where(np.arange(133) < seen, 0.9, 0.1).astype(np.float32)


def test_the_difference_of_poses_is_in_units_of_the_person():
    here = pose((80, 45))
    assert difference(here, here) == 0
    assert 0 < difference(here, pose((85, 45))) < NEAR < RETURNED < difference(here, pose((140, 45)))
    assert difference(here, pose((85, 45))) == difference(pose((85, 45)), here)
    twice = difference(pose((160, 90), 100), pose((170, 90), 100))
    assert twice == pytest.approx(difference(here, pose((85, 45))), rel=0.05)
    assert difference(here, pose((80, 45), 25)) > difference(here, pose((80, 45), 45)) > 0


def test_poses_without_common_joints_are_nobody_s_both():
    here = pose((80, 45))
    assert difference(here, pose((80, 45), seen=2)) == np.inf
    assert difference(here, pose((80, 45), seen=3)) == 0
