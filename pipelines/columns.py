"""Every column of the dataset's manifest: what it means, its unit and its range. Schema, checks and report read it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["identity", "source", "span", "score", "verdict", "output"]


@dataclass(frozen=True)
class Column:
    """``type`` is a pyarrow type name. ``low`` and ``high`` bound every value that is there; None: unbounded."""

    name: str
    type: str
    role: Role
    definition: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


COLUMNS = (
    Column(
        "clip_id", "string", "identity", "Hash of the source's content and the span; of a rejected source, of itself."
    ),
    Column("source_id", "string", "identity", "SHA-256 of the source file's content."),
    Column("source", "string", "source", "Path of the source, relative to the folder it was found in."),
    Column("container", "string", "source", "Container format."),
    Column("codec", "string", "source", "Video codec."),
    Column("width", "int32", "source", "Upright width (rotation applied).", "px", 1),
    Column("height", "int32", "source", "Upright height.", "px", 1),
    Column("rotation", "int32", "source", "Rotation the container asks for.", "degrees", 0, 270),
    Column("source_fps", "double", "source", "Mean frame rate the container declares.", "1/s", 0),
    Column("source_seconds", "double", "source", "Length by the times of its decoded frames.", "s", 0),
    Column("source_frames", "int32", "source", "Frames that were decoded.", "frames", 0),
    Column("declared_frames", "int32", "source", "Frames the container declares; 0: it does not say.", "frames", 0),
    Column("shot", "int32", "span", "Number of the shot in its source, from 0.", "", 0),
    Column("shot_start", "double", "span", "First moment of the shot.", "s", 0),
    Column("shot_end", "double", "span", "End of the shot: the first moment of what follows.", "s", 0),
    Column("start", "double", "span", "First moment of the clip, whole milliseconds.", "s", 0),
    Column("frames", "int32", "span", "Frames of the clip.", "frames", 1),
    Column("fps", "double", "span", "Frame rate of the clip.", "1/s", 0),
    Column("duration", "double", "score", "Usable length of the shot, trimmed where a cut made an end.", "s", 0),
    Column("brightness", "double", "score", "Mean luma (Rec. 601) over all pixels and frames.", "0..255", 0, 255),
    Column("pixel_change", "double", "score", "Mean absolute luma change between following frames.", "0..255", 0, 255),
    Column("people", "double", "score", "Median count of people over the sampled frames.", "people", 0),
    Column(
        "single_person", "double", "score", "Share of the sampled frames that show exactly one person.", "share", 0, 1
    ),
    Column("body_confidence", "double", "score", "Mean pose score over the 17 body joints and all frames.", "", 0, 1),
    Column(
        "body_visibility",
        "double",
        "score",
        "Share of frames in which at least 10 of the 17 body joints score above 0.35 (the drawing threshold).",
        "share",
        0,
        1,
    ),
    Column(
        "body_speed",
        "double",
        "score",
        "Mean speed of the visible body joints. Body height: median shoulder-to-hip distance / 0.288.",
        "body heights / s",
        0,
    ),
    Column("verdict", "string", "verdict", "kept or rejected."),
    Column("reason", "string", "verdict", "Why it was rejected: the fault, or the first gate that fails."),
    Column("reasons", "list<string>", "verdict", "The fault, or all gates that fail, in their order."),
    Column("error", "string", "verdict", "What the reader or the failed stage said."),
    Column("bucket", "string", "output", "Size of the stored clip as HEIGHTxWIDTH.", "px"),
    Column("stored_frames", "int32", "output", "Frames found in the stored clip when it was read back.", "frames", 1),
    Column("split", "string", "output", "train or val, by hash of the source: clips of one source stay together."),
    Column("caption", "string", "output", "Sidecar text of the source, or a description of the measured motion."),
    Column("shard", "string", "output", "File under shards/ that holds the clip."),
    Column("offset", "int64", "output", "First byte of the clip's members in the shard.", "bytes", 0),
    Column("bytes", "int64", "output", "Length of the clip's members in the shard: a tar of its own.", "bytes", 1),
    Column("sha256", "string", "output", "SHA-256 of those bytes."),
)

BY_NAME = {column.name: column for column in COLUMNS}
SCORES = tuple(column.name for column in COLUMNS if column.role == "score")

FAULTS = {
    "unreadable": "no frame of the file can be decoded",
    "damaged": "the file starts well and breaks later",
    "duplicate": "the same bytes as another source",
    "too_short": "the shot is shorter than a clip",
    "failed": "a stage raised; tried again when the dataset is made again",
}
"""Reasons that no gate gives: there was nothing to score."""


def schema():
    """The manifest's pyarrow schema, columns in the order above."""
    import pyarrow as pa

    types = {"list<string>": pa.list_(pa.string())}
    return pa.schema([(c.name, types.get(c.type) or pa.type_for_alias(c.type)) for c in COLUMNS])
