"""Summaries on a terminal: one row per metric, one column per model."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.metrics.metric import ERROR
from evaluation.metrics.registry import METRICS
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.summary import ARROWS, INTERVAL_NOTE, SummaryRow, arrow, best_models, without_values

SIGNIFICANT = 0.05
P_NOTE = (
    f"p: sign-flip test over driving videos, corrected for the number of metrics (Holm); bold below {SIGNIFICANT}. "
    "Of → metrics the difference is of the values, not of their distance to the target."
)
MOST_DECIMALS = 6
NAME_WIDTH = 16


def print_means(console: Console, summary: Sequence[SummaryRow], title: str) -> None:
    """Means with their intervals, of metrics that some pair has a value of; the best of each in green."""
    best = best_models(summary)

    def cell(row: SummaryRow) -> Text:
        value, interval = with_interval(row.mean, row.low, row.high)
        return _lines((value, "bold green" if row.model in best.get(row.metric_id, ()) else ""), (interval, "dim"))

    there = {row.metric_id for row in summary if row.n}
    shown = [row for row in summary if row.metric_id in there]
    _print(console, shown, title, cell, lambda row: (row.n, row.n_clusters), INTERVAL_NOTE)


def print_differences(console: Console, summary: Sequence[SummaryRow], title: str) -> None:
    """Mean differences to the model each is held against, on their common pairs, with intervals and p."""

    def cell(row: SummaryRow) -> Text:
        value, interval = with_interval(row.difference, row.difference_low, row.difference_high, signed=True)
        if row.p_holm is None:
            return _lines((value, ""), (interval, "dim"))
        style = "bold" if row.p_holm < SIGNIFICANT else ""
        return _lines((f"{value}  p {probability(row.p_holm)}", style), (interval, "dim"))

    there = {row.metric_id for row in summary if row.n}
    compared = [row for row in summary if row.against is not None and row.metric_id in there]
    note = f"{INTERVAL_NOTE} {P_NOTE}"
    _print(console, compared, title, cell, lambda row: (row.n_common, row.n_common_clusters), note)


def print_missing(console: Console, scores: Iterable[Mapping[str, Any]]) -> None:
    """The metrics that no pair has a value of, and why; tables of means leave them out."""
    if by_reason := without_values(scores):
        console.print(Text("No value of any pair", "italic"))
    for reason, metrics in by_reason.items():
        console.print(Text(f"{', '.join(metrics)}: ") + Text(reason, "dim"), soft_wrap=True)


def print_sets(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Metrics of a model's videos together, rows of :data:`evaluation.set_scoring.SCHEMA`; why one has no value."""
    if not rows:
        return
    table = Table(title=Text("Metrics of sets of videos"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("metric", "model", "pairs", "value ± standard error", "videos"):
        table.add_column(name, justify="right" if name in ("value ± standard error", "videos") else "left")
    for row in rows:
        value = "n/a" if row["value"] is None else f"{row['value']:.4g}"
        error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
        metric = SET_METRICS[row["metric"]]
        what = Text(f"{metric.name.replace('_', ' ')} {ARROWS[metric.direction]}")
        kind = row["kind"].replace("_", " ")
        table.add_row(what, Text(row["model"]), kind, Text(value + error), str(row["videos"]))
    console.print(table)
    for row in rows:
        if row["reason"] is not None:
            told = f"{row['metric']} {row['model']} {row['kind'].replace('_', ' ')}: {row['reason']}"
            console.print(Text(told, "red" if row["status"] == ERROR else "dim"), soft_wrap=True)


def with_interval(value: float | None, low: float | None, high: float | None, signed: bool = False) -> tuple[str, str]:
    """``value`` and ``[low, high]`` as text, as far as the interval's width says something; "" without one.

    A mean has three digits at least; a difference, which may be next to 0, two digits of the width.
    """
    sign = "+" if signed else ""
    if value is None:
        return "n/a", ""
    if low is None or high is None or low == high:
        return f"{value:{sign}.4g}", "" if low is None else f"[{low:{sign}.4g}, {high:{sign}.4g}]"
    place = _first_decimal(high - low)
    decimals = place + 1 if signed else max(place, min(place, _first_decimal(value)) + 2)
    shape = f"{sign}.{min(max(decimals, 0), MOST_DECIMALS)}f"
    return f"{value:{shape}}", f"[{low:{shape}}, {high:{shape}}]"


def _first_decimal(number: float) -> int:
    """Place of the first digit that is not 0: 0.02 -> 2, 3 -> 0, 40 -> -1."""
    return -math.floor(math.log10(abs(number))) if number else 0


def probability(p: float) -> str:
    """Two digits, or three decimals where more say nothing."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def pairs_and_drivers(n: int, clusters: int) -> str:
    return f"{n} pair{'s' * (n != 1)}, {clusters} driver{'s' * (clusters != 1)}"


def _lines(*lines: tuple[str, str]) -> Text:
    return Text("\n").join(Text(text, style) for text, style in lines if text)


def _print(
    console: Console,
    rows: Sequence[SummaryRow],
    title: str,
    cell: Callable[[SummaryRow], Text],
    counted: Callable[[SummaryRow], tuple[int, int]],
    note: str,
) -> None:
    console.print(Text(title, "italic"))
    models = list(dict.fromkeys(row.model for row in rows))
    print_fitting(console, models, lambda some: _table(rows, some, cell, counted))
    console.print(Text(note, "dim"))


def print_fitting(console: Console, columns: Sequence[str], table_of: Callable[[Sequence[str]], Table]) -> None:
    """As many columns side by side, after the first of the table, as the console is wide; the others below."""
    left = list(columns)
    while left:
        tables = (table_of(left[:count]) for count in range(len(left), 0, -1))
        table = next((t for t in tables if _width(console, t) <= console.width), None) or table_of(left[:1])
        console.print(table)
        left = left[len(table.columns) - 1 :]


def _width(console: Console, table: Table) -> int:
    """Unwrapped."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _table(
    rows: Sequence[SummaryRow],
    models: Sequence[str],
    cell: Callable[[SummaryRow], Text],
    counted: Callable[[SummaryRow], tuple[int, int]],
) -> Table:
    """A cell of fewer pairs than another of its row says how many."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    for model in models:
        run, slash, label = model.rpartition("/")
        name = "\n".join(wrap(run + slash, NAME_WIDTH) + wrap(label, NAME_WIDTH))
        table.add_column(Text(name), justify="right", overflow="fold")
    for metric_id in dict.fromkeys(row.metric_id for row in rows):
        of_metric = {row.model: row for row in rows if row.metric_id == metric_id}
        most = max(map(counted, of_metric.values()))
        metric = METRICS[next(iter(of_metric.values())).metric]
        name = f"{metric.name.replace('_', ' ')} {arrow(metric)}"
        cells = (_with_count(cell(of_metric[model]), counted(of_metric[model]), most) for model in models)
        table.add_row(_lines((name, ""), (pairs_and_drivers(*most), "dim")), *cells)
    return table


def _with_count(cell: Text, count: tuple[int, int], most: tuple[int, int]) -> Text:
    return cell if count == most else cell + Text(f"\n{pairs_and_drivers(*count)}", "dim")
