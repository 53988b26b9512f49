"""The condition picture and the overlay: what they show and what they survive.

Pixel equality with the official renderer is test_pose_parity's.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.pose import wholebody
from model.pose.drawing import draw_clip, draw_openpose, draw_pose, overlay
from model.pose.tracks import InvalidPose, PoseTrack
from model.pose.wholebody import to_openpose


def person(height=400.0, width=300.0):
    """A standing person who faces the camera: their left is on the picture's right."""
    at = np.full((133, 2), 0.5)
    at[: wholebody.LEFT_SHOULDER] = [(0.5, 0.15), (0.52, 0.13), (0.48, 0.13), (0.54, 0.14), (0.46, 0.14)]
    left = [(0.6, 0.25), (0.65, 0.4), (0.68, 0.52), (0.56, 0.55), (0.57, 0.72), (0.58, 0.9)]
    for pair, (x, y) in enumerate(left):
        at[5 + 2 * pair], at[6 + 2 * pair] = (x, y), (1 - x, y)
    return at * (width, height)


def test_the_right_shoulder_limb_is_blue_and_on_the_pictures_left():
    image = draw_pose(person(), np.ones(133), (400, 300))
    shoulder, neck = person()[wholebody.RIGHT_SHOULDER], person()[5:7].mean(axis=0)
    x, y = ((shoulder + neck) / 2).astype(int)
    assert x < 150 and image[y, x].tolist() == [0, 0, 153]


def test_a_hidden_joint_takes_its_limbs_along():
    scores = np.ones(133)
    scores[wholebody.RIGHT_KNEE] = 0.35
    x, y = person()[[wholebody.RIGHT_KNEE, wholebody.RIGHT_ANKLE]].mean(axis=0).astype(int)
    assert draw_pose(person(), np.ones(133), (400, 300))[y, x].any()
    assert not draw_pose(person(), scores, (400, 300))[y, x].any()
    assert not draw_pose(person(), np.zeros(133), (400, 300)).any()


def test_a_clip_is_its_frames_on_a_canvas_of_its_own():
    keypoints = np.stack([person(), person() + 5]).astype(np.float32)
    track = PoseTrack(keypoints, np.ones((2, 133), np.float32))
    clip = draw_clip(track, (400, 300), (800, 600))
    assert clip.shape == (2, 800, 600, 3)
    assert np.array_equal(clip[1], draw_pose(keypoints[1], track.scores[1], (400, 300), (800, 600)))
    assert not np.array_equal(clip[0], clip[1])


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float64, (133, 2), elements=st.floats(-1e12, 1e12)),
    arrays.arrays(np.float64, (133,), elements=st.floats(0, 1)),
)
def test_no_finite_pose_is_too_far_off_to_draw(keypoints, scores):
    assert draw_pose(keypoints, scores, (48, 64), (32, 24)).shape == (32, 24, 3)
    frame = np.zeros((48, 64, 3), np.uint8)
    assert overlay(frame, keypoints, scores).shape == frame.shape
    assert not frame.any()


def test_the_overlay_shows_sides_and_doubt():
    frame = np.zeros((400, 300, 3), np.uint8)
    x, y = person()[[wholebody.LEFT_KNEE, wholebody.LEFT_ANKLE]].mean(axis=0).astype(int)
    sure, unsure, unseen = (overlay(frame, person(), np.full(133, score))[y] for score in (1.0, 0.4, 0.0))
    assert sure[x, 0] > sure[x, 2] and sure[300 - x, 2] > sure[300 - x, 0]
    assert 0 < unsure[x].sum() < sure[x].sum()
    assert not unseen.any()


def test_every_person_of_an_overlay_has_shades_of_their_own():
    frame = np.zeros((400, 300, 3), np.uint8)
    keypoints, scores = np.stack([person() - (70, 0), person() + (70, 0)]), np.ones((2, 133))
    both = overlay(frame, keypoints, scores)
    x, y = keypoints[:, [wholebody.LEFT_KNEE, wholebody.LEFT_ANKLE]].mean(axis=1).astype(int).T
    assert both[y[0], x[0]].tolist() == overlay(frame, keypoints[0], scores[0])[y[0], x[0]].tolist()
    assert both[y[1], x[1]].any() and both[y[0], x[0]].tolist() != both[y[1], x[1]].tolist()


@pytest.mark.parametrize("joints, scores", [(17, 17), (133, 132)])
def test_what_is_no_pose_is_not_drawn(joints, scores):
    with pytest.raises(InvalidPose, match=str(scores)):
        draw_pose(np.zeros((joints, 2)), np.zeros(scores), (40, 30))


def test_hands_are_drawn_and_the_face_only_when_asked_for():
    keypoints = np.full((133, 2), 20.0)
    keypoints[wholebody.LEFT_HAND], keypoints[wholebody.FACE] = (60, 20), (20, 60)
    scores = np.zeros(133)
    scores[wholebody.LEFT_HAND] = scores[wholebody.FACE] = 1
    pose = to_openpose(keypoints, scores).in_units_of(80, 80)
    assert draw_openpose(pose, (80, 80))[20, 60].tolist() == [255, 0, 0]
    assert not draw_openpose(pose, (80, 80))[60, 20].any()
    assert draw_openpose(pose, (80, 80), face=True)[60, 20].tolist() == [255, 255, 255]
