"""The pigeonhole bootstrap: an interval for differences that share driving videos and reference images alike."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from evaluation.pairs import Pair
from evaluation.statistics.clusters import CONFIDENCE

DRAWS = 2000


def two_way_interval(
    values: Mapping[str, float], pairs: Mapping[str, Pair], seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean of the drivers' means; None with fewer than two of either factor.

    Drivers and references are drawn anew with replacement, each by itself, and a pair counts as often as its driver
    times its reference were drawn (Owen 2007, "The pigeonhole bootstrap"). It looks wider than the t-interval where
    references matter; with a dozen drivers percentiles are a little too narrow, so it stands beside that one and does
    not replace it. The same seed and values give the same bounds. Draws that meet no pair are left out.
    """
    ids = sorted(values)
    drivers, driver_P = np.unique([pairs[pair].cluster for pair in ids], return_inverse=True)
    references, reference_P = np.unique([pairs[pair].reference for pair in ids], return_inverse=True)
    if min(len(drivers), len(references)) < 2:
        return None
    count_BD, count_BR = _draws(seed, len(drivers), len(references))
    share_DR, value_DR = np.zeros((2, len(drivers), len(references)))
    share_P = 1 / np.bincount(driver_P)[driver_P]
    np.add.at(share_DR, (driver_P, reference_P), share_P)
    np.add.at(value_DR, (driver_P, reference_P), share_P * [values[pair] for pair in ids])
    shares_B, values_B = (((count_BD @ each_DR) * count_BR).sum(1) for each_DR in (share_DR, value_DR))
    means_B = values_B[shares_B > 0] / shares_B[shares_B > 0]
    low, high = np.quantile(means_B, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


@lru_cache(maxsize=8)
def _draws(seed: int, *sizes: int) -> list[np.ndarray]:
    """(B, size) of each size: how often each is drawn when ``size`` are drawn with replacement."""
    random = np.random.default_rng(seed)
    return [random.multinomial(size, np.full(size, 1 / size), size=DRAWS).astype(np.float64) for size in sizes]
