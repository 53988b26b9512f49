"""What a run of the engine says of itself, for others to read while it works and afterwards."""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import CorruptArtifact

JOBS = "jobs"


@dataclass
class Job:
    """The file in which a run says what it does, written anew as it goes on. One for every sequence of unit names.

    ``units``: of each kind its name, its folder, how many were done before (``found``), which of these had failed
    (``found_failed``, keys), and how many rows wait for it as the run begins (``waiting``). ``finished`` of ``spooled``
    waiting rows are through all steps.
    """

    path: Path | None
    run: str
    units: list[dict[str, Any]]
    rows: int = 0
    spooled: int = 0
    finished: float = 0.0
    started: float = field(default_factory=time.time)
    updated: float = 0.0
    ended: float | None = None
    outcome: str = "running"
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @classmethod
    def of(cls, units: Sequence[Any], run: str) -> "Job":
        names = "-".join(unit.name for unit in units)
        path = units[0].folder / JOBS / f"{names}.json" if units else None
        kinds = [{"name": u.name, "folder": u.home.name, "found": 0, "found_failed": [], "waiting": 0} for u in units]
        return cls(path, run, kinds)

    def __enter__(self) -> "Job":
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.ended, self.outcome = time.time(), "finished" if kind is None else "stopped"
        self._write()

    def found(self, done: Mapping[str, int], failed: Mapping[str, list[str]], waiting: Mapping[str, int]) -> None:
        self.spooled = sum(waiting.values())
        for unit in self.units:
            name = unit["name"]
            unit |= {
                "found": done.get(name, 0),
                "found_failed": [*failed.get(name, [])],
                "waiting": waiting.get(name, 0),
            }
        self._write()

    def progress(self, share: float) -> None:
        self.finished += share
        if time.time() - self.updated > 1:
            self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        self.updated = time.time()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps({name: value for name, value in vars(self).items() if name != "path"}, indent=1))
        draft.rename(self.path)

    @property
    def alive(self) -> bool:
        """A process of that id is at work; of another machine: a sign of life came in the last two minutes."""
        import psutil

        if self.ended is not None:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.updated < 120
        try:
            return psutil.Process(self.pid).create_time() <= self.started + 1  # clocks are set
        except psutil.NoSuchProcess:
            return False


def jobs(units: Path) -> list[Job]:
    """Of every sequence of units the last run, oldest first. Raises CorruptArtifact."""
    found = []
    for path in (units / JOBS).glob("*.json"):
        try:
            found.append(Job(path=path, **json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise CorruptArtifact(f"{path} is damaged ({error}).", "Delete it: it only tells how a run went.") from None
    return sorted(found, key=lambda job: job.started)
