"""The negative pose and the simulated jump. The official numbers are test_pose_parity's."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose import wholebody as wb
from model.pose.perturbation import negative, official_draws, rescale, simulate_discontinuity, stretched
from model.pose.tracks import PoseTrack

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=20, deadline=None)


def random_track(seed, frames=4, low=0.5):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(20, 460, (frames, 133, 2)).astype(np.float32)
    return PoseTrack(keypoints, rng.uniform(low, 1, (frames, 133)).astype(np.float32))


def close(a, b, tolerance=0.02):
    return np.abs(a - b).max() < tolerance


def test_the_official_draws_are_pythons_in_the_official_order():
    random.seed(5)
    drawn = [[random.uniform(*each) for each in ((-0.2, 0.2), (-0.2, 0.2), (0.7, 1.3), (0.6, 1.4))] for _ in range(3)]
    scale, aspect = official_draws(5, 3)
    assert np.array_equal(np.stack([scale, aspect], axis=1), np.array(drawn)[:, 2:])
    track = random_track(0, 3)
    wrong, (place, _) = stretched(track, scale, aspect), wb.neck(track.keypoints, track.scores)
    assert close(wrong.keypoints[:, :23], rescale(track.keypoints, place, scale, aspect)[:, :23])
    with pytest.raises(SteadyDancerError, match="3 scales and 3 aspects for 2"):
        stretched(track[:2], scale, aspect)


@some
@given(seeds)
def test_the_negative_pose_is_a_stretch_about_the_neck_within_bounds(seed):
    track = random_track(seed)
    wrong = negative(track, np.random.default_rng(seed))
    again = negative(track, np.random.default_rng(seed))
    assert np.array_equal(wrong.keypoints, again.keypoints) and np.array_equal(wrong.scores, track.scores)
    necks = [wb.neck(each.keypoints, each.scores)[0][:, None] for each in (track, wrong)]
    assert close(necks[0], necks[1])
    before, after = track.keypoints - necks[0], wrong.keypoints - necks[1]
    inside = [np.diff(each.keypoints[:, wb.FACE], axis=1) for each in (track, wrong)]
    assert close(*inside) and not close(track.keypoints[:, wb.FACE], wrong.keypoints[:, wb.FACE], 1.0)
    limbs = [wb.LEFT_WRIST, wb.RIGHT_ANKLE, wb.LEFT_HAND.start]
    stretch = (after[:, limbs] * before[:, limbs]).sum(axis=1) / (before[:, limbs] ** 2).sum(axis=1)
    assert close(after[:, limbs], stretch[:, None] * before[:, limbs])
    assert (stretch[:, 1] >= 0.7 - 1e-3).all() and (stretch[:, 1] <= 1.3 + 1e-3).all()
    aspect = stretch[:, 0] / stretch[:, 1]
    assert (aspect >= 0.6 - 1e-3).all() and (aspect <= 1.4 + 1e-3).all()
    assert len(set(stretch[:, 1].tolist())) == len(track)


@some
@given(seeds, st.integers(2, 4))
def test_a_discontinuity_replaces_the_second_pose_only(seed, t_star):
    track = random_track(seed, 6, low=0.0)
    jump = simulate_discontinuity(track, t_star)
    others = [0, 2, 3, 4, 5]
    assert np.array_equal(jump.keypoints[others], track.keypoints[others])
    assert np.array_equal(jump.scores[others], track.scores[others])
    assert close(t_star * (jump.keypoints[1] - track.keypoints[0]), track.keypoints[t_star] - track.keypoints[0], 0.01)
    assert (jump.scores[1] <= track.scores[0]).all() and (jump.scores[1] <= track.scores[t_star]).all()


@pytest.mark.parametrize("t_star", [1, 6])
def test_a_discontinuity_needs_a_later_pose(t_star):
    with pytest.raises(SteadyDancerError, match="t_star"):
        simulate_discontinuity(random_track(0, 6), t_star)
