"""What came of a sweep: its runs side by side, best first, on the terminal, as sweep.json and as one page."""

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra import commits
from infra.commits import Commit
from infra.config import differences
from infra.errors import SteadyDancerError
from training.queue.queue import Queue, replace
from training.queue.table import span
from training.sweep.plots import COLOURS, OTHERS, Curves, draw_curves, read_curves

RECORD, PAGE = "sweep.json", "sweep.html"
_NOT_COMPARED = ("work", "store", "resources.", "tracking.", "train.encoded", "train.start_from")
"""Where a run works, not how it trains."""


@dataclass(frozen=True)
class Run:
    """``settings`` are all keys of its config; ``end`` and ``start`` the losses of its validations by name.

    ``seconds`` of its process, all attempts together, starting included; attempts whose end nobody saw are left out.
    """

    name: str
    work: str
    state: str
    error: str | None
    seconds: float
    settings: dict[str, Any]
    commit: str | None = None
    steps: int = 0
    start: dict[str, float] = field(default_factory=dict)
    end: dict[str, float] = field(default_factory=dict)
    curves: Curves | None = None

    @property
    def steps_per_second(self) -> float | None:
        return self.steps / self.seconds if self.commit and self.seconds else None


def compare(folder: Path, record: dict, queue: Queue, console: Console) -> list[Run]:
    """Prints the runs of the sweep in ``folder`` and writes :data:`RECORD` and :data:`PAGE` there; best first.

    Raises SteadyDancerError where they cannot be written.
    """
    runs = read_runs(queue, record["stage"])
    columns = varying(runs)
    told = {**record, "columns": columns, "runs": [_as_dict(run, columns) for run in runs]}
    page = _page(record, runs, columns)
    console.print(_table(record, runs, columns))
    for run in runs:
        if run.error:
            console.print(f"[red]{escape(run.name)}[/] {run.state}: {escape(run.error)}", soft_wrap=True)
    try:
        replace(folder / RECORD, json.dumps(told, indent=1, allow_nan=False))
        replace(folder / PAGE, page)
    except OSError as error:
        raise SteadyDancerError(
            f"The comparison cannot be written to {folder}: {error.strerror}.",
            "Free some disk and run the same command again: what is trained is passed over.",
        ) from None
    console.print(f"Curves and table: {escape(str(folder / PAGE))}", soft_wrap=True, highlight=False)
    return runs


def read_runs(queue: Queue, stage: int) -> list[Run]:
    """The runs of a sweep's queue, by the loss of their last validation, those without one at the end."""
    entries, damaged = queue.read()
    runs = [Run(name, "", "damaged", why, 0.0, {}) for name, why in damaged.items()]
    for entry in sorted(entries, key=lambda entry: entry.number):
        facts = {"name": entry.name, "work": entry.work, "state": entry.state, "seconds": entry.seconds}
        settings, found, error = {}, {}, entry.error
        try:
            settings = _flat(queue.config(entry.name).model_dump(mode="json"))
            if (commit := commits.find(Path(entry.work) / f"stage{stage}")) is not None:
                found = _trained(commit)
        except SteadyDancerError as problem:
            error = str(problem)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            error = f"The commit of stage {stage} in {entry.work} cannot be compared: {problem!r}."
        runs.append(Run(settings=settings, error=error, **facts, **found))
    return sorted(runs, key=lambda run: run.end.get("loss", math.inf))


def _trained(commit: Commit) -> dict:
    validation = commit.meta["validation"]
    return {
        "commit": commit.id,
        "steps": int(commit.meta["steps"]),
        **{when: {name: float(value) for name, value in validation[when].items()} for when in ("start", "end")},
        "curves": read_curves(commit),
    }


def varying(runs: list[Run]) -> list[str]:
    """The settings in which the runs differ."""
    read = [run.settings for run in runs if run.settings]
    keys = {key for settings in read[1:] for key, _, _ in differences(read[0], settings)}
    return sorted(key for key in keys if not key.startswith(_NOT_COMPARED))


def _flat(values: dict) -> dict[str, Any]:
    return {key: value for key, _, value in differences({}, values)}


def _as_dict(run: Run, columns: list[str]) -> dict:
    return {
        "name": run.name,
        "work": run.work,
        "state": run.state,
        "error": run.error,
        "settings": {key: run.settings.get(key) for key in columns},
        "commit": run.commit,
        "validation": {"start": run.start, "end": run.end},
        "seconds": run.seconds,
        "steps_per_second": run.steps_per_second,
    }


def _headings(columns: list[str]) -> list[str]:
    """The last part of each key, or all of it where two end alike."""
    last = [key.split(".")[-1] for key in columns]
    return [short if last.count(short) == 1 else key for key, short in zip(columns, last, strict=True)]


def _parts(runs: list[Run]) -> list[str]:
    """The parts of the loss, where there is more than one."""
    names = list(dict.fromkeys(name for run in runs for name in run.end if name != "loss"))
    return names if len(names) > 1 else []


def _cells(run: Run, columns: list[str], parts: list[str]) -> list[str]:
    start, end, rate = run.start.get("loss"), run.end.get("loss"), run.steps_per_second
    return [
        run.name.partition("-")[0],
        *(_value(run.settings.get(key)) for key in columns),
        "–" if end is None else f"{end:.5f}",
        f"{100 * (end / start - 1):+.1f} %" if start and end is not None else "–",
        *(f"{run.end[part]:.5f}" if part in run.end else "–" for part in parts),
        "–" if rate is None else f"{rate:.3g}",
        span(run.seconds) if run.seconds else "–",
    ]


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def _heads(columns: list[str], parts: list[str]) -> list[str]:
    return ["run", *_headings(columns), "validation", "change", *parts, "steps/s", "time"]


_NOTE = "Validation: loss at fixed noise after the last step. Time and steps/s: of the whole process, start included."


def _table(record: dict, runs: list[Run], columns: list[str]) -> Table:
    table = Table(title=f"sweep {escape(record['sweep'])} of stage {record['stage']}, best first", caption=_NOTE)
    table.title_justify = table.caption_justify = "left"
    parts = _parts(runs)
    for place, head in enumerate(_heads(columns, parts)):
        table.add_column(head, justify="right" if place else "left")
    for place, run in enumerate(runs):
        best = place == 0 and "loss" in run.end
        table.add_row(
            *map(escape, _cells(run, columns, parts)), style="bold green" if best else "red" if run.error else ""
        )
    return table


def _page(record: dict, runs: list[Run], columns: list[str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    curves, parts = [run.curves for run in runs if run.curves], _parts(runs)
    rows = [
        {"cells": _cells(run, columns, parts), "run": run, "colour": colour if run.curves else "transparent"}
        for run, colour in zip(runs, itertools.chain(COLOURS, itertools.repeat(OTHERS)), strict=False)
    ]
    return environment.get_template(PAGE).render(
        record=record,
        heads=_heads(columns, parts),
        keys=columns,
        rows=rows,
        note=_NOTE,
        plot=draw_curves(curves) if curves else None,
    )
