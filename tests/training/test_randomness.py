"""Draws are functions of a global sample index, stratified over a global batch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.randomness import Randomness, shifted_sigma

seeds, stages = st.integers(0, 2**40), st.sampled_from([1, 2, 3])


@given(seeds, stages, st.integers(0, 50), st.integers(1, 300))
def test_order_of_an_epoch_is_a_permutation(seed, stage, epoch, samples):
    order = Randomness(seed, stage).order(epoch, samples)
    assert sorted(order) == list(range(samples))
    if samples > 8:
        assert list(order) != list(Randomness(seed, stage).order(epoch + 1, samples))


@given(seeds, st.integers(1, 40), st.sampled_from([(1, 4), (2, 2), (4, 1)]))
def test_samples_and_draws_do_not_depend_on_the_number_of_workers(seed, samples, shape):
    world, accumulation = shape
    seen = {}
    for step in range(5):
        for rank in range(world):
            randomness = Randomness(seed, 1)  # every worker has its own
            for micro in range(accumulation):
                index = step * 4 + micro * world + rank
                draws = randomness.draws(index, 4, text_dropout=0.3, pose_dropout=0.3, pose_simulation=0.5)
                seen[index] = (randomness.sample(index, samples), draws)
    alone = Randomness(seed, 1)
    for index in range(20):
        draws = alone.draws(index, 4, text_dropout=0.3, pose_dropout=0.3, pose_simulation=0.5)
        assert seen[index] == (alone.sample(index, samples), draws)


@given(seeds, st.integers(1, 64), st.integers(0, 1000))
def test_timesteps_of_a_global_batch_fall_one_into_each_stratum(seed, batch, step):
    randomness = Randomness(seed, 2)
    quantiles = [randomness.draws(step * batch + i, batch).quantile for i in range(batch)]
    assert sorted(int(q * batch) for q in quantiles) == list(range(batch))


def test_an_epoch_reads_every_sample_once_also_where_batches_straddle_epochs():
    randomness = Randomness(0, 1)
    for epoch in range(3):
        assert sorted(randomness.sample(epoch * 7 + i, 7) for i in range(7)) == list(range(7))


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
    assert 0 <= sigma <= 1 + 1e-12 and (sigma - quantile) * (shift - 1) >= -1e-12
    assert shifted_sigma(0, shift) == 0 and abs(shifted_sigma(1, shift) - 1) < 1e-12
