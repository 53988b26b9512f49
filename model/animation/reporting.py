"""What a user is told while `steadydancer animate` works: progress, notes, and what failed."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from infra.errors import SteadyDancerError

SPEED_SECONDS = 3600.0
"""Span the speed is measured over: two steps of the 14B model can take longer than the half minute that rich takes."""


class Report:
    """``several``: whether one video of many may fail."""

    def __init__(self, bar: Progress, several: bool):
        self.bar, self.several, self.failed, self.made = bar, several, [], []

    def note(self, *texts: str | None) -> None:
        for text in filter(None, texts):
            self.bar.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def tolerating(self, name: str) -> Iterator[None]:
        """Of several, the failure of one is told and kept; a single one's goes on."""
        try:
            yield
        except SteadyDancerError as error:
            if not self.several:
                raise
            self.failed.append(name)
            self.note(f"{name} failed: {error}")

    def read(self, paths: Iterable[Path], read: Callable[[Path], Any]) -> dict[Path, Any]:
        """``read(path)`` of every path with which it goes well."""
        found = {}
        for path in paths:
            with self.tolerating(path.name):
                found[path] = read(path)
        return found

    def refuse_failures(self) -> None:
        """Raises SteadyDancerError naming what failed, if anything did."""
        if self.failed:
            rest = "the rest was made" if self.made else "nothing was made"
            raise SteadyDancerError(f"Failed: {', '.join(self.failed)}; {rest}.", "The reasons are told above.")

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Callable[[float, float | None], None]]:
        """A bar while it runs; ``update(done, total)``."""
        task = self.bar.add_task(name, total=total)
        try:
            yield lambda done, total=total: self.bar.update(task, completed=done, total=total)
        finally:
            self.bar.remove_task(task)


@contextmanager
def reporting(several: bool) -> Iterator[Report]:
    """On an error stream of its own: MediaPipe's notices are kept from the common one, and with them all else."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with os.fdopen(os.dup(2), "w") as terminal:
        console = Console(file=terminal)
        unseen = not console.is_terminal
        with Progress(
            *columns, console=console, speed_estimate_period=SPEED_SECONDS, transient=True, disable=unseen
        ) as bar:
            yield Report(bar, several)
