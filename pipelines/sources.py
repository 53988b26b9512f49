"""Finding the videos and telling their contents apart."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from infra.errors import SteadyDancerError
from pipelines.stage import Row

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


class SourceError(SteadyDancerError):
    """Where videos should be, there are none or none can be looked for."""


def find(places: Iterable[str | Path]) -> list[tuple[Path, str]]:
    """Videos of folders (searched to the bottom) and files: (path, path relative to its folder), sorted by the latter.

    Raises SourceError naming a place that is not there, a folder that cannot be read, a file that is no video by its
    name, and, if nothing is found at all, every place that was searched.
    """
    found, places = set(), [Path(place).expanduser() for place in places]
    for place in places:
        if place.is_dir():
            found.update((path, _text(path.relative_to(place).as_posix())) for path in _walk(place))
        elif not place.exists():
            raise SourceError(
                f"Source {place} does not exist.", "Correct `sources`: folders of videos, or video files."
            )
        elif place.suffix.lower() not in SUFFIXES:
            raise SourceError(
                f"Source {place} is not a video by its name.", f"Expected: {', '.join(sorted(SUFFIXES))}."
            )
        else:
            found.add((place, _text(place.name)))
    if not found:
        searched = ", ".join(map(str, places)) or "no place"
        raise SourceError(
            f"No video found in {searched}.", f"Looked for {', '.join(sorted(SUFFIXES))} in all subfolders."
        )
    return sorted(found, key=lambda item: (item[1], str(item[0])))


def _text(name: str) -> str:
    """A file's name as text that any file format can hold; bytes that are not UTF-8 become a question mark."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _walk(folder: Path) -> Iterable[Path]:
    def refuse(error: OSError):
        raise SourceError(
            f"Folder {error.filename} cannot be read: {error.strerror}.", "Grant access, or leave it out."
        )

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent) / name for name in names if Path(name).suffix.lower() in SUFFIXES)


def describe(videos: Iterable[tuple[Path, str]]) -> list[Row]:
    """A row per video: ``path``, ``source``, ``source_id`` (SHA-256 of its content), ``sidecar`` (text of a .txt beside
    it), and ``copy``, which of the files of this name and content it is.

    Of files with the same content the first by relative path is the source, the others get the fault ``duplicate``. A
    file that cannot be opened gets the fault ``unreadable``, and the hash of its relative path for a content hash.
    Sorted, so that the order in which places were named does not matter.
    """
    rows = []
    for path, source in videos:
        row: Row = {"path": str(path.absolute()), "source": source, "sidecar": _sidecar(path)}
        try:
            with path.open("rb") as file:
                row["source_id"] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            row |= {"source_id": hashlib.sha256(source.encode()).hexdigest(), "fault": "unreadable"}
            row["error"] = f"cannot be opened: {error.strerror}"
        rows.append(row)
    rows.sort(key=lambda row: (row["source"], row["source_id"], row["path"]))
    first: dict[str, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        row["copy"] = seen[row["source"], row["source_id"]]
        seen[row["source"], row["source_id"]] += 1
        if row["source_id"] in first and "fault" not in row:
            row |= {"fault": "duplicate", "error": f"same content as {first[row['source_id']]}"}
        first.setdefault(row["source_id"], row["source"])
    return rows


def _sidecar(path: Path) -> str | None:
    text = path.with_suffix(".txt")
    return text.read_text("utf-8", errors="replace").strip() or None if text.is_file() else None
