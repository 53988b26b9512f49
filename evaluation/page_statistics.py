"""What the comparison page says over pairs: what one model is better than another by, and what each costs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.comparison import Comparison
from evaluation.metrics.metric import OK
from evaluation.statistics.clusters import estimates

ALL = ""
Gain = tuple[int, int, float | None, float | None, float | None, float | None, float | None]
"""Pairs, driving videos, mean of the gain, low, high; then the means of the first's and of the second's values."""


def gains_of(comparison: Comparison, pairs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Gain]]]:
    """What the second of two models is better by: by metric id, their numbers ("0 1"), and stratum ("name=value").

    A pair's gain is the first's badness minus the second's (:meth:`evaluation.metrics.metric.Metric.badness`): positive
    is better whichever way the metric goes, and with a target it is how much nearer the second is. The stratum "" has
    all ``pairs``, which are those of :func:`evaluation.page_pairs.pairs_of`.
    """
    place = {pair["id"]: number for number, pair in enumerate(pairs)}
    strata = {ALL: np.ones(len(pairs), bool)}
    for number, pair in enumerate(pairs):
        for name, value in pair["strata"].items():
            strata.setdefault(f"{name}={value}", np.zeros(len(pairs), bool))[number] = True
    groups_SP = np.stack(list(strata.values()))
    cluster_of = {pair.id: pair.cluster for pair in comparison.pairs}
    _, cluster_P = np.unique([cluster_of[pair["id"]] for pair in pairs], return_inverse=True)
    empty_MP = np.full((len(comparison.models), len(pairs)), np.nan)
    values: dict[str, np.ndarray] = {}
    badness: dict[str, np.ndarray] = {}
    for row in comparison.scores:
        value_MP = values.setdefault(row["metric_id"], empty_MP.copy())
        badness_MP = badness.setdefault(row["metric_id"], empty_MP.copy())
        if row["status"] == OK:
            at = comparison.models.index(row["model"]), place[row["pair"]]
            value_MP[at], badness_MP[at] = row["value"], row["badness"]
    two_models = list(combinations(range(len(comparison.models)), 2))

    def by_stratum(metric_id: str, two: tuple[int, int]) -> dict[str, Gain]:
        value_2P, badness_2P = (of_all[metric_id][list(two)] for of_all in (values, badness))
        return dict(zip(strata, _gains(value_2P, badness_2P, groups_SP, cluster_P), strict=True))

    return {metric_id: {f"{two[0]} {two[1]}": by_stratum(metric_id, two) for two in two_models} for metric_id in values}


def _gains(
    value_2P: np.ndarray, badness_2P: np.ndarray, groups_SP: np.ndarray, cluster_P: np.ndarray
) -> Iterator[Gain]:
    """Of each stratum."""
    common_P = ~np.isnan(value_2P).any(axis=0)
    first, second = (estimates(np.where(common_P, value_P, np.nan), groups_SP, cluster_P) for value_P in value_2P)
    for found, a, b in zip(estimates(badness_2P[0] - badness_2P[1], groups_SP, cluster_P), first, second, strict=True):
        yield found.n, found.n_clusters, found.mean, found.low, found.high, a.mean, b.mean


def costs_of(pairs: Sequence[dict[str, Any]], models: Sequence[str]) -> list[dict[str, Any] | None] | None:
    """By model: mean seconds, the highest peak of memory, evaluations of the network and devices; None without any."""
    by_model = [
        [p["costs"][number] for p in pairs if p["costs"] and p["costs"][number]] for number in range(len(models))
    ]
    return list(map(_cost, by_model)) if any(by_model) else None


def _cost(costs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not costs:
        return None
    seconds = [cost["seconds"] for cost in costs if cost["seconds"] is not None]
    peaks = [cost["peak_mib"] for cost in costs if cost["peak_mib"] is not None]
    return {
        "videos": len(costs),
        "seconds": sum(seconds) / len(seconds) if seconds else None,
        "peak_mib": max(peaks, default=None),
        "nfe": _each(cost["nfe"] for cost in costs),
        "device": _each(cost["device"] for cost in costs),
    }


def _each(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or "–"
