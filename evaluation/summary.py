"""Means of scores per model and metric, and differences on common pairs, with intervals over driving videos."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.metrics.metric import ERROR, OK, Metric
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair
from evaluation.seeds import averaged
from evaluation.statistics.clusters import Estimate, by_id, estimate
from evaluation.statistics.paired import PairedDifference, corrected, paired_difference

ARROWS = {"higher": "↑", "lower": "↓", "target": "→"}
INTERVAL_NOTE = (
    "[low, high] is a 95 % t-interval over driving videos: each counts the same, and pairs of one driver are not "
    "independent. With one driver there is none."
)


@dataclass(frozen=True)
class SummaryRow:
    """``mean`` over the ``n`` of ``asked`` pairs that have a value; ``difference`` to ``against`` over ``n_common``.

    Means and bounds are of :class:`evaluation.statistics.clusters.Estimate`, the rest of
    :class:`evaluation.statistics.paired.PairedDifference`; ``p_holm`` is over the metrics asked of the model.
    ``badness`` is what models are ranked by, see :func:`_ranking`. What cannot be said is None: a mean of no values, an
    interval over one driving video.
    """

    model: str
    metric: str
    metric_id: str
    direction: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    asked: int
    against: str | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    two_way_low: float | None
    two_way_high: float | None
    n_common: int
    n_common_clusters: int
    p: float | None
    p_holm: float | None
    mde: float | None
    badness: float | None


def arrow(metric: Metric) -> str:
    """The direction that is better: up, down, or towards the target."""
    return ARROWS[metric.direction] + (f" {metric.target:g}" if metric.direction == "target" else "")


def stage_before(models: Sequence[str]) -> dict[str, str]:
    """Each model against the one before it."""
    return dict(zip(models[1:], models[:-1], strict=True))


def summarise(
    scores: Sequence[Mapping[str, Any]],
    pairs: Sequence[Pair],
    models: Sequence[str],
    against: Mapping[str, str] | None = None,
) -> list[SummaryRow]:
    """One row per metric id and model, from rows of :data:`evaluation.scoring.SCHEMA`; the order of rows is irrelevant.

    The seeds of a pair are averaged first (:func:`evaluation.seeds.averaged`). ``pairs`` has every pair of the rows.
    ``against`` says with which model each is compared; by default with the one before it in ``models``.
    """
    against = stage_before(models) if against is None else against
    pair_of = by_id(pairs)
    values: dict[tuple[str, str], dict[str, float]] = {}
    asked: dict[tuple[str, str], int] = {}
    names: dict[str, str] = {}
    badness: dict[str, dict[str, dict[str, float]]] = {}
    for row in averaged(scores):
        key = row["metric_id"], row["model"]
        names[row["metric_id"]] = row["metric"]
        asked[key] = asked.get(key, 0) + 1
        if row["status"] == OK:
            values.setdefault(key, {})[row["pair"]] = row["value"]
            badness.setdefault(row["metric_id"], {}).setdefault(row["model"], {})[row["pair"]] = row["badness"]

    differences: dict[tuple[str, str], PairedDifference] = {}
    for model in models:
        by_metric = {
            metric_id: paired_difference(
                values.get((metric_id, model), {}), values.get((metric_id, against.get(model)), {}), pair_of
            )
            for metric_id in names
            if (metric_id, model) in asked
        }
        differences |= {(metric_id, model): found for metric_id, found in corrected(by_metric).items()}

    ranking = {metric_id: _ranking(by_model, pair_of) for metric_id, by_model in badness.items()}
    nothing = paired_difference({}, {}, {})
    return [
        _row(
            METRICS[names[metric_id]],
            metric_id,
            model,
            asked=asked.get((metric_id, model), 0),
            mean=estimate(values.get((metric_id, model), {}), pair_of),
            against=against.get(model),
            difference=differences.get((metric_id, model), nothing),
            badness=ranking.get(metric_id, {}).get(model),
        )
        for metric_id in sorted(names, key=lambda i: (list(METRICS).index(names[i]), i))
        for model in models
    ]


def _row(
    metric: Metric,
    metric_id: str,
    model: str,
    *,
    asked: int,
    mean: Estimate,
    against: str | None,
    difference: PairedDifference,
    badness: float | None,
) -> SummaryRow:
    return SummaryRow(
        model=model,
        metric=metric.name,
        metric_id=metric_id,
        direction=metric.direction,
        mean=mean.mean,
        low=mean.low,
        high=mean.high,
        n=mean.n,
        n_clusters=mean.n_clusters,
        asked=asked,
        against=against,
        difference=difference.mean,
        difference_low=difference.low,
        difference_high=difference.high,
        two_way_low=difference.two_way_low,
        two_way_high=difference.two_way_high,
        n_common=difference.n,
        n_common_clusters=difference.n_clusters,
        p=difference.p,
        p_holm=difference.p_holm,
        mde=difference.mde,
        badness=badness,
    )


def _ranking(badness: Mapping[str, Mapping[str, float]], pair_of: Mapping[str, Pair]) -> dict[str, float | None]:
    """The mean badness of the models with the most values, over the pairs that all of these have.

    Not the badness of the mean: values on both sides of a target would cancel. ``badness``: model -> pair id -> value.
    """
    most = max(map(len, badness.values()))
    candidates = {model: by_pair for model, by_pair in badness.items() if len(by_pair) == most}
    shared = set.intersection(*map(set, candidates.values()))
    return {
        model: estimate({pair: by_pair[pair] for pair in shared}, pair_of).mean for model, by_pair in candidates.items()
    }


def best_models(summary: Sequence[SummaryRow]) -> dict[str, set[str]]:
    """Per metric id the models of the least badness, of two at least that were ranked, see :class:`SummaryRow`."""
    ranked: dict[str, dict[str, float]] = {}
    for row in summary:
        if row.badness is not None:
            ranked.setdefault(row.metric_id, {})[row.model] = row.badness
    return {
        metric_id: {model for model, badness in models.items() if badness == min(models.values())}
        for metric_id, models in ranked.items()
        if len(models) > 1
    }


def failures(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What broke: a line per model, pair and reason."""
    broken = {(row["model"], row["pair"], row["reason"]) for row in scores if row["status"] == ERROR}
    return [f"{model} {pair}: {reason}" for model, pair, reason in sorted(broken)]


def without_values(scores: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The metrics that no pair has a value of, by the two reasons that most pairs tell; of :func:`averaged` rows."""
    reasons: dict[str, Counter[str | None]] = {}
    for row in scores:
        reasons.setdefault(row["metric"], Counter())[row["reason"] if row["value"] is None else None] += 1
    found: dict[str, list[str]] = {}
    for name, told in reasons.items():
        if None not in told:
            found.setdefault("; ".join(reason for reason, _ in told.most_common(2)), []).append(name)
    return found
