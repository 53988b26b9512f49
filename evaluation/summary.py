"""Means of scores per model and metric, each with its number of pairs, and differences on common pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.metrics.metric import ERROR, OK, Metric
from evaluation.metrics.registry import METRICS

ARROWS = {"higher": "↑", "lower": "↓", "target": "→"}
STANDARD_ERROR_NOTE = (
    "± is the standard error over pairs (standard deviation / √n), which takes the pairs as independent. "
    "With few pairs, or several by one driver, it is too small."
)


@dataclass(frozen=True)
class SummaryRow:
    """``mean`` over the ``n`` of ``asked`` pairs that have a value; ``difference`` to ``against`` over ``n_common``.

    What cannot be said is None: a mean of no values, a standard error of fewer than two.
    """

    model: str
    metric: str
    metric_id: str
    direction: str
    mean: float | None
    standard_error: float | None
    n: int
    asked: int
    against: str | None
    difference: float | None
    difference_error: float | None
    n_common: int


def arrow(metric: Metric) -> str:
    """The direction that is better: up, down, or towards the target."""
    return ARROWS[metric.direction] + (f" {metric.target:g}" if metric.direction == "target" else "")


def stage_before(models: Sequence[str]) -> dict[str, str]:
    """Each model against the one before it."""
    return dict(zip(models[1:], models[:-1], strict=True))


def summarise(
    scores: Sequence[Mapping[str, Any]], models: Sequence[str], against: Mapping[str, str] | None = None
) -> list[SummaryRow]:
    """One row per metric id and model, from rows of :data:`evaluation.scoring.SCHEMA`; the order of rows is irrelevant.

    ``against`` says with which model each is compared; by default with the one before it in ``models``.
    """
    against = stage_before(models) if against is None else against
    values: dict[tuple[str, str], dict[str, float]] = {}
    asked: dict[tuple[str, str], int] = {}
    names: dict[str, str] = {}
    for row in scores:
        key = row["metric_id"], row["model"]
        names[row["metric_id"]] = row["metric"]
        asked[key] = asked.get(key, 0) + 1
        if row["status"] == OK:
            values.setdefault(key, {})[row["pair"]] = row["value"]
    rows = []
    for metric_id in sorted(names, key=lambda i: (list(METRICS).index(names[i]), i)):
        for model in models:
            mine = values.get((metric_id, model), {})
            other = values.get((metric_id, against.get(model)), {})
            common = sorted(mine.keys() & other.keys())
            mean, error = _mean_and_error([mine[pair] for pair in sorted(mine)])
            difference, difference_error = _mean_and_error([mine[pair] - other[pair] for pair in common])
            rows.append(
                SummaryRow(
                    model=model,
                    metric=names[metric_id],
                    metric_id=metric_id,
                    direction=METRICS[names[metric_id]].direction,
                    mean=mean,
                    standard_error=error,
                    n=len(mine),
                    asked=asked.get((metric_id, model), 0),
                    against=against.get(model),
                    difference=difference,
                    difference_error=difference_error,
                    n_common=len(common),
                )
            )
    return rows


def _mean_and_error(values: list[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error


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


def print_means(console: Console, summary: Sequence[SummaryRow], title: str) -> None:
    """Models by metrics: mean, standard error and number of pairs; the best of each metric in green."""
    best = best_models(summary)

    def cell(row: SummaryRow) -> str:
        if row.mean is None:
            return "[dim]n/a\nn=0[/]"
        mean = f"{row.mean:.4g}"
        return _cell(
            f"[bold green]{mean}[/]" if row.model in best.get(row.metric_id, ()) else mean, row.standard_error, row.n
        )

    _print(console, summary, title, cell)


def print_differences(console: Console, summary: Sequence[SummaryRow], title: str) -> None:
    """Models by metrics: mean difference to the model each is held against, on their common pairs."""

    def cell(row: SummaryRow) -> str:
        if row.difference is None:
            return "[dim]n/a\nn=0[/]"
        return _cell(f"{row.difference:+.3g}", row.difference_error, row.n_common)

    compared = [row for row in summary if row.against is not None]
    _print(console, compared, title, cell)


def _cell(value: str, error: float | None, n: int) -> str:
    return f"{value}\n[dim]{f'±{error:.2g} ' if error is not None else ''}n={n}[/]"


def _print(console: Console, rows: Sequence[SummaryRow], title: str, cell: Callable[[SummaryRow], str]) -> None:
    table = Table(title=title, title_justify="left", caption=STANDARD_ERROR_NOTE, caption_justify="left")
    table.add_column("model")
    for row in {row.metric_id: row for row in rows}.values():
        table.add_column(f"{row.metric.replace('_', ' ')} {arrow(METRICS[row.metric])}", justify="right")
    for model in dict.fromkeys(row.model for row in rows):
        table.add_row(escape(model), *(cell(row) for row in rows if row.model == model))
    console.print(table)
