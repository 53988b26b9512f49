"""How much stronger a model is than another, from who was preferred to whom."""

import numpy as np

from infra.errors import SteadyDancerError

TIE = 0.5
"""Wins that a "same" is for either side."""
PRIOR = 0.5
"""Wins of every model over every other before anybody voted: one made-up "same" between each two."""
TOLERANCE, MOST_STEPS = 1e-10, 100_000
CONFIDENCE = 0.95
DRAWS = 2000


def strengths(wins_XMM: np.ndarray) -> np.ndarray:
    """(..., M) log strengths, mean 0: model i is preferred to j with probability 1 / (1 + exp(s_j - s_i)).

    ``wins_XMM[..., i, j]`` is how often i was preferred to j, a tie as half a win each. To it half a win of each over
    each is added, so that a model that always won, or two that never met, have finite strengths; of two models alone
    the difference is ln((wins + 0.5) / (losses + 0.5)). The maximum of the likelihood (Bradley and Terry 1952) by
    minorisation-maximisation (Hunter 2004), from whose steps the likelihood never falls. Raises SteadyDancerError if
    they do not settle.
    """
    wins_XMM = np.asarray(wins_XMM, np.float64) + PRIOR * (1 - np.eye(np.shape(wins_XMM)[-1]))
    met_XMM, won_XM = wins_XMM + wins_XMM.swapaxes(-1, -2), wins_XMM.sum(-1)
    log_XM = np.zeros(won_XM.shape)
    for _ in range(MOST_STEPS):
        power_XM = np.exp(log_XM)
        expected_XM = (met_XMM / (power_XM[..., :, None] + power_XM[..., None, :])).sum(-1)
        stepped_XM = np.log(won_XM / expected_XM)
        stepped_XM -= stepped_XM.mean(-1, keepdims=True)
        moved, log_XM = np.abs(stepped_XM - log_XM).max(initial=0.0), stepped_XM
        if moved < TOLERANCE:
            return log_XM
    raise SteadyDancerError(
        f"Strengths do not settle in {MOST_STEPS:,} steps: groups of models hardly ever met.",
        "Collect votes between them.",
    )


def bootstrap(wins_PMM: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The (M,) bounds of the 95 % percentile intervals of :func:`strengths`; None for fewer than two pairs.

    ``wins_PMM`` has the wins on each pair of the benchmark. Pairs are drawn anew with all of their votes, 2,000 times:
    votes on one pair are not independent, whoever gave them.
    """
    count = len(wins_PMM)
    if count < 2:
        return None
    drawn_BP = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    found_BM = strengths(np.tensordot(drawn_BP, wins_PMM, axes=1))
    low_M, high_M = np.quantile(found_BM, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2), axis=0)
    return low_M, high_M
