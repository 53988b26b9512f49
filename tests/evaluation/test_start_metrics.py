"""First frame, start jump and settle time: closed-form values, what they refuse, what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skeletons import ARM_AND_LEG, Finds, changed, dance, hidden, reason, seen, skeleton, value

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.registry import METRICS
from evaluation.metrics.settle_time import settled_at
from evaluation.metrics.start_gap import start_gap
from evaluation.metrics.start_gap_jump import EARLY, jump_ratio
from model.pose.tracks import PoseTrack

FPS = 16.0


def texture(frames=1, size=(32, 40), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 230, (frames, *size, 3), dtype=np.uint8)


def flat(*levels: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


def start(image: np.ndarray, reference: np.ndarray, ceiling: np.ndarray | None = None) -> Evidence:
    return Evidence(image[None], FPS, reference=reference, ceiling=ceiling)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -1), (-2, 2)])
def test_a_first_frame_shifted_by_up_to_two_pixels_is_the_reference(shift):
    reference = texture()[0]
    evidence = start(np.roll(reference, shift, axis=(0, 1)), reference)
    assert value("first_frame_psnr", evidence) == 100
    assert value("first_frame_ssim", evidence) == pytest.approx(1, abs=1e-9)


def test_three_pixels_are_no_shift():
    reference = texture()[0]
    moved = start(np.roll(reference, 3, axis=1), reference)
    assert value("first_frame_psnr", moved) < 15
    assert value("first_frame_ssim", moved) < 0.2


def test_the_gap_is_what_the_model_loses_beyond_its_codec():
    reference = texture()[0]
    codec = reference + np.uint8(1)  # squared error 1
    assert value("first_frame_gap", start(codec, reference, codec)) == 0
    assert value("first_frame_kept", start(codec, reference, codec)) == 1
    twice = start(reference + np.uint8(2), reference, codec)
    assert value("first_frame_gap", twice) == pytest.approx(20 * np.log10(2), abs=1e-9)
    assert value("first_frame_kept", twice) == 0
    assert value("first_frame_gap", start(reference, reference, codec)) == pytest.approx(20 * np.log10(255) - 100)
    assert value("first_frame_kept", start(reference, reference, codec)) == 1


@pytest.mark.parametrize(("share", "kept"), [(0.32, 1.0), (0.34, 0.0)])
def test_three_decibels_are_nearly_twice_the_squared_error(share, kept):
    reference = texture(size=(44, 104))[0]
    image = reference + np.uint8(1)
    image[:, 2 : 2 + round(100 * share)] += 1  # a squared error of 4 instead of 1
    evidence = start(image, reference, reference + np.uint8(1))
    assert value("first_frame_gap", evidence) == pytest.approx(10 * np.log10(1 + 3 * share), abs=1e-9)
    assert value("first_frame_kept", evidence) == kept


def test_first_frames_that_cannot_be_compared():
    reference = texture()[0]
    assert "40x32" in reason("first_frame_ssim", start(reference, reference[:16]))
    assert "smaller than 5 x 5" in reason("first_frame_psnr", start(reference[:4], reference[:4]))
    assert "smaller than 15 x 15" in reason("first_frame_ssim", start(reference[:14], reference[:14]))
    assert "round trip" in reason("first_frame_gap", start(reference, reference))


def jumps(name: str, evidence: Evidence) -> tuple[float, list]:
    score = METRICS[name].score(evidence)
    assert score.status == "ok", score.reason
    return score.value, list(score.curve)


def test_jump_of_known_steps():
    even, jump = flat(*range(0, 60, 3)), flat(0, 40, *range(42, 72, 2))
    assert jumps("start_jump_pixel", Evidence(even, FPS)) == (1, [None] + [3.0] * 19)
    ratio, steps = jumps("start_jump_pixel", Evidence(jump, FPS))
    assert (ratio, steps[1]) == (20, max(steps[1:]))
    late = flat(*[0] * (EARLY + 1), *range(40, 70, 2))  # step 8 is no start any more
    assert jumps("start_jump_pixel", Evidence(late, FPS))[0] == 0


def test_jump_relative_to_a_driver_that_starts_fast_itself():
    jump, twice = flat(0, 40, *range(42, 72, 2)), flat(0, 80, *range(82, 112, 2))
    evidence = Evidence(twice, FPS, driving_frames=jump, driving_fps=FPS)
    assert value("start_jump_pixel_relative", evidence) == 2
    evidence.driving_frames = twice
    assert value("start_jump_pixel_relative", evidence) == 1


@pytest.mark.parametrize("rate", [0.5, 0.75, 1.0])
def test_a_driver_of_a_lower_frame_rate_is_not_frozen(rate):
    own = flat(0, 30, *range(32, 80, 2))  # the video shows each of its frames once or twice
    moments = (np.arange(20) * rate).astype(int)
    evidence = Evidence(flat(*range(0, 60, 3)), FPS, driving_frames=own, driving_fps=rate * FPS, time_map=moments)
    assert value("start_jump_pixel_relative", evidence) == pytest.approx(1 / 15)
    evidence.time_map = None
    assert METRICS["start_jump_pixel_relative"].score(evidence).value == pytest.approx(1 / 15)


@given(
    st.lists(st.integers(1, 1000), min_size=EARLY + 1, max_size=40),
    st.integers(-10, 10),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_the_jump_ratio_knows_no_unit_and_no_order_within_its_two_parts(steps, power, random):
    early, later = steps[:EARLY], steps[EARLY:]
    ratio = jump_ratio(np.array(steps, float))
    assert ratio == max(early) / np.median(later)
    random.shuffle(early)
    random.shuffle(later)
    assert jump_ratio(np.array(early + later) * 2.0**power) == ratio


def test_a_jump_in_features():
    angles = np.cumsum([0, 0.6, *[0.2] * 14])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def embedder(backbone, pictures, others):
        assert backbone == "dreamsim"
        return (7 * rows).astype(np.float32)  # features of any length

    evidence = Evidence(flat(*range(16)), FPS, embedder=embedder)
    assert value("start_jump_dreamsim", evidence) == pytest.approx((1 - np.cos(0.6)) / (1 - np.cos(0.2)), rel=1e-4)


def turning(first: float, later: float, frames=20, fast=1) -> PoseTrack:
    """All 8 bones of arms and legs turn by ``first`` degrees in the first ``fast`` steps, by ``later`` afterwards."""
    angle = np.radians(np.cumsum([0.0, *[first] * fast, *[later] * (frames - 1 - fast)]))
    return skeleton(dict.fromkeys(ARM_AND_LEG, angle))


def test_a_jump_of_the_pose_in_proportion_to_the_faster_of_video_and_driver():
    made = turning(40, 4)
    assert value("start_jump_pose", seen(made, turning(2, 2))) == pytest.approx(10, rel=1e-4)
    assert value("start_jump_pose", seen(made, turning(8, 8))) == pytest.approx(5, rel=1e-4)
    assert value("start_jump_pose", seen(made, turning(8, 2, fast=1))) == pytest.approx(10, rel=1e-4)
    assert value("start_jump_pose", seen(made, turning(8, 2, fast=3))) == pytest.approx(5, rel=1e-4)  # 3 of 19
    assert value("start_jump_pose", seen(turning(0, 0), turning(8, 8))) == 0


def test_a_jump_while_the_person_is_unseen_is_not_guessed():
    track = hidden(turning(40, 4), *range(17), frames=slice(0, 1))
    assert value("start_jump_pose", seen(track, turning(2, 2))) == pytest.approx(1, rel=1e-4)
    gone = hidden(turning(40, 4), *range(17), frames=slice(0, EARLY + 1))
    assert "before step 8" in reason("start_jump_pose", seen(gone, turning(2, 2)))


def test_videos_without_a_jump_ratio():
    assert "frozen" in reason("start_jump_pixel", Evidence(flat(0, 40, *[40] * 15), FPS))
    assert "too few" in reason("start_jump_pixel", Evidence(flat(*range(EARLY + 1)), FPS))
    assert jumps("start_jump_pixel", Evidence(flat(*range(EARLY + 2)), FPS))[0] == 1
    assert "too few" in reason("start_jump_pose", seen(turning(1, 1, 5), turning(1, 1, 5)))
    still = Evidence(flat(*range(20)), FPS, driving_frames=flat(*[0] * 20), driving_fps=FPS)
    assert "of the driver" in reason("start_jump_pixel_relative", still)
    assert "frozen" in reason("start_jump_pose", seen(turning(0, 0), turning(0, 0)))
    assert "no backbone" in reason("start_jump_dreamsim", Evidence(flat(*range(20)), FPS))


@given(degrees=st.floats(-170, 170), scale=st.floats(0.3, 3), shift=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_start_gap_is_the_mean_angle_over_the_bones(degrees, scale, shift):
    driver = skeleton({"left_upper_arm": np.pi / 2 + np.radians(degrees)})
    gap = start_gap(changed(skeleton(), scale=scale, shift=shift), driver)
    assert gap == pytest.approx(abs(degrees) / 12, abs=1e-3)


def test_start_gap_looks_at_the_first_frame_and_at_bones_both_show():
    driver = skeleton(dance(9))
    assert start_gap(driver[:1], driver) == pytest.approx(0, abs=1e-4)
    upright = skeleton({"left_upper_arm": np.pi / 2 + 0.2})
    assert start_gap(hidden(skeleton(), *range(11, 17)), upright) == pytest.approx(np.degrees(0.2) / 5, abs=1e-3)
    with pytest.raises(NotComputable, match="no bone in common"):
        start_gap(hidden(skeleton(), *range(17)), upright)


def late(frames: int, off: int, degrees: float = 30.0) -> tuple[PoseTrack, PoseTrack]:
    """A dancer whose 8 limbs are ``degrees`` off for ``off`` frames, 2/3 of that over 12 bones, and its driver."""
    angles = dance(frames)
    wrong = np.radians(degrees) * (np.arange(frames) < off)
    return skeleton({limb: angle + wrong for limb, angle in angles.items()}), skeleton(angles)


@pytest.mark.parametrize(("off", "seconds"), [(0, 0.0), (8, 0.5), (29, 29 / 16)])
def test_settle_time_of_a_dancer_who_joins_in_late(off, seconds):
    made, driver = late(32, off)
    assert value("settle_time", seen(made, driver)) == pytest.approx(seconds)
    assert value("settled", seen(made, driver)) == 1


def test_who_never_settles_counts_with_the_whole_video():
    for off in (30, 32):  # two last frames are no three
        evidence = seen(*late(32, off))
        assert (value("settle_time", evidence), value("settled", evidence)) == (2, 0)
    assert value("settled", seen(*late(32, 32, degrees=22))) == 1  # 14.7 degrees on average


def test_a_frozen_dancer_does_not_settle():
    driver = skeleton({limb: np.pi / 2 + 1.5 + 0.3 * np.sin(np.arange(48)) for limb in ARM_AND_LEG})
    frozen = skeleton(frames=48)
    assert (value("settle_time", seen(frozen, driver)), value("settled", seen(frozen, driver))) == (3, 0)


def test_an_unseen_person_has_not_settled():
    made, driver = late(32, 0)
    made = hidden(made, *range(7, 17), frames=slice(1, 8))  # a shoulder line alone is not enough to judge by
    assert value("settle_time", seen(made, driver)) == 0.5
    assert "too few" in reason("settle_time", seen(made[:2], driver[:2]))
    nobody = Evidence(flat(0, 0, 0), FPS, driving=driver, driving_fps=FPS, estimator=Finds())
    assert "nobody" in reason("settled", nobody)


@given(st.lists(st.sampled_from([3.0, 15.0, 15.1, np.nan]), max_size=12))
def test_settled_at_is_the_first_run_of_three(errors):
    near = [error <= 15 for error in errors]
    runs = [t for t in range(len(near) - 2) if all(near[t : t + 3])]
    assert settled_at(np.array(errors)) == (runs[0] if runs else None)
