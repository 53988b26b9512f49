"""How much, which way and when bones turn: motion energy ratio, velocity correlation, motion lag."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skeletons import ARM_AND_LEG, LENGTHS, Finds, changed, dance, hidden, reason, seen, skeleton, value

from evaluation.metrics.registry import METRICS
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

TIMING = ["motion_energy_ratio", "velocity_correlation", "motion_lag"]
DRIVER = skeleton(dance())
FROZEN = skeleton({limb: angle[0] for limb, angle in dance().items()}, frames=len(DRIVER))


def timing(made: PoseTrack, driving: PoseTrack = DRIVER, **more) -> list[float]:
    return [value(name, seen(made, driving, **more)) for name in TIMING]


def jittered(track: PoseTrack, pixels: float, seed: int = 0) -> PoseTrack:
    noise = np.random.default_rng(seed).normal(0, pixels, track.keypoints.shape)
    return PoseTrack((track.keypoints + noise).astype(np.float32), track.scores)


@given(
    shift=st.complex_numbers(max_magnitude=300, allow_nan=False, allow_infinity=False),
    scale=st.floats(0.4, 3),
    turn=st.floats(-np.pi, np.pi),
    limbs=st.lists(st.floats(0.5, 2), min_size=8, max_size=8),
)
@settings(max_examples=15, deadline=None)
def test_place_size_heading_and_lengths_of_limbs_do_not_matter(shift, scale, turn, limbs):
    lengths = {part: factor * LENGTHS[part] for part, factor in zip(ARM_AND_LEG, limbs, strict=True)}
    made = changed(skeleton(dance(), lengths), scale=scale, shift=shift, turn=turn)
    assert timing(made) == pytest.approx([1, 1, 0], abs=1e-3)


def test_energy_follows_the_amplitude_and_correlation_does_not():
    energy, correlation, lag = timing(skeleton(dance(amplitude=0.5)))
    assert energy == pytest.approx(0.5, abs=0.01)
    assert correlation > 0.995
    assert lag == 0


def test_correlation_is_of_what_changes_in_the_velocity():
    spinning = {limb: angle + 0.05 * np.arange(49) for limb, angle in dance().items()}
    assert value("velocity_correlation", seen(skeleton(spinning), DRIVER)) > 0.99
    hardly = value("velocity_correlation", seen(skeleton(dance(amplitude=0.02)), DRIVER))
    assert 0 < hardly < 0.3  # below the floor it fades out


def test_a_frozen_video_has_no_energy_no_correlation_and_no_lag_though_its_bones_are_near():
    evidence = seen(FROZEN, DRIVER, reference_pose=skeleton())
    assert value("motion_energy_ratio", evidence) == pytest.approx(0, abs=1e-6)
    assert value("velocity_correlation", evidence) == pytest.approx(0, abs=1e-6)
    assert "at no shift" in reason("motion_lag", evidence)
    assert value("motion_driving_accuracy", evidence) > 0.6


def test_noise_of_a_frozen_video_is_energy_but_no_correlation():
    energy, correlation = (value(name, seen(jittered(FROZEN, 0.5), DRIVER)) for name in TIMING[:2])
    assert 0.05 < energy < 0.6
    assert abs(correlation) < 0.2


def test_two_pixels_of_jitter_leave_the_correlation_and_the_lag():
    energy, correlation, lag = timing(jittered(DRIVER, 2.0))
    assert 1 < energy < 2
    assert correlation > 0.8
    assert lag == 0


@pytest.mark.parametrize("frames", [-8, -3, 0, 1, 3, 8])
def test_lag_is_found_to_the_frame_late_is_positive(frames):
    assert value("motion_lag", seen(skeleton(dance(delay=frames)), DRIVER)) == frames
    assert value("motion_lag", seen(jittered(skeleton(dance(delay=frames)), 1.0), DRIVER)) == frames


def test_lag_against_the_control_and_no_further_than_a_second():
    evidence = seen(skeleton(dance(delay=5)), DRIVER, control=skeleton(dance(delay=2)))
    assert value("control_motion_lag", evidence) == 3
    assert value("motion_lag", evidence) == 5
    second, more = (seen(skeleton(dance(97, delay=delay)), skeleton(dance(97))) for delay in (16, 17))
    assert value("motion_lag", second) == 16 == value("motion_lag", more)  # the nearest shift that is looked at


def test_a_second_is_the_least_in_which_a_lag_is_looked_for():
    for frames, told in ((15, "0.94 s are too short"), (16, None)):
        score = METRICS["motion_lag"].score(seen(skeleton(dance(frames)), skeleton(dance(frames))))
        assert told in score.reason if told else score.value == 0
    assert "too short" in reason("motion_lag", seen(skeleton(dance(20)), skeleton(dance(20)), fps=24.0))


def test_a_lag_found_on_less_than_half_a_second_is_none():
    for shown_steps, told in ((7, "together for 0.44 s"), (8, None)):  # in the rest the driver is not seen
        driver = hidden(skeleton(dance(32)), *range(17), frames=slice(shown_steps + 1, None))
        score = METRICS["motion_lag"].score(seen(skeleton(dance(32)), driver))
        assert told in score.reason if told else score.value == 0


def test_another_motion_has_no_lag():
    backwards = skeleton({limb: angle[::-1] for limb, angle in dance().items()})
    assert "at no shift up to 16 frames" in reason("motion_lag", seen(backwards, DRIVER))


def test_lag_lowers_the_correlation_but_not_the_energy():
    energy, correlation, _ = timing(skeleton(dance(delay=4)))
    assert energy == pytest.approx(1, abs=0.1)
    assert correlation < 0.7


def reflected(track: PoseTrack, width: float = 320) -> PoseTrack:
    """Every joint keeps its name: the left arm does, to the left, what it did to the right."""
    keypoints = track.keypoints.copy()
    keypoints[..., 0] = width - keypoints[..., 0]
    return PoseTrack(keypoints, track.scores)


def test_a_reflected_dancer_turns_the_opposite_way():
    angles = dance()
    energy, correlation, _ = (METRICS[name].score(seen(reflected(DRIVER), DRIVER)).value for name in TIMING)
    assert energy == pytest.approx(1, abs=1e-4)
    assert correlation == pytest.approx(-1, abs=1e-4)
    # an angle a becomes pi - a; the lines of shoulders and hips, which lie level, point the other way; the two sides
    # of the torso lean by atan(6 / 60) to the middle and then out of it
    limbs = [np.abs(np.angle(np.exp(1j * (np.pi - 2 * angles[limb])))).mean() for limb in ARM_AND_LEG]
    sides = 2 * np.arctan(6 / 60)
    error = np.degrees(np.mean([*limbs, np.pi, np.pi, sides, sides]))
    assert value("bone_angle_error", seen(reflected(DRIVER), DRIVER)) == pytest.approx(error, abs=1e-3)


def test_a_mirrored_dancer_does_with_the_left_what_the_driver_does_with_the_right():
    def mirrored(angles):
        other = {"left": "right", "right": "left"}
        swap = {limb: limb.replace(limb.split("_")[0], other[limb.split("_")[0]]) for limb in ARM_AND_LEG}
        return {limb: np.pi - angles[swap[limb]] for limb in ARM_AND_LEG}

    in_parallel = dance()
    for limb in ARM_AND_LEG:
        in_parallel[limb] = in_parallel[limb.replace("right", "left")]
    correlation = value("velocity_correlation", seen(skeleton(mirrored(in_parallel)), skeleton(in_parallel)))
    assert correlation == pytest.approx(-1, abs=1e-4)
    limbs = [np.abs(np.angle(np.exp(1j * (np.pi - 2 * in_parallel[limb])))).mean() for limb in ARM_AND_LEG]
    error = value("bone_angle_error", seen(skeleton(mirrored(in_parallel)), skeleton(in_parallel)))
    assert error == pytest.approx(np.degrees(np.sum(limbs)) / 12, abs=1e-3)

    symmetric = {limb: a if "left" in limb else np.pi - in_parallel[limb] for limb, a in in_parallel.items()}
    same = seen(skeleton(mirrored(symmetric)), skeleton(symmetric))  # its mirror image is the dance itself
    assert value("velocity_correlation", same) == pytest.approx(1, abs=1e-4)
    assert value("bone_angle_error", same) == pytest.approx(0, abs=1e-4)


def test_bones_that_the_driver_holds_still_do_not_count():
    one_arm = {limb: angle for limb, angle in dance().items() if limb == "left_lower_arm"}
    driving = skeleton({**one_arm, "right_lower_arm": np.pi / 2 + 0.02 * np.sin(np.arange(49) / 3)})
    fidgets = {limb: dance(delay=7)[limb] for limb in ARM_AND_LEG if limb != "left_lower_arm"}
    assert value("velocity_correlation", seen(skeleton({**fidgets, **one_arm}), driving)) == pytest.approx(1, abs=1e-4)


def test_a_bone_unseen_for_a_moment_neither_adds_nor_removes_motion():
    made = hidden(DRIVER, joint.LEFT_WRIST, frames=slice(10, 13), place=1000.0)
    energy, correlation, lag = timing(made)
    assert energy == pytest.approx(1, abs=0.02)
    assert correlation > 0.99
    assert lag == 0


def test_the_most_prominent_of_several_people_is_measured():
    evidence = seen(DRIVER, DRIVER)
    evidence.estimator = Finds(skeleton(dance(amplitude=0.5)), DRIVER)
    assert value("motion_energy_ratio", evidence) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", TIMING)
def test_why_there_is_no_value(name):
    nobody = seen(DRIVER, DRIVER)
    nobody.estimator = Finds()
    assert "nobody" in reason(name, nobody)
    assert "hardly moves (0.0 degrees" in reason(name, seen(DRIVER, FROZEN))
    assert "no pose estimator" in reason(name, seen(DRIVER, DRIVER) and _without_estimator())
    assert "no driving pose" in reason(name, seen(DRIVER, None))
    assert "one frame" in reason(name, seen(skeleton(), skeleton()))
    unseen = PoseTrack(DRIVER.keypoints, np.where(np.arange(133) < 9, DRIVER.scores, 0).astype(np.float32))
    assert "only 25% of the driver's bones can be seen" in reason(name, seen(unseen, DRIVER))
    assert "no bone" in reason(name, seen(DRIVER, PoseTrack(DRIVER.keypoints, 0 * DRIVER.scores)))
    every_other = hidden(DRIVER, *range(133), frames=slice(1, None, 2))
    assert "two frames running" in reason(name, seen(every_other, DRIVER))


def _without_estimator():
    evidence = seen(DRIVER, DRIVER)
    evidence.estimator = None
    return evidence


def test_frame_rate_matters_only_to_what_is_aware_of_it():
    made = jittered(skeleton(dance(delay=1)), 1.0)
    slow, fast = (seen(made, DRIVER, fps=fps, reference_pose=skeleton()) for fps in (16.0, 30.0))
    for name in ("bone_angle_error", "motion_driving_accuracy", "motion_driving_area", "missing_bones"):
        assert value(name, slow) == value(name, fast)
    assert value("motion_energy_ratio", slow) != value("motion_energy_ratio", fast)
