"""The sign-flip test: could the drivers' mean differences as well have been of the other sign?"""

from functools import lru_cache

import numpy as np

MOST_EXACT = 16
"""Up to so many clusters every assignment of signs is counted: 65,536."""
DRAWS = 19_999
ROUNDING = 1e-9


def sign_flip_p(means_G: np.ndarray, seed: int = 0) -> float | None:
    """The two-sided p of "the differences are symmetric about 0", from cluster means; None for fewer than two.

    The share of all 2^G assignments of signs whose sum is at least as far from 0 as the one found. Above 16 clusters
    it is estimated from 19,999 seeded draws, with one added to both counts, so that it is never 0 and stays valid
    (Phipson and Smyth 2010). It needs neither normality nor equal variances.
    """
    if len(means_G) < 2:
        return None
    sizes_G = np.sort(np.abs(means_G))
    reached = abs(np.sum(means_G)) - ROUNDING * sizes_G.sum()  # a tie counts, whichever way it was rounded
    if len(sizes_G) <= MOST_EXACT:
        return float(np.mean(np.abs(_signs(len(sizes_G)) @ sizes_G) >= reached))
    drawn = np.random.default_rng(seed).choice((-1.0, 1.0), (DRAWS, len(sizes_G)))
    return float((1 + np.sum(np.abs(drawn @ sizes_G) >= reached)) / (1 + DRAWS))


@lru_cache
def _signs(count: int) -> np.ndarray:
    """(2^(count - 1), count): one of each assignment and its opposite, which are equally far from 0."""
    return 2.0 * (np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1) - 1
