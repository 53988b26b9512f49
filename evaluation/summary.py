"""Means of scores per model and metric, and differences on common pairs, with intervals over driving videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.metrics.metric import ERROR, OK, Metric
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair
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
    What cannot be said is None: a mean of no values, an interval over one driving video.
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

    ``pairs`` has every pair of the rows. ``against`` says with which model each is compared; by default with the one
    before it in ``models``.
    """
    against = stage_before(models) if against is None else against
    pair_of = by_id(pairs)
    values: dict[tuple[str, str], dict[str, float]] = {}
    asked: dict[tuple[str, str], int] = {}
    names: dict[str, str] = {}
    for row in scores:
        key = row["metric_id"], row["model"]
        names[row["metric_id"]] = row["metric"]
        asked[key] = asked.get(key, 0) + 1
        if row["status"] == OK:
            values.setdefault(key, {})[row["pair"]] = row["value"]

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
    )


def best_models(summary: Sequence[SummaryRow]) -> dict[str, set[str]]:
    """Per metric id the models with the best mean, among those with the most values (others: other pairs)."""
    best: dict[str, set[str]] = {}
    for metric_id in {row.metric_id for row in summary}:
        rows = [row for row in summary if row.metric_id == metric_id and row.n]
        rows = [row for row in rows if row.n == max(r.n for r in rows)]
        if len(rows) > 1:
            badness = [METRICS[row.metric].badness(row.mean) for row in rows]
            best[metric_id] = {row.model for row, b in zip(rows, badness, strict=True) if b == min(badness)}
    return best


def failures(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per generated video that has no scores because something broke."""
    broken = {(row["model"], row["pair"], row["reason"]) for row in scores if row["status"] == ERROR}
    return [f"{model} {pair}: {reason}" for model, pair, reason in sorted(broken)]
