"""Sources where decoders can open them: decoders take local files, whatever store a source lies on."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

from infra import storage
from infra.errors import SteadyDancerError
from pipelines.work.stage import Row

CACHE_BYTES = 20 * 2**30
"""Copies that were not used for longest are removed beyond this, and made again when they are needed."""

IN_USE_SECONDS = 60.0
"""A copy that was asked for this recently may be about to be opened: it stays."""

DEAD_SECONDS = 3600.0
"""A download to which nothing was added for so long has lost its process."""

SLOWEST_STORE = 1e6
"""Bytes a second that a store must give at least."""

MARK_BYTES = 2**20
"""Bytes per mark in the file that counts what was added to the cache."""

_BLOCK = 8 * 2**20


class SourceChanged(SteadyDancerError):
    """A source has another content than when it was listed."""


def local(row: Row) -> Path:
    """A local file with the content of the source of ``row``.

    Reads ``path`` (a local path, or an address such as s3://bucket/name), ``source_id``, ``source_bytes`` and ``cache``
    (a folder of this machine for copies of what is not local). Of what is local only the size is compared, and what
    is gone is left to the decoder to say. Any number of processes may ask for the same. Raises SourceChanged,
    FileNotFoundError (a store), or SteadyDancerError where the store refuses.
    """
    if storage.is_local(row["path"]):
        path, expected = Path(row["path"]), row.get("source_bytes")
        if expected is not None and path.is_file() and (size := path.stat().st_size) != expected:
            raise SourceChanged(
                f"{row['source']} has {size} bytes now, {expected} when it was listed.", "Curate again."
            )
        return path
    cache, uri, source_id = Path(row["cache"]), row["path"], row["source_id"]
    target = _place(cache, source_id, uri)
    with storage.locked(cache / f".{source_id[:2]}.lock"):
        if target.is_file() and row.get("source_bytes") in (None, target.stat().st_size):
            os.utime(target)
            return target
        found, _ = _download(uri, cache, source_id)
    if found != source_id:
        raise SourceChanged(f"{row['source']} has another content now than when it was listed.", "Curate again.")
    return target


def seconds(row: Row) -> float:
    """How long getting the source of ``row`` may take: nothing where it lies here, else at SLOWEST_STORE."""
    if storage.is_local(row["path"]):
        return 0.0
    return 60.0 + (row.get("source_bytes") or 0) / SLOWEST_STORE


def content(uri: str, cache: Path | None, size: int | None = None) -> tuple[str, int]:
    """(SHA-256, bytes) of what lies on a store, read once; the copy stays in ``cache`` unless it is too large."""
    keep = cache if size is None or size <= CACHE_BYTES else None
    return _download(uri, keep, None)


def _place(cache: Path, source_id: str, uri: str) -> Path:
    suffix = PurePosixPath(uri.partition("?")[0]).suffix.lower()  # demuxers go by the content, some look at the name
    return cache / source_id[:2] / f"{source_id}{suffix}"


def _download(uri: str, cache: Path | None, expected: str | None) -> tuple[str, int]:
    """Kept under the name of its content, and only if that is the expected one."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    filesystem, root = storage.opened(uri)
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(prefix=".draft-", dir=cache, delete=False) as copy:
        try:
            with storage.told(uri), filesystem.open(root, "rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    size += len(block)
                    if cache is not None:
                        copy.write(block)
            copy.flush()
            found = digest.hexdigest()
            if cache is not None and expected in (None, found):
                place = _place(cache, found, uri)
                place.parent.mkdir(exist_ok=True)
                Path(copy.name).rename(place)
        finally:
            Path(copy.name).unlink(missing_ok=True)
    if cache is not None and _much_was_added(cache, size):
        make_room(cache)
    return found, size


def _much_was_added(cache: Path, size: int) -> bool:
    """Whether enough was downloaded since this was last true. A file counts it, a mark per MARK_BYTES, at least one per
    download, for the processes that download are many and short-lived.
    """
    count = cache / ".added"
    with count.open("ab") as file:
        file.write(b"." * max(1, size // MARK_BYTES))
    if count.stat().st_size < CACHE_BYTES / 32 / MARK_BYTES:
        return False
    count.write_bytes(b"")
    return True


def make_room(cache: Path, bound: int | None = None) -> None:
    """Removes the copies that were not used for longest until the rest fits, and what dead downloads left."""
    now, copies, total = time.time(), [], 0
    for path in cache.rglob("*"):
        with suppress(FileNotFoundError):  # another process makes room too
            facts = path.stat()
            if path.name.startswith(".draft-") and now - facts.st_mtime > DEAD_SECONDS:
                path.unlink()
            elif path.is_file() and not path.name.startswith("."):
                copies.append((facts.st_mtime, facts.st_size, path))
                total += facts.st_size
    for used, size, path in sorted(copies):
        if total <= (CACHE_BYTES if bound is None else bound) or now - used < IN_USE_SECONDS:
            return
        path.unlink(missing_ok=True)
        total -= size
