"""Putting a dataset together: the manifest of everything that was looked at, and the shards of what was kept."""

import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from infra.commits import Commit
from model.pose.tracks import read_pose_file
from pipelines import shards
from pipelines.clips import bucket_size
from pipelines.columns import COLUMNS, RIGHTS, SCORES, schema
from pipelines.pose.window import analysis_size
from pipelines.shards import Members
from pipelines.work.stage import Row

MANIFEST, SHARDS = "manifest.parquet", "shards"
VALIDATION_SHARE = 0.1
SPLIT_SOURCES = 5
ROWS_AT_ONCE = 10_000


def splits(source_ids: Iterable[str]) -> dict[str, str]:
    """``train`` or ``val`` (a tenth) of each source, by its hash: the same in every dataset.

    Small sets make two exceptions: not all are held out, and of at least SPLIT_SOURCES the one with the lowest hash is
    where no other would be.
    """
    ids = set(source_ids)
    held_out = {name for name in ids if int(name[:8], 16) < VALIDATION_SHARE * 2**32}
    if held_out == ids:
        held_out = set()
    if not held_out and len(ids) >= SPLIT_SOURCES:
        held_out = {min(ids)}
    return {name: "val" if name in held_out else "train" for name in ids}


def write_shards(
    folder: Path, rows: Iterable[Row], members: Callable[[Row], Members], max_clips: int, max_mb: float
) -> list[Row]:
    """Shards of the kept rows under ``folder``; all rows, sorted by clip id, with their output columns.

    ``members`` gives mp4, pose.npz and txt of a kept row; its json is written here. One clip is in memory at a time.
    """
    rows = sorted(rows, key=lambda row: row["clip_id"])
    kept = {row["clip_id"]: row for row in rows if row["verdict"] == "kept"}
    split = splits(row["source_id"] for row in kept.values())
    for row in kept.values():
        row["split"] = split[row["source_id"]]

    def samples():
        for clip, row in kept.items():
            yield clip, [*members(row), ("json", json.dumps(facts(row), sort_keys=True, ensure_ascii=False).encode())]

    for clip, place in shards.write(folder, samples(), max_clips, max_mb).items():
        with (folder / place.shard).open("rb") as file:
            file.seek(place.offset)
            digest = hashlib.sha256(file.read(place.bytes)).hexdigest()
        kept[clip] |= {"shard": place.shard, "offset": place.offset, "bytes": place.bytes, "sha256": digest}
        kept[clip]["members"] = [
            {"suffix": suffix, "offset": first, "bytes": size} for suffix, (first, size) in place.members.items()
        ]
    return rows


def facts(row: Row) -> dict[str, Any]:
    """What a kept clip's ``.json`` says."""
    groups = {"source": ("source", "source_id"), "span": ("start", "frames", "fps", "shot", "crop")}
    groups |= {"rights": RIGHTS, "scores": SCORES}
    return {
        "clip_id": row["clip_id"],
        **{group: {name: row.get(name) for name in names} for group, names in groups.items()},
        **{name: row.get(name) for name in ("bucket", "split", "tier")},
    }


def made_members(mp4: Path, pose: Path, row: Row) -> Members:
    """The members of a clip from the files that its units made; the pose goes from the size it was measured at to the
    clip's.
    """
    track, confidence, about = read_pose_file(pose)
    buffer, size = io.BytesIO(), bucket_size(row["bucket"])
    scored_at = analysis_size(*row["crop"][2:])
    track.resized(scored_at, size).save(buffer, confidence=confidence, about=about | {"size": list(size)})
    return [("mp4", mp4.read_bytes()), ("pose.npz", buffer.getvalue()), ("txt", row["caption"].encode())]


def stored_members(dataset: str | Path) -> Callable[[Row], Members]:
    """The members of a kept row as a committed dataset holds them, checked by their hash."""

    def members(row: Row) -> Members:
        found = shards.read(f"{dataset}/{SHARDS}", row["shard"], row["offset"], row["bytes"], row["sha256"])
        return [(suffix, found[suffix]) for suffix in ("mp4", "pose.npz", "txt")]

    return members


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """All rows, in their order, every column of :mod:`pipelines.columns`; a row without a value has null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    with pq.ParquetWriter(path, schema()) as file:
        while lines := [{c.name: row.get(c.name) for c in COLUMNS} for row in itertools.islice(rows, ROWS_AT_ONCE)]:
            file.write_table(pa.Table.from_pylist(lines, schema=schema()))


def read_manifest(path: Path | BinaryIO) -> list[Row]:
    """The rows of a manifest."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def manifest_of(dataset: Commit) -> list[Row]:
    """The rows of a committed dataset, wherever it lies."""
    with dataset.open(MANIFEST) as file:
        return read_manifest(file)


def funnel(rows: Iterable[Row]) -> dict[str, Any]:
    """``sources`` and ``found`` (candidate clips and sources that gave none), ``rejected`` by reason, ``kept``."""
    rows = list(rows)
    reasons = Counter(row["reason"] for row in rows if row["verdict"] == "rejected")
    return {
        "sources": len({(row["source"], row.get("source_id")) for row in rows}),
        "found": len(rows),
        "rejected": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "kept": sum(row["verdict"] == "kept" for row in rows),
    }
