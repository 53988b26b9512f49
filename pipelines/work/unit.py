"""A unit of work: stages run on one row, the result published and recorded once, so that no rerun repeats it."""

import contextlib
import functools
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError
from pipelines.work.guard import Work, work
from pipelines.work.ledger import KEY_LENGTH, LEDGER, Ledger, Record, Segment, new_run
from pipelines.work.stage import PipelineError, Row, Stage, check, run

_AGAIN = "Run the same command again: it makes what is missing."


def rejected(row: Row) -> bool:
    """Nothing more is to be done for this row."""
    return bool(row.get("fault")) or row.get("verdict") == "rejected"


@dataclass(frozen=True)
class Unit:
    """A kind of unit of work.

    ``identity`` names the column whose value says which unit it is; with the settings of the stages it says where the
    unit's files lie under ``folder``. The stages find a local column ``folder``, an empty folder for these files.
    Rejected rows pass through untouched. What becomes of every unit is written to the ledger; a failed one gives its
    row the fault and the error that say why.
    """

    name: str
    identity: str
    stages: tuple[Stage, ...]
    folder: Path

    @property
    def settings(self) -> Row:
        return {"unit": self.name, "stages": [stage.settings() for stage in self.stages]}

    @cached_property
    def _hash(self) -> str:
        return commits.config_hash(self.settings)

    @cached_property
    def home(self) -> Path:
        """The folder of all units of this kind and these settings."""
        return self.folder / f"{self.name}-{self._hash[:12]}"

    @cached_property
    def _home(self) -> str:
        return str(self.home)

    @property
    def ledger(self) -> Ledger:
        """What this process knows of the units of this kind; :meth:`Ledger.refresh` reads on."""
        return _ledger(self.home)

    def key(self, identity: str) -> str:
        return hashlib.sha256(f"{self._hash} {identity}".encode()).hexdigest()[:KEY_LENGTH]

    def place(self, identity: str) -> Path:
        """Where the unit's files lie. Nested, so that no folder grows with the number of clips."""
        return self._place(self.key(identity))

    def _place(self, key: str) -> Path:
        return self.home / key[:3] / key

    def file(self, identity: str, name: str) -> Path:
        """A file of a unit that is done, its content checked. Raises CorruptArtifact."""
        record, path = self._record(identity), self.place(identity) / name
        if name not in record.files:
            raise CorruptArtifact(f"{path} was never made.", _AGAIN)
        again = f"Delete {path.parent} and run the same command again: this unit of work is then done anew."
        expected, size = record.files[name]
        if not path.is_file():
            raise CorruptArtifact(f"{path} is missing, {size} bytes were made.", again)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            message = f"{path} was changed after it was made.\n  expected sha256 {expected}\n  found    sha256 {found}"
            raise CorruptArtifact(message, again)
        return path

    def _record(self, identity: str) -> Record:
        key = self.key(identity)
        record = self.ledger.find(key) or self.ledger.refresh().find(key)
        if record is None:
            raise CorruptArtifact(f"{self._place(key)} was never made: unit {self.name} of {identity}.", _AGAIN)
        return record

    def find(self, identity: str) -> Record | None:
        """The record of a unit that was done, well or not; its files are there, and of their sizes."""
        record = self.ledger.find(self.key(identity))
        return record if record is not None and self._intact(record) else None

    def _intact(self, record: Record) -> bool:
        place = f"{self._home}/{record.key[:3]}/{record.key}"  # texts and no paths: this is asked of 100,000 units
        try:
            return all(os.stat(f"{place}/{name}").st_size == size for name, (_, size) in record.files.items())  # noqa: PTH116
        except OSError:
            return False

    def rows(self, record: Record, row: Row) -> list[Row]:
        """``row`` with what the unit of that record made of it."""
        if record.fault:
            return [{**row, "fault": record.fault, "error": record.error}]
        return [{**row, **written} for written in record.rows]

    def __call__(self, row: Row) -> list[Row]:
        """The unit done here and now, unguarded, unless it is done already. Failures are recorded, and tried again."""
        if rejected(row):
            return [row]
        self.ledger.refresh()
        record = self.find(row[self.identity])
        if record is None or record.fault:
            with self.desk(new_run(), self.key(row[self.identity])) as desk:
                record = desk.record(row, lambda at: work(self.stages, at))
        return self.rows(record, row)

    @contextlib.contextmanager
    def desk(self, run: str, block: str) -> Iterator["Desk"]:
        """Where one process does the units of one block."""
        segment = Segment(self.home / LEDGER, run, block)
        draft = self.home / "drafts" / f"{run}-{socket.gethostname()}-{os.getpid()}"
        try:
            yield Desk(self, segment, draft)
        finally:
            segment.close()
            shutil.rmtree(draft, ignore_errors=True)


@functools.cache
def _ledger(home: Path) -> Ledger:
    return Ledger(home / LEDGER)


@dataclass(frozen=True)
class Desk:
    """Does units of one kind, one after the other."""

    unit: Unit
    segment: Segment
    draft: Path

    def record(self, row: Row, make: Callable[[Row], Work]) -> Record:
        """The unit of ``row``, done by ``make`` unless this block of this run had it done. Its files are published by
        one rename before its line is written."""
        identity = row[self.unit.identity]
        key = self.unit.key(identity)
        if (record := self.segment.records.get(key)) is not None:
            return record
        self.draft.mkdir(parents=True, exist_ok=True)
        done = make({**row, "folder": self.draft})
        if not self.draft.exists():  # only the next run sweeps drafts: this process is left over from one that is gone
            raise SteadyDancerError(f"Another run has taken over {self.unit.folder}.")
        if done.files:
            self._publish(self.unit._place(key))
        elif done.fault:
            shutil.rmtree(self.draft)
        record = Record.of(key, identity, done)
        self.segment.append(record)
        return record

    def _publish(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                self.draft.rename(place)
                return
            except OSError:
                if not place.exists():
                    raise
            old = self.draft.with_name(f"{self.draft.name}-old")
            with contextlib.suppress(FileNotFoundError):
                place.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def attempt(step: Stage, row: Row) -> list[Row]:
    """The rows that a lone stage makes of ``row``. If it raises the row gets the fault ``failed`` and what was said."""
    try:
        return run((step,), row)
    except Exception as error:  # noqa: BLE001 whatever it is, it is this row's
        return [{**row, "fault": "failed", "error": f"{type(error).__name__}: {error}"}]


def check_units(steps: Sequence[Unit | Stage], initial: Iterable[str]) -> set[str]:
    """The columns there are after ``steps``; local columns end with their unit. Raises PipelineError."""
    known = {*initial, "fault", "error"}
    for step in steps:
        stages = step.stages if isinstance(step, Unit) else (step,)
        if isinstance(step, Unit) and step.identity not in known:
            raise PipelineError(f"Unit {step.name} is identified by {step.identity}, which nothing before it writes.")
        local = {"folder", *(column for stage in stages for column in stage.local)}
        known = check(stages, known | {"folder"}) - local
    return known
