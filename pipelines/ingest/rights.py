"""What must be known of a source before it is used, and the lists of what must never be used."""

import posixpath
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from infra import storage
from infra.errors import UsageError
from infra.schema import Rights
from pipelines.columns import RIGHTS
from pipelines.work.stage import Row

PERSONAL = (*RIGHTS, "metadata", "caption", "sidecar")
"""What is not kept of a source that was opted out: its name and content hash say which one it is."""


@dataclass(frozen=True)
class Policy:
    """``required`` columns must have a value; ``opted_out`` maps what opt-out lists name to file and line."""

    required: tuple[str, ...]
    opted_out: dict[str, str]

    def __call__(self, rows: list[Row]) -> None:
        """Gives rows the fault ``opted_out`` or ``rights``. A source is opted out by its relative path, its address or
        provenance, its content's SHA-256 or its subject, and with it every source of the same content.
        """
        contents: dict[str, str] = {}
        for row in rows:
            named = (self.opted_out[name] for name in names(row) if name in self.opted_out)
            if (where := next(named, None)) is not None:
                contents.setdefault(row["source_id"], where)
        for row in rows:
            if (where := contents.get(row["source_id"])) is not None:
                row |= {"fault": "opted_out", "error": f"opted out by {where}", **dict.fromkeys(PERSONAL)}
            elif not row.get("fault") and (error := self._lacks(row)):
                row |= {"fault": "rights", "error": error}

    def _lacks(self, row: Row) -> str | None:
        if missing := [column for column in self.required if not row.get(column)]:
            return f"its metadata lacks {', '.join(missing)}"
        if (date := row.get("collected_at")) and not is_date(date):
            return f"collected_at is no ISO 8601 date: {date!r}"
        return None


def policy(rights: Rights, forgotten: Path | None = None) -> Policy:
    """The policy of a config. ``forgotten`` is the work folder's own list, which need not be there.

    Raises UsageError for an opt-out list that is not there or is no text.
    """
    opted_out: dict[str, str] = {}
    for place in [*rights.opt_out, *([str(forgotten)] if forgotten is not None and forgotten.exists() else [])]:
        for number, name in enumerate(_lines(place), 1):
            if name:
                opted_out.setdefault(name, f"line {number} of {posixpath.basename(place)}")
    return Policy(tuple(rights.required), opted_out)


def names(row: Row) -> Iterable[str]:
    """Everything by which an opt-out list may name a source."""
    address = None if storage.is_local(row.get("path") or "") else row["path"]
    for name in (row["source"], address, row.get("provenance"), row["source_id"], row.get("subject")):
        if name:
            yield spelled(name)


def spelled(name: str) -> str:
    """One spelling of a name: accents composed, no spaces around it, no ./ before a path, hashes in small letters."""
    name = unicodedata.normalize("NFC", name.strip()).removeprefix("./")
    return name.lower() if is_hash(name) else name


def is_hash(name: str) -> bool:
    """Whether a name is a content's SHA-256."""
    return len(name) == 64 and not set(name.lower()) - set("0123456789abcdef")


def _lines(place: str) -> list[str]:
    filesystem, root = storage.opened(Path(place).expanduser() if storage.is_local(place) else place)
    try:
        with storage.told(place):
            content = filesystem.cat_file(root)
    except OSError as error:
        raise UsageError(
            f"The opt-out list {place} cannot be read: {error.strerror or error}.", "Correct rights.opt_out."
        ) from None
    if b"\0" in content:
        raise UsageError(f"The opt-out list {place} is not a text file.", "Expected UTF-8, a name a line.")
    return [spelled(line) for line in content.decode("utf-8-sig", "replace").split("\n")]


def is_date(text: str) -> bool:
    """Whether ``collected_at`` may be so: an ISO 8601 date (2024-01-31, 20240131), with or without a time of day."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
