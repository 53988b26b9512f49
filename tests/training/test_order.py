"""Which clips a step reads, with clips of several sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from training.clips.order import Order
from training.clips.randomness import Randomness

buckets = st.lists(st.sampled_from(["64x48", "48x64", "64x64"]), min_size=1, max_size=25)
batches, seeds = st.integers(1, 9), st.integers(0, 2**40)


@settings(max_examples=50)
@given(buckets, batches, seeds, st.integers(0, 20))
def test_a_cycle_reads_every_clip_as_often_as_a_batch_is_large_and_sizes_never_mix(sizes, batch, seed, cycle):
    order = Order(sizes, batch, Randomness(seed, 1))
    read = [order.batch(step) for step in range(cycle * len(sizes), (cycle + 1) * len(sizes))]
    assert len(order) == len(sizes) and all(len(rows) == batch for rows in read)
    assert all(len({sizes[row] for row in rows}) == 1 for rows in read)
    assert sorted(row for rows in read for row in rows) == sorted([*range(len(sizes))] * batch)


@settings(max_examples=50)
@given(buckets, batches, seeds)
def test_the_clips_of_a_size_are_walked_in_permutations(sizes, batch, seed):
    order = Order(sizes, batch, Randomness(seed, 2))
    walks = {size: [] for size in sizes}
    for step in range(3 * len(sizes)):
        rows = order.batch(step)
        walks[sizes[rows[0]]] += rows
    for size, walk in walks.items():
        clips = [row for row, of in enumerate(sizes) if of == size]
        epochs = [walk[first : first + len(clips)] for first in range(0, len(walk), len(clips))]
        assert len(epochs) == 3 * batch and all(sorted(epoch) == clips for epoch in epochs)


@settings(max_examples=30)
@given(buckets, batches, seeds, st.lists(st.integers(0, 10**7), min_size=1, max_size=8))
def test_a_batch_depends_on_nothing_but_its_step(sizes, batch, seed, steps):
    walked = Order(sizes, batch, Randomness(seed, 3))
    for step in [*steps, *reversed(steps), *range(3)]:
        assert walked.batch(step) == Order(sizes, batch, Randomness(seed, 3)).batch(step)


def test_epochs_cycles_seeds_and_stages_differ():
    sizes = ["64x48"] * 12 + ["48x64"] * 12

    def cycle(seed=0, stage=1, number=0, of=sizes):
        order = Order(of, 3, Randomness(seed, stage))
        return [order.batch(step) for step in range(number * len(of), (number + 1) * len(of))]

    turns = [[sizes[rows[0]] for rows in read] for read in (cycle(), cycle(number=1))]
    assert turns[0] != turns[1] and turns[0] != sorted(turns[0])
    assert len({str(cycle(*which)) for which in ((0, 1), (1, 1), (0, 2), (0, 1, 1))}) == 4
    one_size = sum(cycle(of=sizes[:12]), [])
    assert one_size[:12] != one_size[12:24] and sorted(one_size[:12]) == sorted(one_size[12:24]) == [*range(12)]


def test_no_clips_are_refused():
    with pytest.raises(SteadyDancerError, match="no clip"):
        Order([], 2, Randomness(0, 1))
