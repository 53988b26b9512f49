"""Deleting what a work folder holds of sources beside its commits: units of work, captions, copies, hashes."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.commits import Commit
from infra.workspace import Workspace
from pipelines.captions import LEDGER as CAPTIONS
from pipelines.work.ledger import Ledger, key_of
from pipelines.work.stage import Row


def purge_sources(work: Workspace, rows: Iterable[Row], holders: Iterable[Commit] = ()) -> int:
    """Deletes the units of the sources and clips of ``rows``, whatever config made them, their captions, copies of
    these sources and of ``holders``, commits fetched from a store, and all of :func:`reports`. How many files and
    folders were deleted.

    A unit belongs to the source or clip whose id its identity is, or has before a dash. No other process works in the
    folder meanwhile (:func:`infra.workspace.held`).
    """
    rows = list(rows)
    contents = {row["source_id"] for row in rows}
    identities = contents | {row[column] for row in rows for column in ("clip_id", "sha256") if row[column]}
    homes = [ledger.parent for ledger in sorted(work.units.glob("*/ledger"))]
    for home in homes:  # windows that the dataset does not know, of other settings
        found = (record for record in Ledger(home / "ledger").refresh() if _whose(record.identity) in contents)
        identities |= {row["clip_id"] for record in found for row in record.rows if row.get("clip_id")}
    deleted = sum(_purge_units(home, identities) for home in homes)
    _without(work.units / "captions" / CAPTIONS, lambda line: _value(line, "clip") in identities)
    _without(work.source_index, lambda line: _value(line, "sha256") in contents)
    copies = [path for name in contents for path in (work.cache / "sources" / name[:2]).glob(f"{name}*")]
    copies += [path for commit in holders if (path := work.cache / commit.id).is_dir()]
    return deleted + sum(map(_delete, [*copies, *reports(work)]))


def reports(work: Workspace) -> list[Path]:
    """Reports of datasets as MLflow keeps them, or will, in the work folder: each run's, with pictures and names."""
    return sorted(page for place in ("mlartifacts", "outbox") for page in (work.folder / place).glob("**/report.html"))


def _whose(identity: str) -> str:
    return identity.partition("-")[0]


def _purge_units(home: Path, identities: set[str]) -> int:
    keys = {record.key for record in Ledger(home / "ledger").refresh() if _whose(record.identity) in identities}
    for segment in sorted((home / "ledger").glob("*.jsonl")) if keys else []:
        _without(segment, lambda line: key_of(line) in keys)
    return sum(_delete(path) for key in keys if (path := home / key[:3] / key).exists())


def _without(file: Path, unwanted: Callable[[bytes], bool]) -> None:
    """The file without the lines that are unwanted, replaced whole."""
    if not file.exists():
        return
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not unwanted(line)]
    if len(kept) < len(lines):
        draft = file.with_name(f".{file.name}.draft")
        draft.write_bytes(b"".join(kept))
        draft.replace(file)


def _value(line: bytes, key: str) -> str | None:
    """None for a line that a killed process left half-written."""
    try:
        return json.loads(line).get(key)
    except (ValueError, AttributeError):
        return None


def _delete(path: Path) -> int:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return 1
