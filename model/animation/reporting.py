"""What a user is told while `steadydancer animate` works: progress, notes, and what failed."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from infra.errors import SteadyDancerError

SPEED_SECONDS = 3600.0
"""Span the speed is measured over: two steps of the 14B model can take longer than the half minute that rich takes."""
LINE_SECONDS = 60.0
"""Between two lines about progress, where there is no terminal to draw a bar on."""


class Report:
    """``several``: whether one video of many may fail. ``out``: where a program looks for what was made."""

    def __init__(self, bar: Progress, several: bool, out: TextIO):
        self.bar, self.several, self.out = bar, several, out
        self.failed, self.anything, self.told = [], False, set()

    def note(self, *texts: str | None, style: str = "yellow") -> None:
        for text in filter(None, texts):
            self.bar.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def note_once(self, text: str) -> None:
        """The first time only."""
        if text not in self.told:
            self.told.add(text)
            self.note(text)

    def made(self, text: str) -> None:
        self.anything = True
        if self.bar.console.is_terminal and self.out.isatty():
            self.note(text, style="")  # above the bar
        else:
            print(text, file=self.out, flush=True)

    @contextmanager
    def tolerating(self, name: str, final: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Of several, the failure of one is told and kept, unless it is ``final``; a single one's goes on."""
        try:
            yield
        except SteadyDancerError as error:
            if not self.several:
                raise
            if isinstance(error, final):
                self.note(f"{name} failed, and the rest is not made.")
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
            rest = "the rest was made" if self.anything else "nothing was made"
            raise SteadyDancerError(f"Failed: {', '.join(self.failed)}; {rest}.", "The reasons are told above.")

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Callable[[float, float | None], None]]:
        """A bar while it runs, without a terminal a line now and then; ``update(done, total)``."""
        task = self.bar.add_task(name, total=total)
        begun = told = time.monotonic()

        def update(done: float, total: float | None = total) -> None:
            nonlocal told
            self.bar.update(task, completed=done, total=total)
            now = time.monotonic()
            if self.bar.disable and done and total and now - told >= LINE_SECONDS:
                told, left = now, timedelta(seconds=round((now - begun) * (total - done) / done))
                self.note(f"{name}: {done:.0f} of {total:.0f}, {left} left", style="")

        try:
            yield update
        finally:
            self.bar.remove_task(task)


@contextmanager
def reporting(several: bool) -> Iterator[Report]:
    """On an error stream of its own: MediaPipe's notices are kept from the common one, and with them all else."""
    out, columns = sys.stdout, (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with os.fdopen(os.dup(2), "w") as terminal:
        console = Console(file=terminal)
        unseen = not console.is_terminal
        with Progress(
            *columns, console=console, speed_estimate_period=SPEED_SECONDS, transient=True, disable=unseen
        ) as bar:
            yield Report(bar, several, out)
