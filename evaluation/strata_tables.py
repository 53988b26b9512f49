"""Where two models differ, on a terminal: their difference by stratum of the pairs, or along one that is a number."""

from collections.abc import Mapping
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.comparison import Comparison
from evaluation.metrics.metric import OK
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair
from evaluation.statistics.clusters import by_id
from evaluation.statistics.strata import by_stratum, slope
from evaluation.summary import arrow
from evaluation.tables import pairs_and_drivers, with_interval

NOTE = "[low, high] is a 95 % t-interval over driving videos; nothing is corrected for the number of strata."


def print_by(console: Console, comparison: Comparison, stratum: str) -> None:
    """A table for each model that is held against another. Raises UsageError for a stratum that no pair has."""
    against = {row.model: row.against for row in comparison.summary if row.against is not None}
    pairs = by_id(replace(pair, strata={"kind": pair.kind, **pair.strata}) for pair in comparison.pairs)
    numeric = all(not isinstance(pair.strata.get(stratum, 0), str) for pair in pairs.values())
    if not against:
        console.print("No model is held against another, so nothing differs by stratum.")
    for model, other in against.items():
        console.print(Text(f"{model} minus {other} by {stratum}", "italic"))
        console.print(_table(comparison, model, other, pairs, stratum, numeric))
    console.print(Text(NOTE, "dim"))


def _table(
    comparison: Comparison, model: str, other: str, pairs: Mapping[str, Pair], stratum: str, numeric: bool
) -> Table:
    rows, titles = {}, ["change per unit"]
    for metric_id, name in {row["metric_id"]: row["metric"] for row in comparison.scores}.items():
        values = [_values(comparison, metric_id, each) for each in (model, other)]
        if numeric:
            found = slope(*values, pairs, stratum)
            cells = {titles[0]: _cell(found.slope, found.low, found.high, found.n, found.n_clusters)}
        else:
            by_value = by_stratum(*values, pairs, stratum)
            cells = {value: _cell(d.mean, d.low, d.high, d.n, d.n_clusters) for value, d in by_value.items()}
        rows[metric_id] = (f"{name.replace('_', ' ')} {arrow(METRICS[name])}", cells)
    if not numeric:
        titles = sorted({value for _, cells in rows.values() for value in cells})
    table = Table("metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(Text(title.replace("_", " ")), justify="right")
    for name, cells in rows.values():
        table.add_row(name, *(cells.get(title, Text("n/a")) for title in titles))
    return table


def _values(comparison: Comparison, metric_id: str, model: str) -> dict[str, float]:
    wanted = (metric_id, model, OK)
    rows = (row for row in comparison.scores if (row["metric_id"], row["model"], row["status"]) == wanted)
    return {row["pair"]: row["value"] for row in rows}


def _cell(value: float | None, low: float | None, high: float | None, n: int, clusters: int) -> Text:
    shown, interval = with_interval(value, low, high, signed=True)
    lines = [(shown, ""), (interval, "dim"), (pairs_and_drivers(n, clusters), "dim")]
    return Text("\n").join(Text(text, style) for text, style in lines if text)
