"""How curation goes: what every kind of unit has done, what failed and why, and how long the rest will take."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.work.job import Job, jobs
from pipelines.work.ledger import LEDGER, Ledger, Record

RECENT_SECONDS = 300.0
"""The rate is that of so many last seconds."""
EXAMPLES = 3


@dataclass(frozen=True)
class Failures:
    """Units that failed of one fault, with the message of the most frequent kind first and some identities of it."""

    fault: str
    count: int
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class UnitStatus:
    """``total`` is what there will be when the run is done, an estimate where ``estimated``, None where nothing is
    known yet. ``rate`` is in units per second.
    """

    name: str
    done: int
    failed: int
    total: int | None
    estimated: bool
    rate: float
    failures: list[Failures]


@dataclass(frozen=True)
class JobStatus:
    """A run: the last one of its units. ``state``: running, finished, stopped (by an error or Ctrl-C) or killed."""

    units: list[UnitStatus]
    state: str
    rows: int
    started: float
    ended: float | None
    pid: int
    host: str
    remaining_seconds: float | None


def summarise(folder: Path | str) -> list[JobStatus]:
    """The last run of every sequence of units in a work folder, oldest first; [] where nothing was ever run."""
    units = Path(folder).expanduser() / "units"
    return [_job_status(units, job) for job in jobs(units)]


def costs(folder: Path | str) -> list[tuple[str, int, int, float, float]]:
    """Of each kind of unit of the last runs: name, how many were done, how many failed, and the sums of their wall
    seconds (of the processes that worked, so that two at once count twice) and CPU seconds, whichever run did them.
    """
    found, units = [], Path(folder) / "units"
    for job in jobs(units):
        for unit in job.units:
            records = list(_records(units, unit))
            failed = sum(record.fault is not None for record in records)
            seconds, cpu = sum(r.seconds for r in records), sum(r.cpu_seconds for r in records)
            found.append((unit["name"], len(records) - failed, failed, seconds, cpu))
    return found


def show(folder: Path | str, console: Any = None) -> None:
    """The same as tables, with the command that goes on or tries again."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = console or Console()
    runs = summarise(folder)
    if not runs:
        console.print(
            f"Nothing was curated in {folder} yet. Start with: steadydancer curate work={folder}", soft_wrap=True
        )
        return
    for job in runs:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started))
        title = f"{job.state}, {job.rows} rows, started {begun}"
        if job.state == "running":
            title += f", process {job.pid} on {job.host}"
            title += f", {_span(job.remaining_seconds)} to go" if job.remaining_seconds is not None else ""
        console.print(title, soft_wrap=True)
        table = Table("unit", "done", "failed", "of", "per second")
        for unit in job.units:
            total = "?" if unit.total is None else f"{'~' if unit.estimated else ''}{unit.total}"
            table.add_row(unit.name, str(unit.done), str(unit.failed), total, f"{unit.rate:.2f}" if unit.rate else "")
        console.print(table)
        for unit in job.units:
            for failures in unit.failures:
                console.print(f"[red]{failures.fault}[/] {failures.count} of {unit.name}", soft_wrap=True)
                for identity, error in failures.examples:
                    console.print(f"  {escape(identity)}: {escape(error)}", soft_wrap=True)
    if any(job.state in ("stopped", "killed") for job in runs):
        console.print(f"Go on with: steadydancer curate work={folder}", soft_wrap=True)
    elif all(job.state == "finished" for job in runs) and any(unit.failed for job in runs for unit in job.units):
        console.print(f"Try what failed again with: steadydancer curate --retry-failed work={folder}", soft_wrap=True)


def _records(units: Path, unit: Mapping[str, Any]) -> Ledger:
    return Ledger(units / unit["folder"] / LEDGER).refresh()


def _job_status(units: Path, job: Job) -> JobStatus:
    now = time.time() if job.ended is None else job.ended
    alive = job.alive
    share = job.finished / job.spooled if job.spooled else 1.0
    found, worked, left, earlier = [], 0.0, 0.0, 0
    window = max(1.0, min(RECENT_SECONDS, now - job.started))
    for unit in job.units:
        ours, failed_before, seconds, recent = Counter(), set(unit["found_failed"]), 0.0, 0
        failed: list[Record] = []
        for record in _records(units, unit):
            if record.run == job.run:
                ours["failed" if record.fault else "done"] += 1
                seconds += record.seconds
                if record.finished > now - window:
                    recent += 1
                    worked += record.seconds
            elif record.key not in failed_before:
                continue
            if record.fault:
                failed.append(record)
        count = ours.total()
        total, estimated = _total(unit, count, share, earlier, alive)
        if total is not None and count:
            left += max(0, total - unit["found"] - count) * seconds / count
        done = unit["found"] - len(failed_before) + ours["done"]
        rate = recent / window if alive else 0.0
        found.append(UnitStatus(unit["name"], done, len(failed), total, estimated, rate, _failures(failed)))
        earlier += unit["waiting"]
    known = alive and all(unit.total is not None for unit in found) and worked > 0
    state = "running" if alive else "killed" if job.ended is None else job.outcome
    remaining = left / (worked / window) if known else None
    return JobStatus(found, state, job.rows, job.started, job.ended, job.pid, job.host, remaining)


def _total(unit: Mapping[str, Any], count: int, share: float, earlier: int, alive: bool) -> tuple[int | None, bool]:
    """Where rows still come from earlier units, how many is told by how many came of those that are through."""
    if not earlier:
        return unit["found"] + unit["waiting"], False
    if share >= 1:
        return unit["found"] + count, False
    if share <= 0:
        return None, True
    return unit["found"] + max(unit["waiting"], round(count / share)), True


def _failures(records: Iterable[Record]) -> list[Failures]:
    by_fault: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_fault[record.fault or ""].append(record)
    found = []
    for fault, members in sorted(by_fault.items(), key=lambda entry: -len(entry[1])):
        messages = Counter(record.error for record in members)
        members.sort(key=lambda record: (-messages[record.error], record.identity))
        examples: dict[str, str] = {}  # one identity for each message
        for record in members:
            examples.setdefault(record.error or "", record.identity)
        listed = [(identity, error) for error, identity in examples.items()][:EXAMPLES]
        found.append(Failures(fault, len(members), listed))
    return found


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
