"""A row for each source: what its content is, what is said of it, and whether it may be used."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra import storage
from infra.errors import SteadyDancerError
from pipelines.columns import RIGHTS
from pipelines.ingest import tables
from pipelines.ingest.contents import Contents
from pipelines.ingest.sources import Source
from pipelines.ingest.tables import storable
from pipelines.work.stage import Row

READERS = 8
"""Threads that read sources: hashing and waiting for a store both let the others go on."""
SIDECAR_BYTES = 65536


def describe(
    found: Iterable[Source],
    *,
    index: Path | None = None,
    cache: Path | None = None,
    policy: Callable[[list[Row]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """A row per source: ``path``, ``source``, ``source_id`` (SHA-256 of its content), ``source_bytes``, ``sidecar``
    (text of a .txt beside it), the columns of rights, ``caption`` and ``metadata`` (JSON) as tables give them,
    ``cache``, and ``copy``, which of the files of this name and content it is.

    ``index`` (a file) remembers contents: what has not changed is not read again. ``cache`` (a folder) keeps what was
    read from a store. ``policy`` gives rows a fault for their rights
    (:class:`pipelines.ingest.rights.Policy`). ``progress`` is told how many of how many sources were read.

    Of sources with the same content that have no other fault the first by name stays, the others get the fault
    ``duplicate``. A file that cannot be read, or changes meanwhile, gets the fault ``unreadable``, and the hash of its
    name for a content hash. Sorted, so that the order in which places were named does not matter.
    """
    sources, contents = list(found), Contents(index, cache)
    rows = [_row(source, cache) for source in sources]
    jobs = [job for job in zip(sources, rows, strict=True) if job[1].get("fault") != "unreadable"]
    here = [job for job in jobs if storage.is_local(job[0].path)]
    unread = [job for job in here if not _fill(*job, contents.remembered)]
    unread += [job for job in jobs if not storage.is_local(job[0].path)]

    def read(job: tuple[Source, Row]) -> None:
        source, row = job
        if storage.is_local(source.path) or not _fill(source, row, contents.remembered):
            _fill(source, row, contents.read)

    with ThreadPoolExecutor(READERS) as pool:
        for done, _ in enumerate(pool.map(read, unread), 1):
            if progress is not None:
                progress(done, len(unread))
    contents.save()
    for row in rows:
        if row["source_id"] is None:
            row["source_id"] = hashlib.sha256(row["source"].encode()).hexdigest()
    rows.sort(key=lambda row: (row["source"], row["source_id"], row["path"]))
    if policy is not None:
        policy(rows)
    _tell_copies_apart(rows)
    return rows


def _row(source: Source, cache: Path | None) -> Row:
    metadata = source.facts.get("metadata")
    row: Row = {
        "path": source.path,
        "source": source.name,
        "source_id": None,
        "source_bytes": None,
        **{column: source.facts.get(column) for column in (*RIGHTS, "caption")},
        "metadata": tables.canonical(metadata) if metadata else None,
        "sidecar": None,
        "cache": None if cache is None else str(cache),
    }
    return row if source.fault is None else {**row, "fault": source.fault, "error": source.error}


def _fill(source: Source, row: Row, look: Callable) -> bool:
    """Puts into the row what ``look`` finds of its content, and its sidecar; or the fault of what cannot be read.
    False: ``look`` found nothing.
    """
    try:
        known = look(source.path, source.listed)
        if known is None:
            return False
        row["source_id"], row["source_bytes"] = known
        row["sidecar"] = _sidecar(source.sidecar)
    except (OSError, ValueError, SteadyDancerError) as error:  # ValueError: a name that no file can have
        gone = isinstance(error, FileNotFoundError)  # a store names the address there
        said = "No such file" if gone else str(getattr(error, "strerror", None) or error).splitlines()[0]
        said = said.replace(source.path, source.name)
        row |= {"fault": "unreadable", "error": storable(f"cannot be read: {said}")}
        if source.told_by:
            row["error"] += f" ({source.told_by})"
    return True


def _sidecar(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        if storage.is_local(path):
            with Path(path).open("rb") as file:
                content = file.read(SIDECAR_BYTES)
        else:
            filesystem, root = storage.opened(path)
            with storage.told(path):
                content = filesystem.cat_file(root, start=0, end=SIDECAR_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise OSError(f"its caption beside it: {error.strerror or error}") from None
    return content.decode("utf-8", errors="replace").strip() or None


def _tell_copies_apart(rows: list[Row]) -> None:
    first: dict[str, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        row["copy"] = seen[row["source"], row["source_id"]]
        seen[row["source"], row["source_id"]] += 1
        if row.get("fault"):
            continue
        if row["source_id"] in first:
            row |= {"fault": "duplicate", "error": f"same content as {first[row['source_id']]}"}
        first.setdefault(row["source_id"], row["source"])
