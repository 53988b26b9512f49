"""Means of scores whose pairs share driving videos: what was sampled is the driver, not the pair."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.pairs import Pair

CONFIDENCE, POWER = 0.95, 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` pairs of ``n_clusters`` driving videos, with the bounds of its interval.

    What cannot be said is None: a mean of no values, an interval of fewer than two drivers.
    """

    n: int
    n_clusters: int
    mean: float | None
    low: float | None
    high: float | None


def estimate(values: Mapping[str, float], pairs: Mapping[str, Pair]) -> Estimate:
    """The cluster-t estimate of ``values`` by pair id; ``pairs`` says by whom each is driven.

    Every driving video counts the same, whatever its number of pairs: the estimate is the mean of the drivers' means.
    Drivers are what a benchmark has few of and what a claim about other videos ranges over; weighting by pairs would
    let a driver weigh more because more of its scores could be computed. With equal numbers of pairs, as benchmarks
    have them, this is the mean over pairs too.
    """
    means_G = cluster_means(values, pairs)
    mean = float(means_G.mean()) if len(means_G) else None
    low, high = map(float, t_interval(means_G)) if len(means_G) > 1 else (None, None)
    return Estimate(len(values), len(means_G), mean, low, high)


def estimates(values_P: np.ndarray, groups_SP: np.ndarray, cluster_P: np.ndarray) -> list[Estimate]:
    """:func:`estimate` of each group of pairs at once: nan in ``values_P`` is no value, ``groups_SP`` says who belongs
    to a group, ``cluster_P`` numbers the drivers from 0.
    """
    from scipy.special import stdtrit

    known_P = ~np.isnan(values_P)
    counted_PG = known_P[:, None] * (cluster_P[:, None] == np.arange(cluster_P.max(initial=-1) + 1))
    count_SG = groups_SP.astype(np.float64) @ counted_PG
    sum_SG = groups_SP.astype(np.float64) @ (np.where(known_P, values_P, 0)[:, None] * counted_PG)
    there_SG, mean_SG = count_SG > 0, sum_SG / np.maximum(count_SG, 1)
    clusters_S = there_SG.sum(1)
    mean_S = mean_SG.sum(1) / np.maximum(clusters_S, 1)
    freedom_S = np.maximum(clusters_S - 1, 1)
    variance_S = (there_SG * (mean_SG - mean_S[:, None]) ** 2).sum(1) / freedom_S
    half_S = stdtrit(freedom_S, (1 + CONFIDENCE) / 2) * np.sqrt(variance_S / np.maximum(clusters_S, 1))
    found = []
    for n, clusters, mean, half in zip(count_SG.sum(1), clusters_S, mean_S.tolist(), half_S.tolist(), strict=True):
        low, high = (mean - half, mean + half) if clusters > 1 else (None, None)
        found.append(Estimate(int(n), int(clusters), mean if clusters else None, low, high))
    return found


def cluster_means(values: Mapping[str, float], pairs: Mapping[str, Pair]) -> np.ndarray:
    """(G,): the mean of each driving video's values, ascending, so that no order or name changes a bit of a result."""
    clusters: dict[str, list[float]] = {}
    for pair, value in values.items():
        clusters.setdefault(pairs[pair].cluster, []).append(value)
    return np.sort([np.mean(sorted(cluster)) for cluster in clusters.values()])


def t_interval(means_XG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of the mean over the last axis (G >= 2): mean ± t(0.975, G - 1) · sd / √G.

    Exact for normal cluster means, however much the pairs of a cluster are alike.
    """
    mean, error = means_XG.mean(-1), _standard_error(means_XG)
    half = quantile((1 + CONFIDENCE) / 2, means_XG.shape[-1] - 1) * error
    return mean - half, mean + half


def minimum_detectable_effect(means_G: np.ndarray) -> float | None:
    """The true difference that a 95 % two-sided test of so many clusters finds with 80 % power; None for fewer than 2.

    (t(0.975, G - 1) + t(0.8, G - 1)) · sd / √G; for 12 clusters 3.08 · sd / √12.
    """
    if len(means_G) < 2:
        return None
    freedom = len(means_G) - 1
    reach = quantile((1 + CONFIDENCE) / 2, freedom) + quantile(POWER, freedom)
    return float(reach * _standard_error(means_G))


def by_id(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """Pairs as the functions of this room take them."""
    return {pair.id: pair for pair in pairs}


def _standard_error(means_XG: np.ndarray) -> np.ndarray:
    return means_XG.std(-1, ddof=1) / np.sqrt(means_XG.shape[-1])


def quantile(probability: float, freedom: int) -> float:
    """Of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))
