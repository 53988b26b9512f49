"""The embedded estimator on drawn figures with known joints, and on the real clips where they are there."""

import sys

import cv2
import numpy as np
import pytest
from drawn_person import draw_person

from infra.errors import SteadyDancerError
from infra.schema import Pose
from model.pose import wholebody as wb
from model.pose.estimator import build_estimator
from model.pose.mediapipe_landmarks import to_wholebody
from model.pose.tracks import PoseTrack
from model.video import read_at


@pytest.fixture(scope="module")
def estimator():
    pytest.importorskip("mediapipe", reason="the embedded extra is not installed")
    return build_estimator(Pose(estimator="mediapipe", detect_every=4))


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


def off(track, joints, frame=0):
    """How far the track's joints are from where they were drawn, in torsos (the worst)."""
    torso = joints[wb.LEFT_HIP][1] - joints[wb.LEFT_SHOULDER][1]
    return max(np.linalg.norm(track.keypoints[frame, joint] - at) for joint, at in joints.items()) / torso


def test_a_stream_of_frames_gives_what_the_array_gives(estimator, clip):
    frames, _ = clip
    (of_array,), (of_stream,) = estimator.estimate(frames[:3]), estimator.estimate(frame for frame in frames[:3])
    assert np.array_equal(of_array.keypoints, of_stream.keypoints)


def necks(track):
    """(T,) x px, NaN where unseen."""
    place, shown = wb.neck(track.keypoints, track.scores)
    return np.where(shown, place[:, 0], np.nan)


def test_of_several_the_largest_is_followed(estimator):
    frames = np.full((8, 480, 640, 3), 205, np.uint8)
    for index, frame in enumerate(frames):
        draw_person(frame, 170, 40, 420)
        if index < 5:
            draw_person(frame, 500, 120, 300, shirt=(180, 60, 60))
    (track,) = estimator.estimate(frames)
    assert np.nanmax(np.abs(necks(track) - 170)) < 15 and np.isfinite(necks(track)).all()


def test_who_takes_the_place_of_another_does_not_enter_their_track(estimator):
    frames = np.full((10, 480, 640, 3), 205, np.uint8)
    for frame in frames[:3]:
        draw_person(frame, 160, 60, 380)
    for frame in frames[4:]:
        draw_person(frame, 500, 60, 380, shirt=(180, 60, 60))
    (track,) = estimator.estimate(frames)
    assert np.isnan(necks(track)[:4]).all() and not track.scores[:4].any()
    assert np.nanmax(np.abs(necks(track)[5:] - 500)) < 15


@pytest.mark.parametrize("people", [1, 3])
def test_nobody_is_no_track_and_counts_zero(estimator, people):
    frames = np.random.default_rng(0).integers(0, 256, (2, 240, 320, 3), np.uint8)
    assert estimator.estimate(frames, people=people) == []
    assert estimator.count_people(frames).tolist() == [0, 0]


def test_frames_without_the_person_have_score_zero_and_are_searched(estimator, clip):
    frames = np.concatenate([np.full_like(clip[0][:2], 205), clip[0][:3]])
    before = estimator.detector_calls
    (track,) = estimator.estimate(frames)
    assert estimator.detector_calls - before == 3  # the two, and the first with somebody
    assert not track.scores[:2].any() and not track.keypoints[:2].any()
    assert (track.scores[2:, wb.LEFT_SHOULDER] > 0.8).all()


