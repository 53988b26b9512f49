"""The step `compare`, and the comparison of any evaluations: tables, plots and one page, on their common pairs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from evaluation.comparison import Comparison, held_together
from evaluation.page import render
from evaluation.plots import draw_losses, draw_metrics
from evaluation.set_scoring import SCHEMA as SETS_SCHEMA
from evaluation.set_tables import print_sets, set_rows
from evaluation.strata_tables import print_by
from evaluation.summary import SummaryRow
from evaluation.tables import print_differences, print_means, print_missing
from infra import commits
from infra.commits import Commit
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace

PAGE = "comparison.html"
TABLE_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("metric", pa.string()),
        ("metric_id", pa.string()),
        ("direction", pa.string()),
        ("mean", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("n_clusters", pa.int64()),
        ("asked", pa.int64()),
        ("against", pa.string()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("two_way_low", pa.float64()),
        ("two_way_high", pa.float64()),
        ("n_common", pa.int64()),
        ("n_common_clusters", pa.int64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("mde", pa.float64()),
        ("badness", pa.float64()),
    ]
)
"""One row per model and metric: the fields of :class:`evaluation.summary.SummaryRow`."""


def compare(config: Config, workspace: Workspace, run: StepRun) -> Commit:
    """Commits the comparison of the evaluation's models.

    Files: comparison.html (one page that needs no network), table.parquet (:data:`TABLE_SCHEMA`), sets.parquet
    (:data:`evaluation.set_scoring.SCHEMA`), plots/*.svg.
    """
    evaluation = commits.read(workspace.evaluation)
    comparison = held_together([evaluation])
    meta = {"notices": comparison.notices}
    with commits.write(workspace.comparison, "comparison", parents=[evaluation], meta=meta, replace=True) as folder:
        write_comparison(comparison, folder)
    commit = commits.read(workspace.comparison)
    for name in commit.files:
        run.log_artifact(commit.path / name, Path(name).parent.as_posix() if "/" in name else None)
    return commit


def show(commit: Commit, console: Console) -> None:
    """What changed from stage to stage, and where the page is."""
    rows = [SummaryRow(**row) for row in pq.read_table(commit.path / "table.parquet").to_pylist()]
    for notice in commit.meta["notices"]:
        console.print(f"[bold yellow]{escape(notice)}[/]", soft_wrap=True)
    print_differences(console, rows, "Change from stage to stage")
    sets = pq.read_table(commit.path / "sets.parquet").to_pylist() if "sets.parquet" in commit.files else []
    print_sets(console, sets, list(dict.fromkeys(row.model for row in rows)))
    console.print(f"Players, plots and definitions: {escape(str(commit.path / PAGE))}", soft_wrap=True)


def compare_runs(
    evaluations: Sequence[Commit], out: Path, console: Console | None = None, by: str | None = None
) -> Path:
    """Prints the comparison of evaluations and writes its tables, plots and page into ``out``; returns the page.

    ``by`` names a stratum of the pairs by which differences are printed too. Raises as
    :func:`evaluation.comparison.held_together`, and UsageError for a stratum that no pair has.
    """
    console = console or Console()
    comparison = held_together(evaluations)
    page = write_comparison(comparison, out, console)
    if comparison.notices:
        text = escape("\n".join(comparison.notices))
        console.print(Panel(text, title="Read this first", border_style="bold yellow"))
    print_means(console, comparison.summary, f"Means, number of pairs: {len(comparison.pairs)}")
    print_missing(console, comparison.scores)
    if any(row.against for row in comparison.summary):
        several = len(evaluations) > 1
        against = f"{comparison.models[0].rpartition('/')[0]}, model by model" if several else "the stage before"
        print_differences(console, comparison.summary, f"Difference to {against}")
    print_sets(console, set_rows(comparison), comparison.models)
    if by is not None:
        print_by(console, comparison, by)
    console.print(f"Players, plots and definitions: {escape(str(page))}", soft_wrap=True)
    return page


def print_strata(commit: Commit, stratum: str, console: Console | None = None) -> None:
    """What :func:`show` says, by stratum of the pairs. Raises UsageError for one that no pair has."""
    evaluations = [commits.read(commit.parent_uri(parent)) for parent in commit.parents]
    print_by(console or Console(), held_together(evaluations), stratum)


def write_comparison(comparison: Comparison, folder: Path, console: Console | None = None) -> Path:
    """Tables, plots and page into ``folder``; returns the page."""
    with (console or Console()).status("Making the page"):
        return _write(comparison, folder)


def _write(comparison: Comparison, folder: Path) -> Path:
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(map(asdict, comparison.summary)), TABLE_SCHEMA), folder / "table.parquet")
    pq.write_table(pa.Table.from_pylist(set_rows(comparison), SETS_SCHEMA), folder / "sets.parquet")
    plots = {"Metrics by model": ("metrics", draw_metrics(comparison.summary, comparison.models))}
    if comparison.losses:
        plots["Training loss"] = ("losses", draw_losses(comparison.losses))
    for name, svg in plots.values():
        (folder / "plots" / f"{name}.svg").write_text(svg)
    page = folder / PAGE
    page.write_text(render(comparison, {title: svg for title, (_, svg) in plots.items()}))
    return page
