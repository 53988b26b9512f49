"""What a queue shows of itself: its entries with how far each is, and their logs."""

import fcntl
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.commits import COMMIT_FILE
from infra.errors import SteadyDancerError, UsageError
from training.queue.entry import Entry
from training.queue.queue import Queue

STYLES = {
    "waiting": "default",
    "held back": "yellow",
    "running": "bold cyan",
    "stopping": "yellow",
    "interrupted": "yellow",
    "done": "green",
    "failed": "bold red",
    "cancelled": "dim",
    "damaged": "bold red",
}


def show(folder: Path | str, console: Console | None = None) -> None:
    """Prints each entry's state, priority, work folder, stage and step reached, since when; and then what is wrong."""
    console, queue = console or Console(), Queue(folder)
    entries, damaged = queue.read()
    if not entries and not damaged:
        what = "holds no runs yet" if queue.folder.exists() else "does not exist yet"
        console.print(f"{queue.folder} {what}. Add a run with: steadydancer queue add CONFIG", soft_wrap=True)
        return
    table = Table(title=f"queue {escape(str(queue.folder))}", title_justify="left")
    for name in ("name", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("priority", justify="right")
    for name in ("work folder", "reached"):
        table.add_column(name, overflow="fold")
    table.add_column("since", justify="right", no_wrap=True)
    by_name, wrong = {entry.name: entry for entry in entries}, []
    for entry in entries:
        state, why = state_of(entry, by_name)
        since = span(time.time() - entry.since)
        work, far = escape(_short(entry.work)), escape(reached(entry))
        shown = f"[{STYLES[state]}]{state}[/]"
        table.add_row(escape(entry.name), shown, str(entry.priority), work, far, since)
        if why:
            wrong.append((entry.name, state, why))
    for name, why in damaged.items():
        table.add_row(escape(name), f"[{STYLES['damaged']}]damaged[/]", "", "", "", "")
        wrong.append((name, "damaged", why))
    console.print(table)
    for name, state, why in wrong:
        console.print(f"[{STYLES[state]}]{escape(name)}[/] {escape(why)}", soft_wrap=True, highlight=False)
    for line in _advice(queue, entries):
        console.print(f"[dim]{escape(line)}[/]", soft_wrap=True, highlight=False)


def show_log(folder: Path | str, name: str, follow: bool = False, console: Console | None = None) -> None:
    """Prints what an entry's last attempt printed; ``follow``: and what comes, until the entry runs no more.

    Raises UsageError where there is no such entry or it has not started yet.
    """
    console, queue = console or Console(), Queue(folder)
    entry = queue.get(name)
    log = queue.log_file(entry)
    if not log.is_file():
        raise UsageError(f"{name} has not started yet: there is no log.")
    with log.open(errors="replace") as file:
        while True:
            running = follow and queue.get(name).alive
            console.print(file.read(), end="", soft_wrap=True, markup=False, highlight=False)
            if not running:
                return
            time.sleep(0.5)


def state_of(entry: Entry, others: Mapping[str, Entry]) -> tuple[str, str | None]:
    """One of :data:`STYLES`, and what is wrong."""
    if entry.state == "waiting" and (why := entry.held_back(others)):
        return "held back", why
    if entry.state == "running" and not entry.alive:
        return "interrupted", "its process is gone: `queue run` starts it again"
    if entry.state == "running" and entry.cancelling:
        return "stopping", entry.error
    return entry.state, entry.error


def reached(entry: Entry) -> str:
    """How far training is, in words; "" where it has not begun."""
    return _progress(entry)[2]


def furthest(entry: Entry) -> tuple[int, int]:
    """The stage and step that training is at; (0, 0) where it has not begun."""
    return _progress(entry)[:2]


def _progress(entry: Entry) -> tuple[int, int, str]:
    """The furthest stage and step, and both in words, read from the work folder."""
    work = Path(entry.work)
    for number in range(len(entry.steps), 0, -1):
        if (work / f"stage{number}" / COMMIT_FILE).is_file():
            return number, entry.steps[number - 1], f"stage {number} done"
        live = work / "checkpoints" / f"stage{number}" / "live.json"
        try:
            state = json.loads(live.read_text())
            step, loss = int(state["step"]), state.get("loss")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not there, or of a run that was killed as it wrote: the stage before tells
        told = f", loss {loss:.4g}" if isinstance(loss, (int, float)) else ""
        return number, step, f"stage {number}: {step}/{entry.steps[number - 1]}{told}"
    return 0, 0, ""


def last_error(log: Path) -> str:
    """What the log says of why the run ended: the last line that begins with ``Error:``, or else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"{log} cannot be read: {error.strerror}"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line for each in plain.splitlines() if (line := "".join(c for c in each if c.isprintable()).strip())]
    told = [line.removeprefix("Error:").strip() for line in lines if line.startswith("Error:")]
    return (told or lines or ["it printed nothing"])[-1][:500]


def span(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"


def _short(path: str) -> str:
    """Relative to where the user stands, if it lies there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _advice(queue: Queue, entries: list[Entry]) -> list[str]:
    lines = []
    runner = _runner(queue.folder)
    if any(entry.state in ("waiting", "running") for entry in entries):
        lines.append(f"Run by process {runner}." if runner else "Nobody runs it: steadydancer queue run")
    if failed := [entry.name for entry in entries if entry.state == "failed"]:
        lines.append(f"Why: steadydancer queue log {failed[0]}   again: steadydancer queue retry {failed[0]}")
    return lines


def _runner(folder: Path) -> str | None:
    """The process that holds the queue (:func:`infra.workspace.held`)."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return (folder / ".lock").read_text().strip() or "unknown"
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SteadyDancerError(f"{folder}/.lock cannot be read: {error.strerror}.") from None
    return None
