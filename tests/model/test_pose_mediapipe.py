"""The embedded estimator on drawn figures with known joints, and on the real clips where they are there."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model.pose import wholebody as wb
from model.pose.estimator import build_estimator
from model.pose.mediapipe_landmarks import to_wholebody
from model.pose.people import count_people
from model.video import read_at

CLIPS = (Path(__file__).parents[2] / "../shared/data/videos").resolve()

# A person who faces the camera, in eighths of their height from the middle of the top; their left is at positive x.
FIGURE = {
    wb.LEFT_SHOULDER: (0.95, 1.6),
    wb.RIGHT_SHOULDER: (-0.95, 1.6),
    wb.LEFT_HIP: (0.55, 4),
    wb.RIGHT_HIP: (-0.55, 4),
}
FIGURE |= {
    wb.LEFT_KNEE: (0.65, 5.8),
    wb.RIGHT_KNEE: (-0.65, 5.8),
    wb.LEFT_ANKLE: (0.7, 7.5),
    wb.RIGHT_ANKLE: (-0.7, 7.5),
}
FIGURE |= {wb.LEFT_ELBOW: (1.5, 2.8), wb.RIGHT_ELBOW: (-1.9, 2.4), wb.LEFT_WRIST: (1.4, 4), wb.RIGHT_WRIST: (-2.2, 1.1)}
SKIN, DARK = (214, 170, 140), (45, 35, 30)


def draw_person(frame, middle, top, height, shirt=(60, 90, 180)):
    """Draws FIGURE with clothes, hair and a face; returns its joints in px."""
    unit = height / 8
    at = {joint: np.array([middle + x * unit, top + y * unit]) for joint, (x, y) in FIGURE.items()}

    def limb(start, end, width, colour):
        cv2.line(frame, at[start].astype(int), at[end].astype(int), colour, round(width * unit), cv2.LINE_AA)

    def oval(x, y, half_width, half_height, colour):
        centre, axes = (
            (round(middle + x * unit), round(top + y * unit)),
            (round(half_width * unit), round(half_height * unit)),
        )
        cv2.ellipse(frame, centre, np.maximum(axes, 1).tolist(), 0, 0, 360, colour, -1, cv2.LINE_AA)

    for shoulder, elbow, wrist, hip, knee, ankle, side in ((5, 7, 9, 11, 13, 15, 1), (6, 8, 10, 12, 14, 16, -1)):
        limb(hip, knee, 0.75, DARK)
        limb(knee, ankle, 0.55, DARK)
        oval(side * 0.85, 7.8, 0.4, 0.22, (240, 240, 240))
        limb(shoulder, elbow, 0.5, shirt)
        limb(elbow, wrist, 0.38, SKIN)
        cv2.circle(frame, at[wrist].astype(int), round(0.28 * unit), SKIN, -1, cv2.LINE_AA)
    trunk = np.array([at[wb.LEFT_SHOULDER], at[wb.RIGHT_SHOULDER], at[wb.RIGHT_HIP], at[wb.LEFT_HIP]]).astype(int)
    cv2.fillConvexPoly(frame, trunk, shirt, cv2.LINE_AA)
    limb(wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, 0.6, shirt)
    limb(wb.LEFT_HIP, wb.RIGHT_HIP, 0.6, DARK)
    oval(0, 1.0, 0.22, 0.4, SKIN)
    oval(0, 0.43, 0.56, 0.68, DARK)
    oval(0, 0.63, 0.45, 0.6, SKIN)
    for x in (-0.18, 0.18):
        oval(x, 0.55, 0.1, 0.055, (255, 255, 255))
        oval(x, 0.55, 0.045, 0.05, DARK)
        oval(x, 0.41, 0.12, 0.03, DARK)
    oval(0, 0.75, 0.06, 0.07, (190, 140, 110))
    oval(0, 0.95, 0.15, 0.045, (170, 70, 70))
    return at


@pytest.fixture(scope="module")
def estimator():
    pytest.importorskip("mediapipe", reason="the embedded extra is not installed")
    return build_estimator(Pose(estimator="mediapipe"))


@pytest.fixture(scope="module")
def clip():
    """Six frames in which a person moves to the right, and the joints of each."""
    frames = np.full((6, 480, 640, 3), 205, np.uint8)
    return frames, [draw_person(frame, 300 + 4 * index, 60, 380) for index, frame in enumerate(frames)]


def test_every_joint_is_where_it_was_drawn_on_the_right_side_and_in_every_frame(estimator, clip, capfd):
    frames, joints = clip
    (track,) = estimator.estimate(frames)
    assert capfd.readouterr().err == ""
    for index, at in enumerate(joints):
        for joint, place in at.items():
            assert np.linalg.norm(track.keypoints[index, joint] - place) < 0.2 * 114  # a fifth of the torso
            assert track.scores[index, joint] > 0.8
        left_toe, right_toe = track.keypoints[index, [wb.LEFT_SMALL_TOE, wb.RIGHT_SMALL_TOE], 0]
        assert left_toe > 300 + 4 * index > right_toe
        face = track.keypoints[index, wb.FACE]
        assert face[:17, 0].argmin() < 3 and face[:17, 0].argmax() > 13  # the jaw runs from the right ear to the left
        assert face[36:42, 0].max() < face[42:48, 0].min() and face[17:27, 1].max() < face[48:, 1].min()
        assert (track.scores[index, wb.FACE] > 0.5).all()


def test_a_clip_gives_the_same_track_whatever_was_estimated_before(estimator, clip):
    frames, _ = clip
    (first,) = estimator.estimate(frames)
    estimator.estimate(np.ascontiguousarray(frames[:, :, ::-1]))
    (again,) = estimator.estimate(frames)
    assert np.array_equal(first.keypoints, again.keypoints) and np.array_equal(first.scores, again.scores)


def test_nobody_is_no_track_and_counts_zero(estimator):
    frames = np.random.default_rng(0).integers(0, 256, (3, 240, 320, 3), np.uint8)
    assert estimator.estimate(frames) == []
    assert estimator.count_people(frames).tolist() == [0, 0, 0]


def test_frames_without_the_person_have_score_zero(estimator, clip):
    frames = np.concatenate([np.full_like(clip[0][:2], 205), clip[0][:3]])
    (track,) = estimator.estimate(frames)
    assert not track.scores[:2].any() and not track.keypoints[:2].any()
    assert (track.scores[2:, wb.LEFT_SHOULDER] > 0.8).all()


def test_people_are_counted_frame_by_frame(estimator):
    frames = np.full((2, 480, 640, 3), 180, np.uint8)
    draw_person(frames[0], 160, 60, 380)
    draw_person(frames[0], 470, 70, 370, shirt=(180, 60, 60))
    draw_person(frames[1], 320, 60, 380)
    assert estimator.count_people(frames).tolist() == [2, 1]


@pytest.mark.parametrize("name, people", [("dance_solo", 1), ("two_people", 2), ("four_people", 4)])
def test_people_of_the_real_clips_are_counted(estimator, name, people):
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not here")
    frames = read_at(CLIPS / f"{name}.mp4", 0.5, 5, 2)
    assert np.median(estimator.count_people(frames)) == people


@pytest.mark.parametrize(
    "frames",
    [np.zeros((0, 64, 64, 3), np.uint8), np.zeros((2, 64, 64, 4), np.uint8), np.zeros((2, 64, 64, 3)), [np.zeros(3)]],
)
def test_what_are_no_frames_is_refused(estimator, frames):
    for work in (estimator.estimate, estimator.count_people):
        with pytest.raises(SteadyDancerError, match="uint8 RGB"):
            work(frames)


def test_without_mediapipe_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(SteadyDancerError, match=r"mediapipe") as refused:
        build_estimator(Pose(estimator="mediapipe"))
    assert "steadydancer-train[embedded]" in refused.value.fix and "dwpose" in refused.value.fix


def landmarks(**changed):
    """One frame of a person in the middle of a 400 x 200 frame, as to_wholebody takes it."""
    rng = np.random.default_rng(0)
    body = rng.uniform(0.4, 0.6, (1, 33, 3))
    body[0, [11, 12], 1], body[0, [23, 24], 1] = 0.3, 0.6
    body[..., 2] = 0.9
    face, hands = rng.uniform(0.4, 0.6, (1, 468, 2)), rng.uniform(0.4, 0.6, (2, 1, 21, 2))
    face[:, 1], hands[0, :, 0], hands[1, :, 0] = body[:, 0, :2], body[:, 15, :2], body[:, 16, :2]
    given = {"body": body, "face": face, "left_hand": hands[0], "right_hand": hands[1], "size": (400, 200)} | changed
    return given, to_wholebody(**given)


def test_a_hand_on_the_wrong_arm_and_a_joint_outside_the_frame_score_zero():
    given, track = landmarks()
    assert (track.scores[0, wb.LEFT_HAND] == 1).all() and (track.scores[0, wb.FACE] == 1).all()
    assert np.allclose(track.keypoints[0, wb.RIGHT_HAND], given["right_hand"][0] * (200, 400), atol=1e-3)
    far = given["left_hand"] + np.array([0.0, 0.3])
    assert not landmarks(left_hand=far)[1].scores[0, wb.LEFT_HAND].any()
    body = given["body"].copy()
    body[0, 28, :2] = 0.5, 1.1
    track = landmarks(body=body)[1]
    assert track.scores[0, wb.RIGHT_ANKLE] == 0 and track.keypoints[0, wb.RIGHT_ANKLE, 1] == pytest.approx(440)


def test_what_was_not_found_has_score_zero_and_finite_coordinates():
    _, track = landmarks(face=np.full((1, 468, 2), np.nan), left_hand=np.full((1, 21, 2), np.nan))
    for where in (wb.FACE, wb.LEFT_HAND):
        assert not track.scores[0, where].any() and not track.keypoints[0, where].any()
    assert (track.scores[0, wb.RIGHT_HAND] == 1).all()


class Detector:
    """Finds the leftmost of the given people whose nose is not painted grey."""

    def __init__(self, *people):
        self.people = people

    def __call__(self, image):
        height, width = image.shape[:2]
        for person in self.people:
            x, y = (person[0, :2] * (width, height)).astype(int)
            if not image[y, x].any():
                return person.copy()
        return None


def someone(middle, height=0.5, visibility=1.0):
    """Landmarks of FIGURE around ``middle`` in a square frame."""
    points = np.zeros((33, 3))
    of = {11: 5, 12: 6, 13: 7, 14: 8, 15: 9, 16: 10, 19: 9, 20: 10, 23: 11, 24: 12, 25: 13, 26: 14, 27: 15, 28: 16}
    of |= {31: 15, 32: 16}
    places = {landmark: FIGURE[joint] for landmark, joint in of.items()} | dict.fromkeys(range(11), (0, 0.6))
    for landmark, (x, y) in places.items():
        points[landmark, :2] = middle + x * height / 8, 0.3 + y * height / 8
    points[:, 2] = visibility
    return points


@pytest.mark.parametrize(
    "people, expected",
    [
        ([], 0),
        ([someone(0.3)], 1),
        ([someone(0.2), someone(0.45), someone(0.7)], 3),  # shoulder to shoulder: hiding one leaves the next
        ([someone(0.3), someone(0.7, visibility=0.1)], 1),
        ([someone(0.3), someone(0.7, height=0.08)], 1),
        ([someone(0.3), someone(0.7) + (0, 0.6, 0)], 1),  # no more than head and shoulders inside
        ([someone(0.1 + 0.12 * index, height=0.3) for index in range(8)], 6),
    ],
)
def test_counting_hides_the_found_and_judges_the_rest(people, expected):
    frame = np.zeros((400, 400, 3), np.uint8)
    assert count_people(frame, Detector(*people)) == expected
    assert not frame.any()


def test_one_person_found_twice_counts_once():
    first = someone(0.4)
    second = first + (0.01, 0.0, 0.0)
    found = iter([first, second, None])
    assert count_people(np.zeros((400, 400, 3), np.uint8), lambda image: next(found)) == 1


def test_people_too_small_for_the_whole_frame_are_found_in_squares():
    person = someone(0.5)

    def detect(image):
        return person.copy() if image.shape[:2] == (200, 200) and not image[67, 100].any() else None

    assert count_people(np.zeros((400, 200, 3), np.uint8), detect) == 1
