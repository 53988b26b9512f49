"""What a curation shows on the terminal: bars while it works, and what came of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.columns import RETRIED
from pipelines.work.stage import Row


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """A bar over the sources that have to be read for their hashes; gone when it is done."""
    with Progress(transient=True) as progress:
        task = progress.add_task("reading sources", visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def progressing(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """``rows`` as they come, under one bar that counts sources: a row is its share of its source."""
    columns = (
        TextColumn("curating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sources, {task.fields[clips]} clips"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task("", total=count, clips=0)
        for number, row in enumerate(rows, 1):
            progress.update(bar, advance=1 / (row.get("siblings") or 1), clips=number)
            yield row


def print_failures(rows: Iterable[Row], console: Console) -> None:
    """What failed, each message once with the number of clips it cost."""
    failed = Counter((row["reason"], row["error"]) for row in rows if row.get("reason") in RETRIED)
    for (reason, error), number in failed.most_common(5):
        console.print(f"[red]{reason}[/] {number} x {escape(str(error))}", soft_wrap=True)


def funnel_table(counts: dict[str, Any]) -> Table:
    table = Table("curation", "clips", title=f"{counts['sources']} sources")
    table.add_row("found", str(counts["found"]))
    for reason, number in counts["rejected"].items():
        table.add_row(f"  rejected: {reason}", str(number), style="red")
    table.add_row("kept", str(counts["kept"]), style="green")
    return table
