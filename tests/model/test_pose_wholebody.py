"""Conversions between COCO-WholeBody, OpenPose and the official arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.pose import wholebody
from model.pose.tracks import InvalidPose, PoseTrack
from model.pose.wholebody import from_official, from_openpose, select_person, to_official, to_openpose

leading = st.sampled_from([(), (3,), (2, 3)])
seeds = st.integers(0, 2**32 - 1)


def poses(seed, shape):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, (*shape, 133, 2)), rng.uniform(0, 1, (*shape, 133))


@settings(max_examples=30, deadline=None)
@given(seeds, leading)
def test_there_and_back_only_the_feet_are_lost(seed, shape):
    keypoints, scores = poses(seed, shape)
    back, sure = from_openpose(to_openpose(keypoints, scores))
    kept = np.r_[0:17, 23:133]
    assert np.array_equal(back[..., kept, :], keypoints[..., kept, :])
    assert np.array_equal(sure[..., kept], scores[..., kept])
    assert not sure[..., wholebody.FEET].any() and np.isfinite(back).all()


@settings(max_examples=30, deadline=None)
@given(seeds, leading)
def test_frames_and_persons_are_converted_as_each_alone(seed, shape):
    keypoints, scores = poses(seed, shape)
    whole = to_openpose(keypoints, scores)
    for index in np.ndindex(shape):
        alone, selected = to_openpose(keypoints[index], scores[index]), whole[index]
        assert all(np.array_equal(getattr(alone, name), getattr(selected, name)) for name in vars(alone))


def test_every_joint_has_its_openpose_place():
    keypoints = np.stack([np.arange(133.0), -np.arange(133.0)], axis=-1)
    pose = to_openpose(keypoints, np.ones(133))
    named = {0: wholebody.NOSE, 2: wholebody.RIGHT_SHOULDER, 3: wholebody.RIGHT_ELBOW, 4: wholebody.RIGHT_WRIST}
    named |= {5: wholebody.LEFT_SHOULDER, 6: wholebody.LEFT_ELBOW, 7: wholebody.LEFT_WRIST, 8: wholebody.RIGHT_HIP}
    named |= {9: wholebody.RIGHT_KNEE, 10: wholebody.RIGHT_ANKLE, 11: wholebody.LEFT_HIP, 12: wholebody.LEFT_KNEE}
    named |= {13: wholebody.LEFT_ANKLE, 14: wholebody.RIGHT_EYE, 15: wholebody.LEFT_EYE}
    named |= {16: wholebody.RIGHT_EAR, 17: wholebody.LEFT_EAR}
    assert {joint: pose.body[joint, 0] for joint in named} == named
    assert pose.body[wholebody.NECK].tolist() == [5.5, -5.5]
    assert pose.hands[:, 0, 0].tolist() == [wholebody.LEFT_HAND.start, wholebody.RIGHT_HAND.start]
    assert pose.face[[0, -1], 0].tolist() == [wholebody.FACE.start, wholebody.FACE.stop - 1]


@pytest.mark.parametrize("score, body, rest", [(0.34, False, False), (0.35, False, True), (0.36, True, True)])
def test_what_is_visible(score, body, rest):
    pose = to_openpose(np.zeros((133, 2)), np.full(133, score))
    assert pose.body_visible[[0, 2, 17]].tolist() == [body] * 3
    assert pose.hands_visible.all() == pose.hands_visible.any() == pose.face_visible.all() == rest
    assert pose.body_scores[wholebody.NECK] == 1


@pytest.mark.parametrize("left, right, seen", [(0.31, 0.9, 1), (0.3, 0.9, 0), (0.9, 0.3, 0), (0.0, 0.0, 0)])
def test_the_neck_is_seen_with_both_shoulders(left, right, seen):
    scores = np.ones(133)
    scores[[wholebody.LEFT_SHOULDER, wholebody.RIGHT_SHOULDER]] = left, right
    pose = to_openpose(np.zeros((133, 2)), scores)
    assert pose.body_scores[wholebody.NECK] == seen and pose.body_visible[wholebody.NECK] == bool(seen)


def test_one_of_several_persons_and_the_official_hands():
    keypoints, scores = (array.astype(np.float32) for array in poses(0, (4, 3)))
    for person in range(3):
        for compat in (False, True)[: 1 if person == 0 else 2]:
            chosen = select_person(keypoints, scores, person, compat=compat)
            assert np.array_equal(chosen[0], keypoints[:, person]) and np.array_equal(chosen[1], scores[:, person])
    mixed = PoseTrack(*select_person(keypoints, scores, compat=True))
    assert np.array_equal(mixed.keypoints[:, wholebody.RIGHT_HAND], keypoints[:, 1, wholebody.LEFT_HAND])
    assert np.array_equal(mixed.scores[:, wholebody.RIGHT_HAND], scores[:, 1, wholebody.LEFT_HAND])
    assert np.array_equal(mixed.keypoints[:, :112], keypoints[:, 0, :112])
    alone = select_person(keypoints[:, :1], scores[:, :1], compat=True)
    assert np.array_equal(alone[0], keypoints[:, 0])
    with pytest.raises(InvalidPose, match="person 3 of 3"):
        select_person(keypoints, scores, 3)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 3))
def test_the_official_arrays_hold_all_left_hands_then_all_right_ones(seed, persons):
    pose = to_openpose(*poses(seed, (2, persons)))
    official = to_official(pose)
    assert [part.shape[1:] for part in official] == [
        (18 * persons, 2),
        (persons, 18),
        (2 * persons, 21, 2),
        (persons, 68, 2),
    ]
    for person in range(persons):
        for side, row in enumerate((person, persons + person)):
            seen = pose.hands_visible[:, person, side]
            assert np.array_equal(official.hands[:, row][seen], pose.hands[:, person, side][seen])
            assert (official.hands[:, row][~seen] == -1).all()
    rows = official.subset[official.subset >= 0].astype(int)
    assert np.array_equal(np.sort(np.unique(rows)), np.unique(np.flatnonzero(pose.body_visible.any(axis=0).ravel())))
    back = from_official(official)
    assert np.array_equal(back.body, pose.body)
    for what in ("body", "hands", "face"):
        visible = getattr(pose, f"{what}_visible")
        assert np.array_equal(getattr(back, f"{what}_visible"), visible)
        assert np.array_equal(getattr(back, what)[visible], getattr(pose, what)[visible])


@pytest.mark.parametrize(
    "keypoints, scores, named",
    [
        (np.zeros((2, 17, 2)), np.zeros((2, 17)), r"\(2, 17, 2\)"),
        (np.zeros((2, 133, 2)), np.zeros((3, 133)), r"\(3, 133\)"),
        (np.zeros((2, 133, 2)), np.zeros(133), r"scores \(133,\)"),
        (np.full((133, 2), np.nan), np.zeros(133), "NaN"),
        (np.zeros((133, 2)), np.full(133, np.inf), "infinite"),
    ],
)
def test_other_shapes_and_no_numbers_are_refused(keypoints, scores, named):
    with pytest.raises(InvalidPose, match=named):
        to_openpose(keypoints, scores)
