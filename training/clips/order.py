"""Which clips a global batch holds: a function of the step alone.

All clips of a batch have one size, so buckets (clips of one size) take turns. A cycle is as many batches as there are
clips; in it a bucket of n clips has n turns, which is as often as its share of the clips, and walks its clips exactly B
times (B clips a batch), each time in another order.
"""

from collections.abc import Sequence

import numpy as np

from infra.errors import SteadyDancerError
from training.clips.randomness import Randomness


class Order:
    """Rows of a data set by step, for ``buckets[row]`` and ``batch`` clips a step. Nothing depends on earlier calls."""

    def __init__(self, buckets: Sequence[str], batch: int, randomness: Randomness):
        """Raises SteadyDancerError if there is no clip."""
        if not len(buckets):
            raise SteadyDancerError("There is no clip to train on.", "Look at the dataset's report: were all rejected?")
        self._batch_size, self._randomness = batch, randomness
        self._names, self._bucket_of_row = np.unique(np.asarray(buckets, dtype=str), return_inverse=True)
        self._rows = [np.flatnonzero(self._bucket_of_row == bucket) for bucket in range(len(self._names))]
        self._cycle: tuple[int, np.ndarray, np.ndarray] | None = None
        self._epochs: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        """Batches of a cycle, after which every clip was read ``batch`` times: as many as there are clips."""
        return len(self._bucket_of_row)

    def batch(self, step: int) -> list[int]:
        """The rows of global batch ``step`` (from 0), in the order of their positions; all of one bucket.

        A bucket smaller than a batch comes up several times in it.
        """
        cycle, position = divmod(step, len(self))
        buckets, turns = self._turns_of(cycle)
        bucket = int(buckets[position])
        size = len(self._rows[bucket])
        first = (cycle * size + int(turns[position])) * self._batch_size
        return [self._sample(bucket, *divmod(number, size)) for number in range(first, first + self._batch_size)]

    def _sample(self, bucket: int, epoch: int, position: int) -> int:
        known = self._epochs.get(bucket)
        if known is None or known[0] != epoch:
            generator = self._randomness.generator(f"order/{self._names[bucket]}", epoch)
            known = self._epochs[bucket] = (epoch, generator.permutation(self._rows[bucket]))
        return int(known[1][position])

    def _turns_of(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """For each batch of the cycle its bucket, and how many batches of the cycle that bucket had before."""
        known = self._cycle
        if known is None or known[0] != cycle:
            buckets = self._randomness.generator("buckets", cycle).permutation(self._bucket_of_row)
            turns = np.empty_like(buckets)
            for bucket, rows in enumerate(self._rows):
                turns[buckets == bucket] = np.arange(len(rows))
            known = self._cycle = (cycle, buckets, turns)
        return known[1:]
