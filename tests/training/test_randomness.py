"""Draws are functions of a global sample index, stratified over a global batch."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import config
from training.clips.randomness import Randomness, shifted_sigma, sigma_of

seeds = st.integers(0, 2**40)
DEMO = config.load("demo").train.stages[0]


@settings(max_examples=40)
@given(seeds, st.integers(1, 64), st.integers(0, 1000))
def test_timesteps_of_a_global_batch_fall_one_into_each_stratum(seed, batch, step):
    randomness = Randomness(seed, 2)
    quantiles = [randomness.draws(step * batch + i, batch).quantile for i in range(batch)]
    assert sorted(int(q * batch) for q in quantiles) == list(range(batch))


def test_strata_are_not_tied_to_a_position_in_the_batch():
    randomness = Randomness(1, 1)
    first = [int(randomness.draws(step * 8, 8).quantile * 8) for step in range(200)]
    assert set(first) == set(range(8))


@settings(max_examples=20)
@given(seeds, st.integers(0, 2**40))
def test_noise_is_standard_normal_and_repeats(seed, index):
    draws = Randomness(seed, 1).draws(index, 1)
    noise = draws.noise((16, 3, 8, 8))
    assert noise.dtype == np.float32 and np.array_equal(noise, Randomness(seed, 1).draws(index, 1).noise((16, 3, 8, 8)))
    assert abs(noise.mean()) < 0.12 and abs(noise.std() - 1) < 0.1
    assert not np.array_equal(noise, Randomness(seed, 1).draws(index + 1, 1).noise((16, 3, 8, 8)))
    assert not np.array_equal(noise, Randomness(seed, 2).draws(index, 1).noise((16, 3, 8, 8)))


def test_probabilities_are_met():
    randomness = Randomness(3, 3)
    draws = [randomness.draws(i, 2, text_dropout=0.1, pose_dropout=0.3, pose_simulation=0.5) for i in range(3000)]
    assert abs(np.mean([d.drop_text for d in draws]) - 0.1) < 0.03
    assert abs(np.mean([d.drop_pose for d in draws]) - 0.3) < 0.03
    assert abs(np.mean([d.t_star is not None for d in draws]) - 0.5) < 0.03
    stars = [d.t_star for d in draws if d.t_star]
    assert all(abs(stars.count(t) / len(stars) - 1 / 3) < 0.05 for t in (2, 3, 4))


@given(st.floats(0, 1), st.floats(0.5, 12))
def test_shift_moves_noise_levels_up_and_keeps_the_ends(quantile, shift):
    sigma = shifted_sigma(quantile, shift)
    assert sigma == sigma_of(quantile, DEMO.model_copy(update={"timestep_shift": shift}))
    assert 0 <= sigma <= 1 + 1e-12 and (sigma - quantile) * (shift - 1) >= -1e-12
    assert shifted_sigma(0, shift) == 0 and abs(shifted_sigma(1, shift) - 1) < 1e-12


def test_logit_normal_noise_levels_are_sigmoids_of_a_standard_normal():
    stage = DEMO.model_copy(update={"timestep_sampling": "logit_normal", "timestep_shift": 1.0})
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    normals = np.array([np.log(s / (1 - s)) for s in (sigma_of(float(q), stage) for q in quantiles)])
    assert abs(normals.mean()) < 1e-3 and abs(normals.std() - 1) < 1e-3
    assert sigma_of(NormalDist().cdf(1.0), stage) == pytest.approx(1 / (1 + np.exp(-1)))
    assert sigma_of(0.0, stage) == 0 and sigma_of(1.0, stage) == 1
    assert sigma_of(0.5, stage.model_copy(update={"timestep_shift": 5.0})) == pytest.approx(5 / 6)
