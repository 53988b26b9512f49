"""The ledger of a kind of unit: which units are done and what they gave, and which failed and why.

A folder of segments. A segment is a text file that is only ever appended to, a line of JSON per finished unit, by the
worker that does a block of a run; its name starts with the run's. A line counts if it is whole: it carries the CRC-32
of what follows it. Of several lines about one unit that of the latest run counts.

Nothing waits for the disk here. What a power cut takes is work to be done again: a line that is lost or torn is as if
never written, and files are checked against theirs.
"""

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.work.guard import Work
from pipelines.work.stage import Row

_START, _KEY = b'{"crc": "', b'", "key": "'
_BODY_AT = len(_START) + 8 + len(_KEY)
KEY_LENGTH = 32
LEDGER = "ledger"
"""Name of the folder in that of the units."""


@dataclass(frozen=True)
class Record:
    """One unit. ``key`` (32 hex digits) says which in file names, ``identity`` in the rows' words.

    ``files`` are SHA-256 and bytes by name. ``finished`` is in seconds since 1970.
    """

    key: str
    identity: str
    rows: list[Row]
    files: dict[str, list]
    fault: str | None
    error: str | None
    seconds: float
    cpu_seconds: float
    finished: float
    run: str = ""

    @classmethod
    def of(cls, key: str, identity: str, work: Work) -> "Record":
        return cls(key, identity, finished=time.time(), **vars(work))

    def line(self) -> bytes:
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"key", "run"}}
        text = json.dumps(content, allow_nan=False).encode()
        body = self.key.encode() + b'", ' + text[1:]
        return _START + b"%08x" % zlib.crc32(body) + _KEY + body + b"\n"


def key_of(line: bytes) -> str | None:
    """The key of a whole line; None for any other."""
    body = line[_BODY_AT:-1]
    if line[:_BODY_AT] != _START + b"%08x" % zlib.crc32(body) + _KEY or not line.endswith(b"}\n"):
        return None
    return body[:KEY_LENGTH].decode()


def record_of(line: bytes, run: str) -> Record:
    content: dict[str, Any] = json.loads(line)
    del content["crc"]
    return Record(**content, run=run)


def new_run() -> str:
    """A name that sorts after those of all earlier runs."""
    return f"{time.time_ns():020d}"


def run_of(segment: Path) -> str:
    return segment.name.partition("-")[0]


class Segment:
    """Where one block of a run is written down. What a worker that died had written of it is in ``records``."""

    def __init__(self, folder: Path, run: str, block: str):
        self.path = folder / f"{run}-{block}.jsonl"
        self.records: dict[str, Record] = {}
        self._file: BinaryIO | None = None
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines(keepends=True):
                if (key := key_of(line)) is not None:
                    self.records[key] = record_of(line, run)

    def append(self, record: Record) -> None:
        """One write of one whole line: what reads at the same time sees all of it or a torn end that it passes over."""
        line = record.line()
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            if self._file.tell() and not self.path.read_bytes().endswith(b"\n"):
                line = b"\n" + line
        self._file.write(line)
        self.records[record.key] = record

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Ledger:
    """All segments of a kind of unit. It holds where each unit's line lies, some 250 bytes a unit, and no content."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._segments: list[Path] = []
        self._ends: dict[str, tuple[int, int]] = {}
        self._lines: dict[str, tuple[int, int, int]] = {}
        self._open: tuple[int, BinaryIO] | None = None

    def refresh(self) -> "Ledger":
        """Reads what was written since the last time."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".jsonl"))
        except FileNotFoundError:
            return self
        for name in names:
            number, end = self._ends.get(name, (len(self._segments), 0))
            if number == len(self._segments):
                self._segments.append(self.folder / name)
            self._ends[name] = number, self._index(number, end)
        return self

    def _index(self, number: int, end: int) -> int:
        path = self._segments[number]
        if path.stat().st_size <= end:
            return end
        with path.open("rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):  # still being written, or torn for ever
                    break
                if (key := key_of(line)) is not None:
                    known = self._lines.get(key)
                    if known is None or run_of(self._segments[known[0]]) <= run_of(path):
                        self._lines[key] = number, end, len(line)
                end += len(line)
        return end

    def find(self, key: str) -> Record | None:
        """What is known of a unit; None where nothing is, or where its line was damaged since it was indexed."""
        if (place := self._lines.get(key)) is None:
            return None
        number, offset, length = place
        if self._open is None or self._open[0] != number:
            if self._open is not None:
                self._open[1].close()
            self._open = number, self._segments[number].open("rb")
        line = os.pread(self._open[1].fileno(), length, offset)
        return record_of(line, run_of(self._segments[number])) if key_of(line) == key else None

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Record]:
        """The record that counts of every unit."""
        for key in self._lines:
            if (record := self.find(key)) is not None:
                yield record
