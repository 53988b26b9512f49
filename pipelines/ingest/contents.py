"""What sources hold, told by the SHA-256 of their content, each read once as long as it does not change."""

import hashlib
import json
import os
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import storage
from pipelines.ingest import fetching

UNSETTLED_SECONDS = 2.0
"""A file written this recently may be written again without its time changing (clocks of file systems are coarse): it
is not remembered."""


class ChangedWhileRead(OSError):
    """A file was written to while its content was read."""


@dataclass
class Contents:
    """Remembers contents in ``index``: a JSON line per source with path, size and times (on a store: size and entity
    tag). None: every source is read. ``cache`` keeps copies of what lies on a store, as it is read anyway.

    Lines are added as sources are read, so that an interrupted run does not read them again; :meth:`save` writes the
    file anew with the sources that were asked for.
    """

    index: Path | None = None
    cache: Path | None = None
    _known: dict[str, tuple[list, str]] = field(default_factory=dict)
    _asked: dict[str, tuple[list, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        if self.index is not None and self.index.is_file():
            for line in self.index.read_text().split("\n"):
                if (entry := _entry(line)) is not None:
                    self._known[entry[0]] = entry[1:]

    def remembered(self, path: str, listed: dict[str, Any] | None = None) -> tuple[str, int] | None:
        """(SHA-256, bytes) of a source that has not changed since it was read, or None. ``listed``: what the listing of
        a store says of it. Raises OSError for what is no readable file, SteadyDancerError where a store refuses.
        """
        stamp = _stamp(path, listed)
        known = self._known.get(path)
        if known is None or stamp is None or known[0] != stamp:
            return None
        self._asked[path] = known
        return known[1], stamp[0]

    def read(self, path: str, listed: dict[str, Any] | None = None) -> tuple[str, int]:
        """(SHA-256, bytes) by reading the source. May be called from several threads. Raises as :meth:`remembered`, and
        ChangedWhileRead.
        """
        before = _stamp(path, listed)
        if storage.is_local(path):
            with Path(path).open("rb") as file:
                digest, size = hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
        else:
            digest, size = fetching.content(path, self.cache, before[0] if before else None)
        if before is not None and (before[0] != size or storage.is_local(path) and _stamp(path, None) != before):
            raise ChangedWhileRead("it was changed while it was read")
        if before is not None and not (storage.is_local(path) and time.time() - before[1] / 1e9 < UNSETTLED_SECONDS):
            self._remember(path, before, digest)
        return digest, size

    def _remember(self, path: str, stamp: list, digest: str) -> None:
        with self._lock:
            self._asked[path] = (stamp, digest)
            if self.index is not None:
                with self.index.open("a") as file:
                    file.write(_text(path, stamp, digest))

    def save(self) -> None:
        """Forgets what was not asked for."""
        if self.index is None or self._asked == self._known:
            return
        draft = self.index.with_name(f".{self.index.name}.draft")
        draft.write_text("".join(_text(path, *entry) for path, entry in sorted(self._asked.items())))
        draft.replace(self.index)


def _stamp(path: str, listed: dict[str, Any] | None) -> list | None:
    """[bytes, what changes with the content]; None where a store does not tell."""
    if storage.is_local(path):
        facts = os.stat(path)  # noqa: PTH116 100,000 of them
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("it is no file")
        return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    if listed is None:
        filesystem, root = storage.opened(path)
        with storage.told(path):
            listed = filesystem.info(root)
    tag = next(
        (listed[key] for key in ("ETag", "etag", "LastModified", "last_modified", "created") if listed.get(key)), None
    )
    return None if tag is None or listed.get("size") is None else [listed["size"], str(tag)]


def _text(path: str, stamp: list, digest: str) -> str:
    return json.dumps({"path": path, "stamp": stamp, "sha256": digest}) + "\n"


def _entry(line: str) -> tuple[str, list, str] | None:
    """A line of the index; None for one that a killed process left half-written."""
    try:
        entry = json.loads(line)
        return entry["path"], list(entry["stamp"]), str(entry["sha256"])
    except (ValueError, KeyError, TypeError):
        return None
