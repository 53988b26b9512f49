"""A stage: a small class with one job. It says what it reads, writes and needs; where it runs is not its business."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from infra.errors import SteadyDancerError

Row = dict[str, Any]


class PipelineError(SteadyDancerError):
    """The stages do not fit together."""


@dataclass(frozen=True)
class Stage:
    """Takes a row and returns what it adds to it, or one such dict per row it makes of it.

    ``writes`` are columns that go on: plain numbers, text and lists of them. ``local`` are columns that never leave the
    task (frames, tracks). The fields of a stage are its settings: together with ``version``, which is raised whenever
    the same settings give another result, they identify what it makes. A field with ``metadata={"setting": False}``
    is left out.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()
    local: ClassVar[tuple[str, ...]] = ()
    num_cpus: ClassVar[float] = 1.0
    num_gpus: ClassVar[float] = 0.0
    memory: ClassVar[int] = 512 * 2**20
    deadline: ClassVar[float] = 60.0
    version: ClassVar[int] = 1

    def __call__(self, row: Row) -> Row | list[Row]:
        raise NotImplementedError

    def seconds_allowed(self, row: Row) -> float:
        """How long ``row`` may take. A stage whose work grows with the row says more than its ``deadline``."""
        return self.deadline

    def settings(self) -> Row:
        """What identifies the stage's result, as plain data."""
        fields = [f for f in dataclasses.fields(self) if f.metadata.get("setting", True)]
        return {
            "stage": type(self).__name__,
            "version": self.version,
            **{f.name: getattr(self, f.name) for f in fields},
        }


@dataclass(frozen=True)
class PerProcess:
    """Something dear to build (an estimator, encoders): built when it is first needed, once in every worker process."""

    settings: Row
    build: Callable[[Row], Any]
    operational: Row = dataclasses.field(default_factory=dict)
    """Settings that change how it works and not what comes out: no part of a stage's identity."""

    def get(self) -> Any:
        settings = self.settings | self.operational
        key = self.build.__module__, self.build.__qualname__, json.dumps(settings, sort_keys=True)
        if key not in _BUILT:
            with building():
                _BUILT[key] = self.build(settings)
        return _BUILT[key]


_BUILT: dict[tuple[str, str, str], Any] = {}

building: Callable[[], AbstractContextManager] = nullcontext
"""Entered for every build. A guarded process puts its own here: what building takes is not the row's."""


def check(stages: Sequence[Stage], initial: Iterable[str]) -> set[str]:
    """The columns there are after ``stages``. Raises PipelineError if one reads what nobody wrote before it."""
    known = set(initial)
    for stage in stages:
        missing = [column for column in stage.reads if column not in known]
        if missing:
            later = [type(s).__name__ for s in stages if set(missing) & {*s.writes, *s.local}]
            raise PipelineError(
                f"Stage {type(stage).__name__} reads {', '.join(missing)}, which no stage before it writes.",
                f"Put it after {' and '.join(later)}." if later else "Add a stage that writes it.",
            )
        known.update(stage.writes, stage.local)
    return known


def run(stages: Sequence[Stage], row: Row, begins: Callable[[Stage, Row], None] = lambda stage, row: None) -> list[Row]:
    """One row through ``stages``, here and now. ``begins`` is told of every call before it is made.

    Raises PipelineError if a stage writes what it does not declare.
    """
    rows = [row]
    for stage in stages:
        made = []
        for current in rows:
            begins(stage, current)
            result = stage(current)
            for added in result if isinstance(result, list) else [result]:
                if undeclared := set(added) - {*stage.writes, *stage.local}:
                    raise PipelineError(
                        f"Stage {type(stage).__name__} does not declare that it writes {sorted(undeclared)}."
                    )
                made.append({**current, **added})
        rows = made
    return rows
