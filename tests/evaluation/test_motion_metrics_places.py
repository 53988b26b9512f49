"""Joints where they belong on another body (retargeted PCK), or where the fed pose has them; the noise floor."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from skeletons import ARM_AND_LEG, LENGTHS, Finds, changed, dance, hidden, reason, seen, skeleton, value

from evaluation.metrics.noise_floor import MOTION_METRICS, noise_floor
from evaluation.metrics.registry import METRICS
from infra.errors import SteadyDancerError
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

PICTURE = np.zeros((480, 480, 3), np.uint8)
LEGS = joint.LEFT_KNEE, joint.RIGHT_KNEE, joint.LEFT_ANKLE, joint.RIGHT_ANKLE
FRAMES = 49
TIME = np.arange(FRAMES) / FRAMES
ANGLES = {**dance(FRAMES), "spine": -np.pi / 2 + 0.2 * np.sin(5 * TIME)}
WAY = 160 + 170j + 40 * TIME * (1 + 0.5j)
DRIVER = skeleton(ANGLES, root=WAY)
START = {part: angle[0] for part, angle in ANGLES.items()}
BODY = ["spine", "shoulders", "hips"]
SIDES = ["upper_arm", "lower_arm", "upper_leg", "lower_leg"]


def placed(made: PoseTrack, reference: PoseTrack, driving: PoseTrack = DRIVER, picture=PICTURE, size=(480, 480)):
    return seen(made, driving, size=size, reference=picture, reference_pose=reference)


def other_body(factors: dict[str, float]) -> dict[str, float]:
    per_bone = {
        name: f
        for part, f in factors.items()
        for name in ([part] if part in BODY else [f"left_{part}", f"right_{part}"])
    }
    return {name: factor * LENGTHS[name] for name, factor in per_bone.items()}


def plain_pck(made: PoseTrack, driving: PoseTrack) -> float:
    distance = np.linalg.norm(made.keypoints[:, 5:17] - driving.keypoints[:, 5:17], axis=-1)
    return float((distance <= 0.2 * 60).mean())


@given(
    factors=st.lists(st.floats(0.55, 1.9), min_size=7, max_size=7),
    home=st.complex_numbers(max_magnitude=20, allow_nan=False, allow_infinity=False),
)
@example(factors=[1.75, 1.75, 1.75, 1.0, 0.7, 1.0, 1.0], home=0j)
@settings(max_examples=15, deadline=None)
def test_a_perfect_transfer_to_any_proportions_is_perfect(factors, home):
    factors = dict(zip([*BODY, *SIDES], factors, strict=True))
    lengths, start = other_body(factors), 230 + 230j + home
    assume(min(lengths.values()) > 0.16 * lengths["spine"])  # shorter ones are taken for foreshortened
    made = skeleton(ANGLES, lengths, root=start + factors["spine"] * (WAY - WAY[0]))
    assert value("retargeted_pck", placed(made, skeleton(START, lengths, root=start))) == 1


def test_plain_pck_would_call_a_perfect_transfer_wrong():
    factors = dict.fromkeys(BODY, 0.6) | dict.fromkeys(SIDES, 1.7)
    lengths = other_body(factors)
    made = skeleton(ANGLES, lengths, root=260 + 190j + 0.6 * (WAY - WAY[0]))
    assert value("retargeted_pck", placed(made, skeleton(START, lengths, root=260 + 190j))) == 1
    assert plain_pck(made, DRIVER) == 0


def test_the_tolerance_is_a_fifth_of_the_references_torso():
    reference = skeleton(START, root=WAY[0])
    torso = abs(60j + 6)
    for distance, share in ((0.19 * torso, 1), (0.21 * torso, 0)):
        assert value("retargeted_pck", placed(changed(DRIVER, shift=distance), reference)) == share
    late = np.where(TIME < 0.5, 0, 0.3 * torso)
    score = METRICS["retargeted_pck"].score(placed(skeleton(ANGLES, root=WAY + late), reference))
    assert score.curve == tuple(1.0 if moment < 0.5 else 0.0 for moment in TIME)


def test_a_part_longer_than_twice_the_drivers_is_taken_as_twice():
    arms = {f"{side}_{part}": 3 * LENGTHS[f"{side}_{part}"] for side in ("left", "right") for part in SIDES[:2]}
    twice = {name: 2 / 3 * length for name, length in arms.items()}
    reference = skeleton(START, arms, root=WAY[0] + 60)
    assert value("retargeted_pck", placed(skeleton(ANGLES, twice, root=WAY + 60), reference)) == 1
    assert value("retargeted_pck", placed(skeleton(ANGLES, arms, root=WAY + 60), reference)) == pytest.approx(8 / 12)


def test_lengths_are_measured_where_the_driver_stands_as_the_reference():
    foreshortened = {f"{side}_{part}": 15.0 for side in ("left", "right") for part in SIDES[:2]}
    odd = {**START, **{limb: START[limb] + 0.8 for limb in ARM_AND_LEG}}
    first = skeleton(odd, foreshortened, root=WAY[0], frames=1)
    driving = PoseTrack(
        *(np.concatenate([a, b[1:]]) for a, b in ((first.keypoints, DRIVER.keypoints), (first.scores, DRIVER.scores)))
    )
    reference = skeleton({part: angle[9] for part, angle in ANGLES.items()}, root=WAY[0])
    assert value("retargeted_pck", placed(driving, reference, driving)) == 1


def test_what_the_reference_hides_is_scaled_as_the_rest():
    lengths = other_body(dict.fromkeys([*BODY, *SIDES], 1.3))
    made = skeleton(ANGLES, lengths, root=200 + 200j + 1.3 * (WAY - WAY[0]))
    half_body = hidden(skeleton(START, lengths, root=200 + 200j), *LEGS, place=3.0)
    assert value("retargeted_pck", placed(made, half_body)) == 1
    cut = hidden(made, *LEGS)  # the picture ends above the knees: they are not asked for
    assert value("retargeted_pck", placed(cut, half_body, picture=PICTURE[:190], size=(190, 480))) == 1
    assert value("retargeted_pck", placed(cut, half_body)) == pytest.approx(8 / 12)


def test_the_video_may_be_of_another_size_but_not_of_another_shape():
    reference = skeleton(START, root=WAY[0])
    made = changed(DRIVER, scale=0.5)
    assert value("retargeted_pck", placed(made, reference, size=(240, 240))) == 1
    beside = changed(made, shift=0.15 * 60)  # 0.3 of the torso as it is in the video
    assert value("retargeted_pck", placed(beside, reference, size=(240, 240))) == 0
    assert "do not correspond" in reason("retargeted_pck", placed(made, reference, size=(240, 300)))


def test_why_there_is_no_place():
    reference = skeleton(START, root=WAY[0])
    shoulder = joint.LEFT_SHOULDER
    assert "the reference does not show both" in reason("retargeted_pck", placed(DRIVER, hidden(reference, shoulder)))
    no_neck = hidden(DRIVER, shoulder)
    assert "the driver never shows both" in reason("retargeted_pck", placed(DRIVER, reference, no_neck))
    assert "only 42% of the driver's joints" in reason(
        "retargeted_pck", placed(hidden(DRIVER, *range(10, 17)), reference)
    )
    outside = changed(reference, shift=2000)
    assert "falls into the picture" in reason("retargeted_pck", placed(DRIVER, outside))
    assert "no pose of the reference" in reason("retargeted_pck", seen(DRIVER, DRIVER, reference=PICTURE))


def test_control_pck_holds_against_the_pose_as_it_was_fed():
    torso = abs(60j + 6)
    for distance, share in ((0.19 * torso, 1), (0.21 * torso, 0)):
        evidence = seen(changed(DRIVER, shift=distance), changed(DRIVER, scale=3), control=DRIVER, size=(480, 480))
        assert value("control_pck", evidence) == share
    missing = seen(hidden(DRIVER, joint.LEFT_WRIST), DRIVER, control=DRIVER, size=(480, 480))
    assert value("control_pck", missing) == pytest.approx(11 / 12)
    no_body = hidden(DRIVER, joint.LEFT_SHOULDER, joint.RIGHT_SHOULDER, joint.LEFT_HIP, joint.RIGHT_HIP)
    assert "no torso" in reason("control_pck", seen(DRIVER, DRIVER, control=no_body, size=(480, 480)))


def test_noise_floor_of_a_jittered_driver_is_near_perfect_and_repeats():
    floor = {name: score.value for name, score in noise_floor(DRIVER, 16.0).items()}
    assert set(floor) == {metric.name for metric in MOTION_METRICS}
    assert 0 < floor["bone_angle_error"] < 3
    assert floor["motion_driving_accuracy"] > 0.99 > floor["motion_driving_area"] > 0.9
    assert floor["missing_bones"] == 0 == floor["motion_lag"]
    assert 1 < floor["motion_energy_ratio"] < 1.5
    assert 0.9 < floor["velocity_correlation"] < 1
    assert floor["retargeted_pck"] == floor["hand_confidence_ratio"] == 1
    assert noise_floor(DRIVER, 16.0) == noise_floor(DRIVER, 16.0) != noise_floor(DRIVER, 16.0, seed=1)


def test_noise_floor_of_an_estimator_is_what_it_finds_in_the_driver_encoded_again():
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 65, 67, 3), np.uint8)
    shown = []

    class Looks(Finds):
        def estimate(self, frames):
            shown.append(frames)
            return super().estimate(frames)

    floor = noise_floor(DRIVER, 16.0, frames, Looks(changed(DRIVER, turn=np.radians(2))))
    assert floor["bone_angle_error"].value == pytest.approx(2, abs=1e-3)
    assert len(shown) == 1
    assert shown[0].shape == (FRAMES, 64, 66, 3)
    assert not np.array_equal(shown[0], frames[:, :64, :66])
    assert noise_floor(DRIVER, 16.0, frames, Finds())["missing_bones"].value == 1


def test_noise_floor_needs_something_to_make_noise_of():
    with pytest.raises(SteadyDancerError, match="neither hips nor shoulders"):
        noise_floor(hidden(DRIVER, 5, 6, 11, 12), 16.0)
    with pytest.raises(ValueError, match="both"):
        noise_floor(DRIVER, 16.0, estimator=Finds(DRIVER))
