"""What the comparison page says over pairs: what one model is better than another by, and what each costs."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from evaluation.comparison import Comparison
from evaluation.metrics.metric import OK, Metric
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair
from evaluation.statistics.clusters import by_id, estimate

ALL = ""
Gain = tuple[int, int, float | None, float | None, float | None, float | None, float | None]
"""Pairs, driving videos, mean of the gain, low, high; then the means of the first's and of the second's values."""


def gains_of(comparison: Comparison, pairs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Gain]]]:
    """What the second of two models is better by: by metric id, their numbers ("0 1"), and stratum ("name=value").

    A pair's gain is the first's badness minus the second's, in the metric's unit: positive is better whichever way the
    metric goes, and with a target it is how much nearer the second is. The stratum "" has all ``pairs``, which are
    those of :func:`evaluation.page_pairs.pairs_of`.
    """
    strata = {ALL: {pair["id"] for pair in pairs}}
    for pair in pairs:
        for name, value in pair["strata"].items():
            strata.setdefault(f"{name}={value}", set()).add(pair["id"])
    values: dict[str, list[dict[str, float]]] = {}
    metrics: dict[str, Metric] = {}
    for row in comparison.scores:
        metrics[row["metric_id"]] = METRICS[row["metric"]]
        by_model = values.setdefault(row["metric_id"], [{} for _ in comparison.models])
        if row["status"] == OK:
            by_model[comparison.models.index(row["model"])][row["pair"]] = row["value"]
    pair_of = by_id(comparison.pairs)
    return {
        metric_id: {
            f"{a} {b}": {
                stratum: _gain(metrics[metric_id], _only(by_model[a], ids), _only(by_model[b], ids), pair_of)
                for stratum, ids in strata.items()
            }
            for a, b in combinations(range(len(comparison.models)), 2)
        }
        for metric_id, by_model in values.items()
    }


def _only(values: dict[str, float], ids: set[str]) -> dict[str, float]:
    return {pair: value for pair, value in values.items() if pair in ids}


def _gain(metric: Metric, first: dict[str, float], second: dict[str, float], pair_of: dict[str, Pair]) -> Gain:
    common = first.keys() & second.keys()
    found = estimate({pair: metric.badness(first[pair]) - metric.badness(second[pair]) for pair in common}, pair_of)
    means = (estimate(_only(values, common), pair_of).mean for values in (first, second))
    return found.n, found.n_clusters, found.mean, found.low, found.high, *means


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
