"""Strata follow from the poses of the inputs alone."""

import numpy as np
import pytest
from benchmark_files import FPS, standing

from evaluation.benchmarks.strata import measured, with_tertiles
from evaluation.pairs import Pair
from model.pose.tracks import PoseTrack


def test_start_gap_is_the_angle_between_the_poses_and_ignores_size_and_place():
    turned = measured(standing(1, 0.0), standing(9, np.radians(30)), FPS)
    # 8 of the 12 bones hang by 30 degrees more, the trunk is the same
    assert turned["start_gap_deg"] == pytest.approx(20, abs=1e-3)
    larger = standing(1, 0.0, scale=2.5)
    larger.keypoints[:] += 40
    assert measured(larger, standing(9, np.radians(30)), FPS) == turned
    assert measured(standing(1), standing(9), FPS)["start_gap_deg"] == 0


def test_motion_is_degrees_per_second_and_says_high_or_low():
    turn = np.radians(6)
    fast = measured(None, standing(20, 0, turn=turn), 15.0)
    assert fast["motion_deg_s"] == pytest.approx(90 * 8 / 12, rel=0.02)
    assert (fast["dynamics"], measured(None, standing(20), 15.0)["dynamics"]) == ("high", "low")
    assert "motion_deg_s" not in measured(None, standing(1), 15.0)


def test_the_proportion_gap_is_of_limbs_and_not_of_size():
    driver = standing(6)
    assert measured(standing(1, scale=0.4), driver, FPS)["proportion_gap"] == pytest.approx(0, abs=1e-3)
    child = standing(1)
    for parent, joint in ((11, 13), (12, 14)):
        shift = 0.5 * (child.keypoints[:, joint] - child.keypoints[:, parent])
        child.keypoints[:, [joint, joint + 2]] -= shift[:, None]
    # one of seven parts is half as long
    assert measured(child, driver, FPS)["proportion_gap"] == pytest.approx(np.log(2) / 7, rel=1e-3)


def test_half_a_body_is_told_and_counted_as_not_visible():
    half = standing(1)
    half.scores[:, 13:17] = 0
    strata = measured(half, standing(6), FPS)
    assert (strata["framing"], strata["driving_framing"]) == ("half", "full")
    assert strata["visibility_gap"] == pytest.approx(4 / 12, abs=1e-4)
    assert measured(standing(1), standing(6), FPS)["visibility_gap"] == 0


def test_what_cannot_be_said_is_left_out():
    nobody = PoseTrack(np.zeros((3, 133, 2), np.float32), np.zeros((3, 133), np.float32))
    assert measured(None, None, FPS) == {}
    assert set(measured(nobody[:1], nobody, FPS)) == {"framing", "driving_framing"}


def test_thirds_of_the_start_gap_are_among_different_source_pairs():
    gaps = [5.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    pairs = [Pair(f"p{n}", "different_source", "r", "d", "", {"start_gap_deg": g}) for n, g in enumerate(gaps)]
    pairs += [Pair("same", "same_source", "d", "d", "", {"start_gap_deg": 0.0})]
    pairs += [Pair("unknown", "different_source", "r", "d", "", {})]
    named = {pair.id: pair.strata.get("start_gap") for pair in with_tertiles(pairs)}
    assert [named[f"p{n}"] for n in range(6)] == ["small"] * 2 + ["middle"] * 2 + ["large"] * 2
    assert named["same"] is None and named["unknown"] is None
    assert with_tertiles(pairs[-2:]) == pairs[-2:]


@pytest.mark.filterwarnings("error")
def test_a_body_without_a_size_has_no_proportions():
    for reference, driver in ((standing(1, scale=0), standing(6)), (standing(1), standing(6, scale=0))):
        assert "proportion_gap" not in measured(reference, driver, FPS)