@pytest.mark.parametrize("people", [1, 2])
def test_a_person_at_a_sixteenth_of_the_light_is_found(estimator, clip, people):
    frames = (clip[0][:1] // 16).astype(np.uint8)
    assert frames.max() < 16
    (track,) = estimator.estimate(frames, people)
    assert off(track, clip[1][0]) < 0.2
    assert estimator.count_people(frames).tolist() == [1]


def test_two_people_keep_their_tracks_while_they_walk(estimator, capfd):
    """The larger one first, whatever side; every fourth frame is searched."""
    frames = np.full((6, 480, 640, 3), 190, np.uint8)
    drawn = []
    for index, frame in enumerate(frames):
        small = draw_person(frame, 150 + 6 * index, 110, 320)
        drawn.append((draw_person(frame, 470 - 6 * index, 60, 400, shirt=(180, 60, 60)), small))
    before = estimator.detector_calls
    tracks = estimator.estimate(iter(frames), people=4)
    assert capfd.readouterr().err == ""
    assert len(tracks) == 2 and estimator.detector_calls - before == 2
    for index, pair in enumerate(drawn):
        for track, joints in zip(tracks, pair, strict=True):
            assert len(track) == len(frames) and off(track, joints, index) < 0.25
            assert (track.scores[index, list(joints)] > 0.6).all() and (track.scores[index, wb.FACE] > 0.5).all()
    assert len(estimator.estimate(frames[:1], people=1)) == 1
    (first, second) = estimator.estimate(frames[:1], people=6)
    assert off(first, drawn[0][0]) < 0.2 and off(second, drawn[0][1]) < 0.2


@pytest.mark.parametrize("degrees", [60, -90])
def test_a_leaning_and_a_lying_person_are_found_by_the_search_for_several(estimator, degrees):
    frame = np.full((640, 640, 3), 205, np.uint8)
    joints = draw_person(frame, 320, 120, 400)
    turn = cv2.getRotationMatrix2D((320, 320), degrees, 1.0)
    turned = cv2.warpAffine(frame, turn, (640, 640), borderValue=(205, 205, 205))
    (track,) = estimator.estimate(turned[None], 2)
    for joint, (x, y) in joints.items():
        assert np.linalg.norm(track.keypoints[0, joint] - turn @ (x, y, 1)) < 0.25 * 120  # a quarter of the torso


def test_somebody_who_walks_out_of_the_frame_scores_zero_there(estimator):
    frames = np.full((6, 480, 640, 3), 190, np.uint8)
    for index, frame in enumerate(frames):
        draw_person(frame, 520 + 60 * index, 60, 400)
    (track,) = estimator.estimate(frames, people=2)
    assert track.scores[0, wb.LEFT_SHOULDER] > 0.8 and not track.scores[5, wb.BODY].any()


def test_people_are_counted_frame_by_frame(estimator):
    frames = np.full((2, 480, 640, 3), 180, np.uint8)
    draw_person(frames[0], 160, 60, 380)
    draw_person(frames[0], 470, 70, 370, shirt=(180, 60, 60))
    draw_person(frames[1], 320, 60, 380)
    assert estimator.count_people(frames).tolist() == [2, 1]


@pytest.mark.parametrize("name, people", [("dance_solo", 1), ("two_people", 2), ("four_people", 4)])
def test_people_of_the_real_clips_are_counted(estimator, real_data, name, people):
    frames = read_at(real_data / f"data/videos/{name}.mp4", 0.5, 5, 2)
    assert np.median(estimator.count_people(frames)) == people


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 64, 64, 3), np.uint8),
        np.zeros((2, 64, 64, 4), np.uint8),
        np.zeros((2, 0, 64, 3), np.uint8),
        [np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)],
    ],
)
def test_what_are_no_frames_is_refused(estimator, frames):
    for work in (estimator.estimate, estimator.count_people, lambda given: estimator.estimate(given, people=2)):
        with pytest.raises(SteadyDancerError, match="uint8 RGB"):
            work(iter(frames))


def test_without_mediapipe_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(SteadyDancerError, match=r"mediapipe") as refused:
        build_estimator(Pose(estimator="mediapipe"))
    assert "steadydancer-train[embedded]" in refused.value.fix and "dwpose" in refused.value.fix


def landmarks(**changed):
    """One frame of a person in the middle of a 400 x 200 frame, as to_wholebody takes it."""
    rng = np.random.default_rng(0)
    body = rng.uniform(0.4, 0.6, (1, 33, 3))
    body[0, [11, 12], :2], body[0, [23, 24], :2] = (0.5, 0.3), (0.5, 0.6)
    body[..., 2] = 0.9
    face, hands = rng.uniform(0.4, 0.6, (1, 468, 2)), rng.uniform(0.4, 0.6, (2, 1, 21, 2))
    face[:, 1], hands[0, :, 0], hands[1, :, 0] = body[:, 0, :2], body[:, 15, :2], body[:, 16, :2]
    given = {"body": body, "face": face, "left_hand": hands[0], "right_hand": hands[1], "size": (400, 200)} | changed
    return given, PoseTrack(*to_wholebody(**given))


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
    body[0, 28, 1] = 1.02  # 8 px outside; a fifth of the torso are 24
    assert landmarks(body=body)[1].scores[0, wb.RIGHT_ANKLE] == pytest.approx(0.9 * 2 / 3)


def test_what_was_not_found_or_is_no_number_has_score_zero_and_finite_coordinates():
    given, track = landmarks(face=np.full((1, 468, 2), np.nan), left_hand=np.full((1, 21, 2), np.nan))
    for where in (wb.FACE, wb.LEFT_HAND):
        assert not track.scores[0, where].any() and not track.keypoints[0, where].any()
    assert (track.scores[0, wb.RIGHT_HAND] == 1).all()
    body = given["body"].copy()
    body[0, 13, 0], body[0, 25, 2], body[0, 14, 1] = np.nan, np.nan, np.inf
    _, track = landmarks(body=body)
    assert not track.scores[0, [wb.LEFT_ELBOW, wb.LEFT_KNEE, wb.RIGHT_ELBOW]].any()
    assert track.scores[0, wb.RIGHT_KNEE] == pytest.approx(0.9)
    body[0, 23] = np.nan
    assert landmarks(body=body)[1].scores[0, wb.RIGHT_KNEE] == pytest.approx(0.9)
