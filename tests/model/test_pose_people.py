"""Finding people one after the other, with a detector that sees coloured pixels."""

import numpy as np
import pytest
from drawn_person import FIGURE

from model.pose.people import find_people


def someone(middle, height=0.5, visibility=1.0):
    """Landmarks of FIGURE around ``middle``, in fractions of a square frame."""
    points = np.zeros((33, 3))
    of = {11: 5, 12: 6, 13: 7, 14: 8, 15: 9, 16: 10, 19: 9, 20: 10, 23: 11, 24: 12, 25: 13, 26: 14, 27: 15, 28: 16}
    of |= {31: 15, 32: 16}
    places = {landmark: FIGURE[joint] for landmark, joint in of.items()} | dict.fromkeys(range(11), (0, 0.6))
    for landmark, (x, y) in places.items():
        points[landmark, :2] = middle + x * height / 8, 0.3 + y * height / 8
    points[:, 2] = visibility
    return points


class Scene:
    """People on a black square, each with a nose of a colour of their own, by which ``search`` knows them."""

    def __init__(self, *people, side=400):
        self.people = [person * (side, side, 1) for person in people]
        self.frame = np.zeros((side, side, 3), np.uint8)
        for number, person in enumerate(self.people, 1):
            x, y = person[0, :2].astype(int)
            self.frame[y, x, 0] = number

    def marks(self, number):
        hips, shoulders = (self.people[number - 1][pair, :2].mean(axis=0) for pair in ([23, 24], [11, 12]))
        return np.stack([hips, hips + 2 * (shoulders - hips), shoulders])

    def search(self, picture):
        """The leftmost person whose nose is not hidden."""
        for number, person in enumerate(self.people, 1):
            y, x = np.nonzero((picture[..., 0] == number) & (picture[..., 1] == 0))
            if len(x):
                return [self.marks(number) + (x[0], y[0]) - person[0, :2].astype(int)]
        return []

    def locate(self, picture, marks):
        apart = [np.abs(self.marks(number) - marks).max() for number in range(1, len(self.people) + 1)]
        return self.people[int(np.argmin(apart))] if min(apart) < 2 else None


@pytest.mark.parametrize(
    "people, expected",
    [
        ([], 0),
        ([someone(0.3)], 1),
        ([someone(0.2), someone(0.45), someone(0.7)], 3),  # shoulder to shoulder: hiding one leaves the next
        ([someone(0.3), someone(0.7, visibility=0.1)], 1),
        ([someone(0.3), someone(0.7, height=0.08)], 1),
        ([someone(0.1 + 0.12 * index, height=0.3) for index in range(8)], 6),
    ],
)
def test_finding_people_hides_the_found_and_judges_the_rest(people, expected):
    scene = Scene(*people)
    given = scene.frame.copy()
    found = find_people(given, scene.search, scene.locate)
    assert len(found) == expected and np.array_equal(given, scene.frame)
    for person, wanted in zip(found, scene.people, strict=False):
        assert np.array_equal(person, wanted)


def test_one_person_found_twice_is_one():
    scene = Scene(someone(0.4), someone(0.42))
    assert len(find_people(scene.frame, lambda picture: [scene.marks(1), scene.marks(2)], scene.locate)) == 1


def test_no_more_than_head_and_shoulders_inside_is_nobody():
    scene = Scene(someone(0.4))
    scene.people[0][7:, 1] += 400
    scene.people[0][[11, 12], 1] -= 400
    assert find_people(scene.frame, lambda picture: [scene.marks(1)], scene.locate) == []


def test_people_too_small_for_the_whole_frame_are_found_in_squares():
    scene = Scene(someone(0.5))
    tall = np.concatenate([scene.frame[:, 100:300], np.zeros((200, 200, 3), np.uint8)])

    def locate(picture, marks):
        return scene.people[0] - (100, 0, 0) if np.abs(marks + (100, 0) - scene.marks(1)).max() < 2 else None

    assert not find_people(tall, lambda picture: [], locate)
    (found,) = find_people(tall, lambda picture: scene.search(picture) if picture.shape[0] == 200 else [], locate)
    assert np.array_equal(found, locate(None, scene.marks(1) - (100, 0)))


def test_small_people_whom_the_detector_takes_for_one_are_told_apart_from_nearby():
    scene = Scene(someone(0.45, height=0.2), someone(0.55, height=0.2))

    def search(picture):
        if picture.shape[0] < 400:
            return [scene.marks(number) + offset(picture) for number in (1, 2)]
        return [(scene.marks(1) + scene.marks(2)) / 2] if not picture[..., 1].any() else []

    def offset(picture):
        y, x = np.argwhere(picture[..., 0] == 1)[0]
        return np.array([x, y]) - scene.people[0][0, :2].astype(int)

    assert len(find_people(scene.frame, search, scene.locate)) == 2
