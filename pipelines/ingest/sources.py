"""Finding the videos, on this machine and on object stores."""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.utils import glob_translate

from infra import storage
from infra.errors import SteadyDancerError
from pipelines.columns import RIGHTS
from pipelines.ingest import tables
from pipelines.ingest.tables import Line, SourceError, storable

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


@dataclass
class Source:
    """A video: ``path`` is absolute, or an address on a store; ``name`` is relative and all that a manifest shows.

    ``sidecar`` is where its caption would be. ``facts`` come from tables; ``fault`` and ``error`` say why it cannot be
    used. ``listed`` is what the listing of a store says of it.
    """

    path: str
    name: str
    sidecar: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    told_by: str = ""
    fault: str | None = None
    error: str | None = None
    listed: dict[str, Any] | None = None


def find(places: Iterable[str | Path]) -> list[Source]:
    """The videos of folders (searched to the bottom), files, globs, tables and lists, sorted by their relative names.

    Each place may be a path or an address such as s3://bucket/folder. Tables (.csv, .jsonl, .parquet) name a file a row
    in the column path, source or url, relative to the table; the other columns are its metadata. Where no file is
    there, the row tells of the videos that were found otherwise under that relative name. Lists (.txt) name a file a
    line. A line that names no video is a source with the fault ``unreadable``.

    Raises SourceError naming a place that is not there, a folder that cannot be read, a file that is no video by its
    name, and, if nothing is found at all, every place that was searched.
    """
    places = [_place(place) for place in places]
    found: dict[str, Source] = {}
    named = []
    for place in places:
        kind = posixpath.splitext(place)[1].lower()
        if kind in tables.TABLES + tables.LISTS and _kind_of(place) == "file":
            named.append(place)
            continue
        for source in _videos(place):
            _add(found, source)
    by_name: dict[str, list[Source]] = {}
    for source in found.values():
        by_name.setdefault(source.name, []).append(source)
    for table in named:
        for line in tables.read(table):
            for source in _sources_of(line, table, found, by_name):
                _add(found, source)
    if not found:
        searched = ", ".join(places) or "no place"
        raise SourceError(
            f"No video found in {searched}.", f"Looked for {', '.join(sorted(SUFFIXES))} in all subfolders."
        )
    for source in found.values():
        if source.sidecar in named:
            source.sidecar = None
    return sorted(found.values(), key=lambda source: (source.name, source.path))


def _place(place: str | Path) -> str:
    place = str(place).removeprefix("file://")
    if storage.is_local(place):
        return os.path.abspath(os.path.expanduser(place))  # noqa: PTH100 PTH111
    return _address(place)


def _address(uri: str) -> str:
    """The one spelling of an address."""
    filesystem, root = storage.opened(uri)
    return filesystem.unstrip_protocol(root)


def _kind_of(place: str) -> str | None:
    """file, directory or None."""
    if storage.is_local(place):
        path = Path(place)
        return "directory" if path.is_dir() else "file" if path.exists() else None
    filesystem, root = storage.opened(place)
    try:
        with storage.told(place):
            return filesystem.info(root)["type"]
    except FileNotFoundError:
        return None


def _videos(place: str) -> Iterator[Source]:
    kind = _kind_of(place)
    if kind == "directory":
        yield from _folder(place)
    elif kind == "file":
        if not _is_video(place):
            raise SourceError(
                f"Source {place} is not a video by its name.",
                f"Expected: {', '.join(sorted(SUFFIXES | {*tables.TABLES, *tables.LISTS}))}.",
            )
        yield _source(place, posixpath.basename(place))
    elif re.search(r"[*?\[]", place):
        yield from _matching(place)
    else:
        raise SourceError(
            f"Source {place} does not exist.", "Correct `sources`: folders, videos, globs, tables or lists of videos."
        )


def _is_video(path: str) -> bool:
    return posixpath.splitext(path.partition("?")[0] if "://" in path else path)[1].lower() in SUFFIXES


def _source(path: str, name: str, **facts: Any) -> Source:
    return Source(path, storable(name), sidecar=posixpath.splitext(path)[0] + ".txt", **facts)


def _folder(place: str) -> Iterator[Source]:
    """Every video below a folder."""
    if storage.is_local(place):
        for path in _walk(place):
            yield _source(path, os.path.relpath(path, place))
        return
    filesystem, root = storage.opened(place)
    with storage.told(place):
        listing = filesystem.find(root, detail=True)
    for path, listed in listing.items():
        if _is_video(path):
            source = _source(filesystem.unstrip_protocol(path), _below(path, root), listed=listed)
            if posixpath.splitext(path)[0] + ".txt" not in listing:
                source.sidecar = None
            yield source


