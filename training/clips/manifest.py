"""Where each clip of a committed dataset lies and what it is, from a manifest that is taken at nobody's word."""

import re
from typing import Any

from infra.commits import Commit
from infra.errors import CorruptArtifact
from pipelines.columns import schema

Row = dict[str, Any]
COLUMNS = ("clip_id", "shard", "offset", "bytes", "bucket", "frames", "fps", "split")
MORE_COLUMNS = {"encoded": (), "dataset": ("sha256", "verdict")}
"""By kind of artifact."""


def rows_of(commit: Commit) -> list[Row]:
    """The clips of a committed dataset or encoded dataset, as COLUMNS say, sorted by clip id.

    Raises CorruptArtifact for a manifest without these columns, with a clip twice, or with a place that is not in the
    commit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, name = (*COLUMNS, *MORE_COLUMNS[commit.kind]), f"{commit.uri}/manifest.parquet"
    try:
        with commit.open("manifest.parquet") as file:
            table = pq.read_table(file, columns=list(columns))
        if missing := [column for column in columns if column not in table.column_names]:
            raise CorruptArtifact(f"{name} has no column {', '.join(missing)}.", AGAIN)
        known = schema()
        rows = table.select(columns).cast(pa.schema([known.field(column) for column in columns])).to_pylist()
    except pa.ArrowException as error:
        raise CorruptArtifact(f"{name} cannot be read ({error}).", AGAIN) from error
    kept = sorted((row for row in rows if row.get("verdict") in (None, "kept")), key=lambda row: str(row["clip_id"]))
    for row, following in zip(kept, [*kept[1:], None], strict=True):
        wrong = _misplaced(row, commit)
        if following is not None and following["clip_id"] == row["clip_id"]:
            wrong = "is there twice"
        if wrong:
            raise CorruptArtifact(f"{name}: clip {row['clip_id']} {wrong}.", AGAIN)
    return kept


def _misplaced(row: Row, commit: Commit) -> str | None:
    if empty := [column for column, value in row.items() if value is None]:
        return f"has no {', '.join(empty)}"
    shard = commit.files.get(f"shards/{row['shard']}")
    if shard is None:
        return f"lies in {row['shard']!r}, which is no shard of this commit"
    if row["offset"] < 0 or row["bytes"] <= 0 or row["offset"] + row["bytes"] > shard["bytes"]:
        return f"lies at {row['offset']} to {row['offset'] + row['bytes']}, outside of {row['shard']}"
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", row["bucket"]):
        return f"has the bucket {row['bucket']!r}, HEIGHTxWIDTH expected"
    return None


AGAIN = "Delete this folder and run the step that made it again."
