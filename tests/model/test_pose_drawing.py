"""The condition picture against the official renderer's, and what it must survive."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.pose import wholebody
from model.pose.drawing import draw_clip, draw_openpose, draw_pose, overlay
from model.pose.tracks import PoseTrack
from model.pose.wholebody import OpenPose, to_openpose

PARITY = (Path(__file__).parents[2] / "../shared/parity").resolve()
parity = pytest.mark.skipif(not PARITY.is_dir(), reason="the official release's parity vectors are not here")


def read(name):
    from safetensors.numpy import load_file

    return load_file(PARITY / name)


@parity
@pytest.mark.parametrize(
    "name, canvas, face",
    [("448x320", (448, 320), False), ("896x640", (896, 640), False), ("448x320_face", (448, 320), True)],
)
def test_drawn_as_the_official_renderer_draws(name, canvas, face):
    given_ = read("draw_inputs.safetensors")
    hands, faces = given_["hands"], given_["faces"][0]
    pose = OpenPose(
        given_["candidate"], given_["subset"][0] >= 0, hands, (hands >= 0).all(-1), faces, (faces >= 0).all(-1)
    )
    official = cv2.imread(str(PARITY / f"draw_{name}_canvas_as_rgb.png"))[..., ::-1]
    assert np.array_equal(draw_openpose(pose, canvas, face=face), official)


@parity
@pytest.mark.parametrize("case", ["one", "two"])
def test_133_points_become_the_official_openpose_points(case):
    given_ = read("pose_convert.safetensors")
    people = len(given_[f"{case}.kps133"])
    pose = to_openpose(given_[f"{case}.kps133"] / np.float32(512), given_[f"{case}.scores133"])
    assert np.array_equal(pose.body.reshape(-1, 2), given_[f"{case}.candidate"])
    assert np.array_equal(pose.body_visible, given_[f"{case}.subset"] >= 0)
    hands = np.where(pose.hands_visible[..., None], pose.hands, -1)
    assert np.array_equal(hands[:, 0], given_[f"{case}.hands"][:people])
    assert np.array_equal(hands[:, 1], given_[f"{case}.hands"][people:])
    assert np.array_equal(np.where(pose.face_visible[..., None], pose.face, -1), given_[f"{case}.faces"])


@parity
def test_from_133_points_to_the_official_picture():
    given_ = read("pose_convert.safetensors")
    drawn = draw_pose(given_["one.kps133"][0], given_["one.scores133"][0], (512, 512))
    assert np.array_equal(cv2.resize(drawn[..., ::-1], (256, 256)), given_["one.map_256"])


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
