"""Where two models differ, on a terminal: their difference by stratum of the pairs, or along one that is a number."""

from collections.abc import Mapping, Sequence
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
from evaluation.tables import pairs_and_drivers, print_fitting, with_interval

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
        rows = _rows(comparison, model, other, pairs, stratum, numeric)
        titles = ["change per unit"] if numeric else sorted({value for _, cells in rows for value in cells})
        print_fitting(console, titles, lambda some, rows=rows: _table(rows, some))
    console.print(Text(NOTE, "dim"))


def _rows(
    comparison: Comparison, model: str, other: str, pairs: Mapping[str, Pair], stratum: str, numeric: bool
) -> list[tuple[str, dict[str, Text]]]:
    """(metric, cell by title) of the metrics that both models have values of."""
    found = []
    for metric_id, name in {row["metric_id"]: row["metric"] for row in comparison.scores}.items():
        values = [_values(comparison, metric_id, each) for each in (model, other)]
        if numeric:
            line = slope(*values, pairs, stratum)
            cells = {"change per unit": _cell(line.slope, line.low, line.high, line.n, line.n_clusters)}
        else:
            by_value = by_stratum(*values, pairs, stratum)
            cells = {value: _cell(d.mean, d.low, d.high, d.n, d.n_clusters) for value, d in by_value.items()}
        if values[0].keys() & values[1].keys():
            found.append((f"{name.replace('_', ' ')} {arrow(METRICS[name])}", cells))
    return found


def _table(rows: Sequence[tuple[str, dict[str, Text]]], titles: Sequence[str]) -> Table:
    table = Table("metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(Text(title.replace("_", " ")), justify="right")
    for name, cells in rows:
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
