"""Directions of bones in closed form: bone-angle error, motion driving accuracy and its area, missing bones, hands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skeletons import ARM_AND_LEG, LENGTHS, Finds, changed, dance, hidden, reason, seen, skeleton, value

from evaluation.metrics.bones import BODY, HANDS
from evaluation.metrics.registry import METRICS
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

DIRECTIONS = ["bone_angle_error", "motion_driving_accuracy", "motion_driving_area", "missing_bones"]
ANKLES = joint.LEFT_ANKLE, joint.RIGHT_ANKLE
LEGS = joint.LEFT_KNEE, joint.RIGHT_KNEE, *ANKLES
DRIVER = skeleton(dance())


def directions(made: PoseTrack, driving: PoseTrack = DRIVER, **more) -> dict[str, float]:
    evidence = seen(made, driving, **{"reference_pose": skeleton(), **more})
    return {name: value(name, evidence) for name in DIRECTIONS}


def as_numbers(error: float, accuracy: float, area: float, missing: float):
    return pytest.approx(dict(zip(DIRECTIONS, (error, accuracy, area, missing), strict=True)), abs=1e-4)


def with_scores(track: PoseTrack, score: float, *joints: int) -> PoseTrack:
    scores = track.scores.copy()
    scores[:, list(joints)] = score
    return PoseTrack(track.keypoints, scores)


@given(
    x=st.floats(-200, 200),
    y=st.floats(-200, 200),
    scale=st.floats(0.3, 3),
    torso=st.floats(0.5, 2),
    limbs=st.lists(st.floats(0.5, 2), min_size=8, max_size=8),
)
@settings(max_examples=15, deadline=None)
def test_place_size_and_lengths_of_limbs_do_not_matter(x, y, scale, torso, limbs):
    lengths = {part: torso * LENGTHS[part] for part in ("spine", "shoulders", "hips")}
    lengths |= {part: factor * LENGTHS[part] for part, factor in zip(ARM_AND_LEG, limbs, strict=True)}
    made = changed(skeleton(dance(), lengths), scale=scale, shift=x + 1j * y)
    assert directions(made) == pytest.approx(dict(zip(DIRECTIONS, (0, 1, 1, 0), strict=True)), abs=2e-3)


@pytest.mark.parametrize(
    ("degrees", "error", "accuracy", "area"),
    [
        (10, 10, 1, 5 / 6),
        (-29, 29, 1, 31 / 60),
        (31, 31, 0, 29 / 60),
        (75, 75, 0, 0),
        (180, 180, 0, 0),
        (350, 10, 1, 5 / 6),
    ],
)
def test_a_turned_body_is_off_by_the_angle(degrees, error, accuracy, area):
    assert directions(changed(DRIVER, turn=np.radians(degrees))) == as_numbers(error, accuracy, area, 0)


def test_one_bone_of_twelve():
    angles = dance()
    made = skeleton({**angles, "left_lower_arm": angles["left_lower_arm"] + np.pi / 2})
    assert directions(made) == as_numbers(90 / 12, 11 / 12, 11 / 12, 0)


def test_curves_say_when():
    angles = dance(20)
    late = np.where(np.arange(20) < 15, 0, np.radians(45))
    evidence = seen(skeleton({**angles, "right_upper_leg": angles["right_upper_leg"] + late}), skeleton(angles))
    evidence.reference_pose = skeleton()
    error, accuracy = (METRICS[name].score(evidence).curve for name in DIRECTIONS[:2])
    assert error == pytest.approx([0] * 15 + [45 / 12] * 5, abs=1e-4)
    assert accuracy == pytest.approx([1] * 15 + [11 / 12] * 5)


def test_a_missing_joint_costs_accuracy_and_no_error():
    made = hidden(DRIVER, joint.LEFT_WRIST, place=5.0)
    assert directions(made) == as_numbers(0, 11 / 12, 11 / 12, 1 / 12)
    half = hidden(DRIVER, *ANKLES, frames=slice(0, 7))
    assert directions(half) == as_numbers(0, *[1 - 7 * 2 / (49 * 12)] * 2, 7 * 2 / (49 * 12))
    both = hidden(changed(DRIVER, turn=np.radians(20)), joint.LEFT_WRIST)
    assert directions(both) == as_numbers(20, 11 / 12, 11 / 12 * 2 / 3, 1 / 12)


def with_all_on_one_point(track: PoseTrack, joints: slice, frames: slice = slice(None)) -> PoseTrack:
    keypoints = track.keypoints.copy()
    keypoints[frames, joints] = keypoints[frames, joints.start, None]
    return PoseTrack(keypoints, track.scores)


def test_a_collapsed_body_is_missing_however_sure_its_joints_are():
    body, hand = slice(0, 17), slice(91, 133)
    collapsed = seen(with_all_on_one_point(DRIVER, body), DRIVER, reference_pose=skeleton())
    assert value("missing_bones", collapsed) == 1
    for name in DIRECTIONS[:3]:
        assert "only 0% of the driver's bones" in reason(name, collapsed)
    at_times = with_all_on_one_point(DRIVER, body, slice(0, 7))
    assert directions(at_times) == as_numbers(0, 42 / 49, 42 / 49, 7 / 49)
    hands = seen(with_all_on_one_point(DRIVER, hand), DRIVER, reference_pose=skeleton())
    assert "only 0%" in reason("hand_motion_driving_accuracy", hands)
    assert value("motion_driving_accuracy", hands) == 1
    hands.estimator = Finds(with_all_on_one_point(DRIVER, hand, slice(0, 7)))
    del hands.people, hands.person  # they are kept
    assert value("hand_motion_driving_accuracy", hands) == pytest.approx(42 / 49)


def test_bones_without_a_body_to_judge_their_length_by_are_missing():
    arms = hidden(DRIVER, joint.LEFT_HIP, joint.RIGHT_HIP, joint.LEFT_SHOULDER)
    assert value("missing_bones", seen(arms, DRIVER, reference_pose=skeleton())) == 1


def test_what_the_driver_does_not_show_is_not_asked_for():
    angles = dance()
    made = skeleton({**angles, "left_lower_arm": 0.0})
    assert directions(made, hidden(DRIVER, joint.LEFT_WRIST, place=999.0)) == as_numbers(0, 1, 1, 0)
    assert directions(made, with_scores(DRIVER, 0.49, joint.LEFT_WRIST)) == as_numbers(0, 1, 1, 0)
    assert directions(made, with_scores(DRIVER, 0.5, joint.LEFT_WRIST))["motion_driving_accuracy"] < 1


def test_a_bone_that_points_at_the_camera_is_not_asked_for():
    side = abs(60j + (40 - 28) / 2)
    made = skeleton({**dance(), "left_lower_arm": 0.0})
    for lower_arm, asked in ((0.14 * side, False), (0.16 * side, True)):
        driving = skeleton(dance(), {"left_lower_arm": lower_arm})
        assert (directions(made, driving)["bone_angle_error"] > 1) == asked
    no_hips = [joint.LEFT_HIP, joint.RIGHT_HIP]  # half body: 1.5 shoulder widths are its torso
    for lower_arm, asked in ((0.14 * 60, False), (0.16 * 60, True)):
        driving = hidden(skeleton(dance(), {"left_lower_arm": lower_arm}), *no_hips)
        assert (directions(made, driving)["bone_angle_error"] > 1) == asked


def test_what_the_reference_hides_is_asked_for_only_where_the_video_shows_it():
    half_body, full_body = hidden(skeleton(), *LEGS), skeleton()
    upper = hidden(DRIVER, *ANKLES)
    assert directions(upper, reference_pose=half_body) == as_numbers(0, 1, 1, 0)
    assert directions(upper, reference_pose=full_body) == as_numbers(0, 10 / 12, 10 / 12, 2 / 12)
    turned = skeleton({**dance(), "left_lower_leg": dance()["left_lower_leg"] + np.pi / 2})
    assert directions(turned, reference_pose=half_body) == as_numbers(90 / 12, 11 / 12, 11 / 12, 0)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_too_little_seen_is_no_value_but_a_missing_rate(name):
    evidence = seen(hidden(DRIVER, *range(9, 17)), DRIVER, reference_pose=skeleton())  # shoulders and elbows are left
    if name == "missing_bones":
        assert value(name, evidence) == pytest.approx(9 / 12)
    else:
        assert "only 25% of the driver's bones" in reason(name, evidence)
    nobody = seen(DRIVER, DRIVER, reference_pose=skeleton())
    nobody.estimator = Finds()
    if name == "missing_bones":
        assert value(name, nobody) == 1
    else:
        assert "nobody" in reason(name, nobody)
    nothing = seen(DRIVER, with_scores(DRIVER, 0.2, *range(133)), reference_pose=skeleton())
    assert "no bone" in reason(name, nothing)


@given(
    unseen=st.sets(st.integers(5, 16), min_size=1, max_size=3),
    start=st.integers(0, 30),
    place=st.floats(-5000, 5000),
    whose=st.integers(0, 2),
)
@settings(max_examples=15, deadline=None)
def test_coordinates_of_unseen_joints_mean_nothing(unseen, start, place, whose):
    people = [skeleton(dance(amplitude=0.8)), DRIVER, skeleton()]
    when = slice(start, start + 9) if whose < 2 else slice(None)
    plain, moved = (
        [
            hidden(person, *unseen, frames=when, place=at) if who == whose else person
            for who, person in enumerate(people)
        ]
        for at in (None, place)
    )
    picture = np.zeros((320, 320, 3), np.uint8)
    scores = [
        [
            METRICS[name].score(seen(made, driving, reference_pose=reference, reference=picture))
            for name in [*DIRECTIONS, "motion_energy_ratio", "velocity_correlation", "motion_lag", "retargeted_pck"]
        ]
        for made, driving, reference in (plain, moved)
    ]
    assert scores[0] == scores[1]
    assert any(score.status == "ok" for score in scores[0])


def test_control_is_what_was_fed_and_driving_what_was_meant():
    control = changed(DRIVER, turn=np.radians(10))
    follows = seen(control, DRIVER, control=control, reference_pose=skeleton())
    assert value("control_bone_angle_error", follows) == pytest.approx(0, abs=1e-4)
    assert value("bone_angle_error", follows) == pytest.approx(10, abs=1e-4)
    turned = seen(changed(DRIVER, turn=np.radians(35)), DRIVER, control=control, reference_pose=skeleton())
    assert value("control_motion_driving_accuracy", turned) == 1
    assert value("motion_driving_accuracy", turned) == 0
    assert "not known" in reason("control_bone_angle_error", seen(DRIVER, DRIVER))
    assert "no driving pose" in reason("bone_angle_error", seen(DRIVER, None))


def test_both_targets_are_taken_at_the_moments_of_the_generated_frames():
    backwards = np.arange(len(DRIVER))[::-1]
    made = PoseTrack(DRIVER.keypoints[backwards], DRIVER.scores[backwards])
    evidence = seen(made, DRIVER, control=DRIVER, time_map=backwards, reference_pose=skeleton())
    assert value("bone_angle_error", evidence) == value("control_bone_angle_error", evidence) == 0
    evidence.time_map = None
    del evidence.driver  # it is kept
    assert value("bone_angle_error", evidence) > 5 < value("control_bone_angle_error", evidence)


def test_bones_are_twelve_and_two_times_twenty_and_their_own():
    assert len({tuple(sorted(bone)) for bone in BODY.joints.tolist()}) == 12
    assert len({tuple(sorted(bone)) for bone in HANDS.joints.tolist()}) == 40
    assert {0, *range(91, 133)} - {0} == set(HANDS.joints.ravel().tolist())


def test_hands_are_judged_by_their_own_size():
    angles = {**dance(), "left_hand": np.radians(40)}
    driving, made = skeleton(dance()), skeleton(angles)
    evidence = seen(made, driving, reference_pose=skeleton())
    assert value("hand_motion_driving_accuracy", evidence) == pytest.approx(0.5)
    assert value("motion_driving_accuracy", evidence) == 1
    one_hand = hidden(made, *range(112, 133))
    assert value("hand_motion_driving_accuracy", seen(one_hand, driving, reference_pose=skeleton())) == 0
    no_hands = seen(hidden(made, *range(91, 133)), driving, reference_pose=skeleton())
    assert "0%" in reason("hand_motion_driving_accuracy", no_hands)


def test_a_finger_that_points_at_the_camera_is_not_asked_for():
    driving = skeleton(dance())
    wrist, thumb = driving.keypoints[:, 91], driving.keypoints[:, 92].copy()
    for length, right in ((-0.1, 1), (-0.2, 39 / 40)):  # of the way to the knuckle, which is as long as the yardstick
        driving.keypoints[:, 92] = wrist + length * (thumb - wrist)
        evidence = seen(DRIVER, driving, reference_pose=skeleton())
        assert value("hand_motion_driving_accuracy", evidence) == pytest.approx(right)


def test_confidence_of_hands_is_relative_to_the_drivers():
    driving, made = (with_scores(DRIVER, score, *range(91, 133)) for score in (0.8, 0.4))
    assert value("hand_confidence_ratio", seen(made, driving)) == pytest.approx(0.5)
    assert value("hand_confidence_ratio", seen(driving, made)) == pytest.approx(2)
    blurred = with_scores(DRIVER, 0.2, *range(91, 133))
    assert "hardly be made out (mean confidence 0.20)" in reason("hand_confidence_ratio", seen(made, blurred))
