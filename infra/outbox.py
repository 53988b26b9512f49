"""What the runs of a work folder have to tell MLflow, kept on disk until it is told.

    outbox/stage1/1734567890123456789-3fa2.jsonl   a line of JSON per entry, only ever appended to
    outbox/stage1/.files/                          artifacts, as they were when they were logged
    outbox/stage1/delivered.json                   how far each file of entries was sent
    outbox/stage1/refused.jsonl                    entries that MLflow will never take, and why

Every process writes a file of its own, because appending is not atomic between the nodes of a network file system. An
entry is one write: what a kill leaves is a torn last line at most. Nothing waits for the disk here; a power cut may
take the last entries. The folder of the artifacts is hidden from searches for committed artifacts: records of commits
are among them.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from infra.commits import COMMIT_FILE
from infra.errors import SteadyDancerError

KINDS: dict[str, set[str]] = {
    "run": {"name", "parent", "tags"},
    "status": {"status"},
    "metrics": set(),
    "params": set(),
    "tags": set(),
    "inputs": {"name", "digest", "uri"},
    "artifact": {"file", "folder"},
}
"""The values that an entry of each kind has."""
DAMAGED = "damaged"
LIMITS = {"metrics": 1000, "params": 100, "tags": 100}
"""How many values one request to MLflow may hold. Entries of other kinds are sent one by one."""

_FILES, _DELIVERED, _REFUSED = ".files", "delivered.json", "refused.jsonl"


@dataclass(frozen=True)
class Entry:
    """``time`` is in milliseconds since 1970, ``values`` are those of :data:`KINDS`, or any value by name. ``parent``
    of a run is the name of another journal, or None; ``file`` of an artifact is what :meth:`Journal.keep` returned.
    """

    kind: str
    time: int
    values: dict[str, Any]
    step: int = 0

    @classmethod
    def read(cls, line: bytes) -> "Entry":
        """A line that is none is an entry of the kind DAMAGED."""
        try:
            entry = cls(**json.loads(line))
        except (ValueError, TypeError):
            return cls(DAMAGED, 0, {"line": line.decode(errors="replace")})
        whole = entry.kind in KINDS and isinstance(entry.values, dict) and entry.values.keys() >= KINDS[entry.kind]
        if whole and type(entry.time) is int and type(entry.step) is int:
            return entry
        return cls(DAMAGED, 0, {"line": line.decode(errors="replace")})

    def line(self) -> bytes:
        return json.dumps(vars(self)).encode() + b"\n"


@dataclass
class Batch:
    """Entries of one kind that follow each other in a file; ``end`` is where that file goes on."""

    segment: str
    entries: list[Entry] = field(default_factory=list)
    end: int = 0

    def takes(self, entry: Entry) -> bool:
        if not self.entries:
            return True
        size = sum(len(e.values) for e in self.entries) + len(entry.values)
        return entry.kind == self.entries[0].kind and size <= LIMITS.get(entry.kind, 0)


class Journal:
    """The entries of one run. Threads may share it. Cheap to send to another process, which has a file of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = unquote(folder.name)
        self._file: int | None = None
        self._torn = False
        self._writing = threading.Lock()

    def __reduce__(self):
        return type(self), (self.folder,)

    def append(self, kind: str, values: Mapping[str, Any], step: int = 0) -> None:
        """Writes entries of at most :data:`LIMITS` values. Raises SteadyDancerError where the disk takes nothing."""
        now, items = time.time_ns() // 1_000_000, list(values.items())
        limit = LIMITS.get(kind, len(items) or 1)
        with self._writing, self._told():
            for start in range(0, len(items), limit):
                self._write(Entry(kind, now, dict(items[start : start + limit]), step).line())

    def keep(self, path: Path) -> str:
        """Keeps a file as it is now, for an entry to name. Raises SteadyDancerError if it cannot be read or kept.

        What lies in a committed artifact is never written again, so that a second name (hard link) keeps it.
        """
        committed = any((parent / COMMIT_FILE).is_file() for parent in path.parents)
        with self._told():
            target = self._new_file(path.name)
            if committed:
                with contextlib.suppress(OSError):  # another file system, or one without links
                    os.link(path.resolve(), target)
                    return self._place(target)
            shutil.copyfile(path, target)
        return self._place(target)

    def keep_text(self, text: str, name: str) -> str:
        """Keeps a text as a file of that name, for an entry to name."""
        with self._told():
            target = self._new_file(name)
            target.write_text(text, encoding="utf-8")
        return self._place(target)

    def kept(self, place: str) -> Path | None:
        """The file that an entry names; None where it is gone."""
        root = self.folder / _FILES
        path = root / place
        inside = path.resolve().is_relative_to(root.resolve())
        return path if inside and path.is_file() else None

    def entries(self) -> Iterator[Entry]:
        """All of them from the first on, told or not, without damaged ones."""
        for segment in self._segments():
            for _, line in self._lines(segment, 0):
                if (entry := Entry.read(line)).kind != DAMAGED:
                    yield entry

    def waiting(self, dead_before: int = 0) -> Iterator[Batch]:
        """What is not :meth:`passed` yet, in order. Who wrote files begun before ``dead_before`` (ns) is no more: a
        line without its end is damaged there, and elsewhere still being written.
        """
        delivered = self._delivered()
        for segment in self._segments():
            batch = Batch(segment)
            for end, line in self._lines(segment, delivered.get(segment, 0), int(segment[:19]) < dead_before):
                entry = Entry.read(line)
                if not batch.takes(entry):
                    yield batch
                    batch = Batch(segment)
                batch.entries.append(entry)
                batch.end = end
            if batch.entries:
                yield batch

    def passed(self, batch: Batch) -> None:
        """Notes that the batch was sent or set aside. A kill before this sends it again, which MLflow stores once."""
        draft = self.folder / f".{_DELIVERED}"
        draft.write_text(json.dumps({**self._delivered(), batch.segment: batch.end}))
        draft.replace(self.folder / _DELIVERED)

    def drop(self, entries: list[Entry]) -> None:
        """Removes the files kept for entries that were sent."""
        for entry in entries:
            if entry.kind == "artifact" and (path := self.kept(entry.values["file"])) is not None:
                shutil.rmtree(path.parent)

    def postpone(self, entry: Entry) -> None:
        """Writes an entry once more, behind all others."""
        with self._writing, self._told():
            self._write(entry.line())

    def refuse(self, entry: Entry, reason: str) -> Path:
        """Sets an entry aside; returns the file in which it is."""
        with (self.folder / _REFUSED).open("a") as file:
            file.write(json.dumps({"reason": reason, **vars(entry)}) + "\n")
        return self.folder / _REFUSED

    def count(self) -> int:
        """How many entries wait."""
        return sum(len(batch.entries) for batch in self.waiting())

    def _delivered(self) -> dict[str, int]:
        try:
            return dict(json.loads((self.folder / _DELIVERED).read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # sent once more, which MLflow stores once
            return {}

    def _segments(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("[0-9]*-*.jsonl"))

    def _lines(self, segment: str, start: int, dead: bool = False) -> Iterator[tuple[int, bytes]]:
        path = self.folder / segment
        if path.stat().st_size <= start:
            return
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                start += len(line)
                if line.endswith(b"\n") or dead:
                    yield start, line

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{time.time_ns():019d}-{uuid.uuid4().hex[:8]}.jsonl"
            self._file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:  # a full disk takes a part, and refuses the next
            rest = rest[os.write(self._file, rest) :]
            self._torn = len(rest) > 0

    def _new_file(self, name: str) -> Path:
        folder = self.folder / _FILES / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder / name

    def _place(self, target: Path) -> str:
        return target.relative_to(self.folder / _FILES).as_posix()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise SteadyDancerError(
                f"What MLflow is to be told cannot be kept in {self.folder}:{where} {error.strerror}.",
                "Free disk space or correct the path; then run the same command again.",
            ) from error


class Outbox:
    """The journals of a work folder."""

    def __init__(self, work: Path):
        self.folder = work / "outbox"
        self._journals: dict[str, Journal] = {}

    def journal(self, name: str) -> Journal:
        if name not in self._journals:
            self._journals[name] = Journal(self.folder / quote(name, safe="").replace(".", "%2E"))
        return self._journals[name]

    def journals(self) -> list[Journal]:
        """Those that have entries, the longest waiting first."""
        first = {}
        for folder in self.folder.glob("*/"):
            if segments := sorted(folder.glob("[0-9]*-*.jsonl")):
                first[segments[0].name] = unquote(folder.name)
        return [self.journal(first[key]) for key in sorted(first)]

    def count(self) -> int:
        """How many entries wait for MLflow."""
        return sum(journal.count() for journal in self.journals())