def _below(path: str, root: str) -> str:
    return path.removeprefix(root.rstrip("/")).lstrip("/")


def _matching(pattern: str) -> Iterator[Source]:
    """What a glob names, and all below the folders it names; relative to the part without wildcards."""
    wild = re.search(r"[*?\[]", pattern).start()
    base = pattern[:wild].rpartition("/")[0]
    if _kind_of(base) != "directory":
        raise SourceError(f"Source {pattern}: there is no folder {base}.", "Correct `sources`.")
    matches, found = re.compile(glob_translate(pattern[len(base) + 1 :])), False
    for source in _folder(base):
        parts = source.name.split("/")
        if any(matches.match("/".join(parts[:depth])) for depth in range(1, len(parts) + 1)):
            found = True
            yield source
    if not found:
        raise SourceError(f"Source {pattern} matches no video.", f"Looked for {', '.join(sorted(SUFFIXES))}.")


def _walk(folder: str) -> Iterator[str]:
    """Videos below a folder. Each folder is walked once, links to folders after all others: a loop of links ends."""

    def refuse(error: OSError):
        raise SourceError(
            f"Folder {error.filename} cannot be read: {error.strerror}.", "Grant access, or leave it out."
        )

    waiting, seen = [folder], set()
    while waiting:
        links = []
        for parent, folders, names in os.walk(waiting.pop(0), onerror=refuse):
            facts = os.stat(parent)  # noqa: PTH116
            if (facts.st_dev, facts.st_ino) in seen:
                folders.clear()
                continue
            seen.add((facts.st_dev, facts.st_ino))
            folders.sort()
            links += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]  # noqa: PTH114 PTH118
            yield from (os.path.join(parent, name) for name in names if _is_video(name))  # noqa: PTH118
        waiting += sorted(links)


def _sources_of(line: Line, table: str, found: dict[str, Source], by_name: dict[str, list[Source]]) -> Iterator[Source]:
    """The sources that a line of a table or list is about, with what it says of them."""
    if line.error:
        yield _wrong(line, table, f"it {line.error}")
        return
    folder, path = posixpath.dirname(table), line.path.removeprefix("file://")
    if "::" in path and "://" in path:
        yield _wrong(line, table, "an address that goes through another one is not taken")
        return
    if not storage.is_local(path):
        try:
            path = _address(path).removeprefix("file://")  # local:///a.mp4 is a file of this machine too
        except (SteadyDancerError, TypeError, AttributeError) as error:  # the latter: dir://, reference:// alone
            yield _wrong(line, table, str(error).splitlines()[0])
            return
    if not storage.is_local(path):
        where, name = path, posixpath.basename(path.partition("?")[0])
    elif not storage.is_local(table) and path.startswith("/"):
        yield _wrong(line, table, "a table on a store cannot name files of this machine")
        return
    else:
        name = posixpath.normpath(posixpath.relpath(path, folder) if path.startswith("/") else path)
        where = path if path.startswith("/") else f"{folder}/{name}"
        if name.startswith("../") or name == "..":
            if not path.startswith("/"):
                yield _wrong(line, table, f"{path!r} leads out of the folder of {posixpath.basename(table)}")
                return
            name = posixpath.basename(path)
    if not _is_video(where):
        yield _wrong(line, table, f"{storable(name)!r} is not a video by its name")
        return
    facts = {"facts": dict(line.facts), "told_by": line.where}
    if where not in found and name in by_name and _kind_of(where) is None:
        for source in by_name[name]:
            yield Source(source.path, source.name, source.sidecar, **facts)
    else:
        yield _source(where, name, **facts)


def _wrong(line: Line, table: str, error: str) -> Source:
    return Source(table, storable(line.where), facts=line.facts, fault="unreadable", error=f"{line.where}: {error}")


def _add(found: dict[str, Source], source: Source) -> None:
    """One source per path, under its longest name, with what all tables say of it. Tables that contradict each other
    in the rights: fault ``rights``; in the rest the first one counts.
    """
    key = source.path if source.fault is None else f"{source.path} {source.name}"
    there = found.setdefault(key, source)
    if there is source:
        return
    there.name = max(there.name, source.name, key=lambda name: (len(name), name))
    for column in RIGHTS:
        mine, other = there.facts.get(column), source.facts.get(column)
        if mine and other and mine != other:
            there.fault = "rights"
            there.error = f"{column} is {mine!r} in {there.told_by}, {other!r} in {source.told_by}"
    there.facts = {**source.facts, **there.facts}
    there.told_by = there.told_by or source.told_by
