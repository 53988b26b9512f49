"""Putting a dataset together: the manifest of everything that was looked at, and the shards of what was kept."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from model.pose.tracks import read_pose_file
from pipelines import shards
from pipelines.clips import bucket_size, motion_caption
from pipelines.columns import COLUMNS, SCORES, schema
from pipelines.gates import Gate, judge
from pipelines.scores import analysis_size
from pipelines.stage import Row

MANIFEST, SHARDS = "manifest.parquet", "shards"
VALIDATION_SHARE = 0.1
SPLIT_SOURCES = 5


def finished(row: Row, gates: tuple[Gate, ...]) -> Row:
    """The row with its id and its final verdict."""
    if "clip_id" not in row:
        name = f"{row['source_id']} {row['source']} {row['copy']}"
        row = {**row, "clip_id": hashlib.sha256(name.encode()).hexdigest()[:20]}
    return {**row, **judge(row, gates)}


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
    folder: Path,
    rows: Iterable[Row],
    files: Callable[[str], tuple[Path, Path]],
    max_clips: int,
    max_mb: float,
) -> list[Row]:
    """Shards of the kept rows under ``folder``; all rows, sorted by clip id, with their output columns.

    ``files`` gives (mp4, pose npz in pixels of the analysis frames) of a clip id.
    """
    rows = sorted(rows, key=lambda row: row["clip_id"])
    kept = {row["clip_id"]: row for row in rows if row["verdict"] == "kept"}
    split = splits(row["source_id"] for row in kept.values())
    for row in kept.values():
        row |= {"split": split[row["source_id"]], "caption": row.get("sidecar") or motion_caption(row)}

    def samples():
        for clip, row in kept.items():
            mp4, pose = files(clip)
            yield (
                clip,
                [
                    ("mp4", mp4.read_bytes()),
                    ("pose.npz", _pose_in_bucket(pose, row)),
                    ("txt", row["caption"].encode()),
                    ("json", json.dumps(facts(row), sort_keys=True, ensure_ascii=False).encode()),
                ],
            )

    for clip, place in shards.write(folder, samples(), max_clips, max_mb).items():
        with (folder / place.shard).open("rb") as file:
            file.seek(place.offset)
            digest = hashlib.sha256(file.read(place.bytes)).hexdigest()
        kept[clip] |= {"shard": place.shard, "offset": place.offset, "bytes": place.bytes, "sha256": digest}
    return rows


def facts(row: Row) -> dict[str, Any]:
    """What a kept clip's ``.json`` says."""
    groups = {"source": ("source", "source_id"), "span": ("start", "frames", "fps", "shot"), "scores": SCORES}
    return {
        "clip_id": row["clip_id"],
        **{group: {name: row[name] for name in names} for group, names in groups.items()},
        "bucket": row["bucket"],
        "split": row["split"],
    }


def _pose_in_bucket(pose: Path, row: Row) -> bytes:
    scored_at, size = analysis_size(row["height"], row["width"]), bucket_size(row["bucket"])
    track, confidence, about = read_pose_file(pose)
    buffer = io.BytesIO()
    track.resized(scored_at, size).save(buffer, confidence=confidence, about=about | {"size": list(size)})
    return buffer.getvalue()


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """All rows, in their order, every column of :mod:`pipelines.columns`; a row without a value has null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = [{column.name: row.get(column.name) for column in COLUMNS} for row in rows]
    pq.write_table(pa.Table.from_pylist(lines, schema=schema()), path)


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


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
