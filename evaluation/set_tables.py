"""What is said of all videos of a kind together (Fréchet distances and the like): rows of a comparison, and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.comparison import Comparison, by_definition
from evaluation.page_pairs import rows_of

NOTE = (
    "Each over the pairs of its own run, ± the metric's own standard error. Only numbers over as many videos can be "
    "set against each other."
)
Sets = dict[tuple[str, str], list[Mapping[str, Any] | None]]
"""By metric id and kind of pair: a row, or None, of each model."""


def set_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of :data:`evaluation.set_scoring.SCHEMA` of all models, by the names these have here."""
    rows = [{**row, "model": comparison.models[number]} for number, row in rows_of(comparison, "sets.parquet")]
    return by_definition(rows)


def by_metric(rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> Sets:
    found: Sets = {}
    for row in rows:
        of_all = found.setdefault((row["metric_id"], row["kind"]), [None] * len(models))
        of_all[models.index(row["model"])] = row
    return found


def print_sets(console: Console, rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
    """One line per metric, kind of pair and model; nothing where there is no row."""
    if not rows:
        return
    table = Table("metric", "pairs", "model", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("value", justify="right")
    table.add_column("videos", justify="right")
    for (metric_id, kind), by_model in by_metric(rows, models).items():
        for row in filter(None, by_model):
            if row["value"] is None:
                value = Text(f"n/a: {row['reason']}", "dim")
            else:
                error = row["standard_error"]
                value = Text(f"{row['value']:.4g}" + ("" if error is None else f" ± {error:.2g}"))
            table.add_row(Text(metric_id), kind.replace("_", " "), Text(row["model"]), value, str(row["videos"]))
    console.print(Text("All videos together", "italic"))
    console.print(table)
    console.print(Text(NOTE, "dim"))
