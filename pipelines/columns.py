"""Every column of the dataset's manifest: what it means, its unit and its range. Schema, checks and report read it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["identity", "source", "rights", "span", "score", "verdict", "output"]


@dataclass(frozen=True)
class Column:
    """``type`` is a key of :func:`arrow_types`. ``low`` and ``high`` bound every value that is there; None: unbounded.

    ``after`` names the unit of work that measures a score: what never reached that unit has null there.
    """

    name: str
    type: str
    role: Role
    definition: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    after: Literal["", "scan", "pose"] = ""


def _scan(name: str, definition: str, unit: str = "", low: float | None = 0, high: float | None = None) -> Column:
    return Column(name, "double", "score", definition, unit, low, high, "scan")


def _pose(name: str, definition: str, unit: str = "", low: float | None = 0, high: float | None = None) -> Column:
    return Column(name, "double", "score", definition, unit, low, high, "pose")


COLUMNS = (
    Column(
        "clip_id", "string", "identity", "Hash of the source's content and the span; of a rejected source, of itself."
    ),
    Column("source_id", "string", "identity", "SHA-256 of the source file's content."),
    Column("source", "string", "source", "Path of the source, relative to the folder it was found in."),
    Column("source_bytes", "int64", "source", "Size of the source file.", "bytes", 0),
    Column("container", "string", "source", "Container format."),
    Column("codec", "string", "source", "Video codec."),
    Column("width", "int32", "source", "Upright width (rotation applied).", "px", 1),
    Column("height", "int32", "source", "Upright height.", "px", 1),
    Column("rotation", "int32", "source", "Rotation the container asks for.", "degrees", 0, 270),
    Column("source_fps", "double", "source", "Mean frame rate the container declares.", "1/s", 0),
    Column(
        "fps_variation",
        "double",
        "source",
        "Spread of the times between frames: (95th - 5th percentile) / median. 0: constant frame rate.",
        "share",
        0,
    ),
    Column("source_seconds", "double", "source", "Length by the times of its decoded frames.", "s", 0),
    Column("source_frames", "int32", "source", "Frames that were decoded.", "frames", 0),
    Column("declared_frames", "int64", "source", "Frames the container declares; 0: none, or nonsense.", "frames", 0),
    Column("corrupt_frames", "int32", "source", "Frames the decoder marks as corrupt.", "frames", 0),
    Column("licence", "string", "rights", "Licence of the source, as its metadata says."),
    Column("consent", "string", "rights", "Consent of the persons shown, as the metadata says."),
    Column("provenance", "string", "rights", "Where the source comes from (URL)."),
    Column("collected_at", "string", "rights", "When it was collected (ISO 8601 date)."),
    Column("subject", "string", "rights", "Who is shown: the name by which a person's clips can be removed."),
    Column("metadata", "string", "rights", "All other metadata of the source, JSON."),
    Column("shot", "int32", "span", "Number of the shot in its source, from 0.", "", 0),
    Column("shot_start", "double", "span", "First moment of the shot.", "s", 0),
    Column("shot_end", "double", "span", "End of the shot: the first moment of what follows.", "s", 0),
    Column("start", "double", "span", "First moment of the clip, whole milliseconds.", "s", 0),
    Column("frames", "int32", "span", "Frames of the clip.", "frames", 1),
    Column("fps", "double", "span", "Frame rate of the clip.", "1/s", 0),
    Column("crop", "list<int32>", "span", "Picture without its bars: top, left, height, width in the upright source."),
    # measured while the source is decoded once
    _scan("duration", "Usable length of the shot, trimmed where a cut made an end.", "s"),
    _scan("short_side", "Shorter side of the picture without its bars.", "px"),
    _scan("bits_per_pixel", "Size of the source file per pixel and frame.", "bits"),
    _scan("letterbox", "Share of the picture that black bars take.", "share", 0, 1),
    _scan("brightness", "Mean luma (Rec. 601, full range) over all pixels and sampled frames.", "0..255", 0, 255),
    _scan("contrast", "Standard deviation of luma in a frame, mean over the sampled frames.", "0..255", 0, 255),
    _scan(
        "blur",
        "Perceptual blur (Crete 2007): how little of the luma's variation another blur takes away; the median over the "
        "sampled frames. 0 sharp, 1 blurred. Edges of at least 7 levels count.",
        "share",
        0,
        1,
    ),
    _scan("pixel_change", "Mean absolute luma change of the small picture in 1/8 s.", "0..255", 0, 255),
    _scan(
        "motion",
        "Mean speed of the picture's content against the camera (optical flow, DIS, less the camera's motion).",
        "picture heights / s",
    ),
    _scan(
        "moving_area",
        "Share of the picture that moves against the camera, faster than 0.05 picture heights / s.",
        "share",
        0,
        1,
    ),
    _scan("camera_motion", "Mean speed of the camera's motion (similarity fitted to the flow).", "picture heights / s"),
    _scan(
        "camera_shake",
        "How far the camera trembles about its smooth path: root mean square.",
        "picture heights / s",
    ),
    _scan("flash", "Jumps of brightness that do not last, such as strobe lights.", "1/s"),
    _scan("cut", "Strongest sign of a cut inside the clip: change of colour between neighbours over what is usual."),
    _scan("text_area", "Share of the picture that looks like text, mean over the sampled frames.", "share", 0, 1),
    _scan("watermark_area", "Share of the picture that looks like text and stays in its place.", "share", 0, 1),
    # measured on the frames of the clip, with a pose
    _pose("people", "Median count of people over the sampled frames.", "people"),
    _pose("people_max", "Largest count of people in a sampled frame.", "people"),
    _pose("people_wavering", "Distance of the mean count of people from a whole number.", "people", 0, 0.5),
    _pose("single_person", "Share of the sampled frames that show exactly one person.", "share", 0, 1),
    _pose("person_height", "Height of the visible joints' box by the picture's, median.", "share"),
    _pose("person_area", "Area of the visible joints' box by the picture's, median.", "share"),
    _pose("person_x", "Middle of the box, median: 0 left, 1 right.", "share", None),
    _pose("person_y", "Middle of the box, median: 0 top, 1 bottom.", "share", None),
    _pose("clipped", "Share of frames in which the body leaves the picture left, right or at the top.", "share", 0, 1),
    _pose("body_confidence", "Mean pose score over the 17 body joints and all frames.", "", 0, 1),
    _pose(
        "body_visibility",
        "Share of frames in which at least 10 of the 17 body joints score above 0.35 (the drawing threshold).",
        "share",
        0,
        1,
    ),
    _pose("hand_visibility", "Share of joints of both hands, over all frames, that score above 0.35.", "share", 0, 1),
    _pose("face_visibility", "Share of joints of the face, over all frames, that score above 0.35.", "share", 0, 1),
    _pose("hand_sharpness", "Sharpness (1 - blur) of the visible hands, cut out at 128 x 128: median.", "share", 0, 1),
    _pose("face_sharpness", "Sharpness (1 - blur) of the visible face, cut out at 128 x 128: median.", "share", 0, 1),
    _pose(
        "body_speed",
        "Mean speed of the visible body joints. Body height: median shoulder-to-hip distance / 0.288.",
        "body heights / s",
    ),
    _pose("motion_energy", "Mean square of the body joints' speed.", "(body heights / s)^2"),
    _pose("fastest_motion", "99th percentile of the body joints' speed.", "body heights / s"),
    _pose(
        "jerk",
        "Roughness of motion: root mean square of the body joints' third difference by that of the first, "
        "per frame step. Smooth motion is near 0, independent noise is 3.2.",
    ),
    _pose("upright", "Share of frames in which the trunk stands within 60 degrees of upright, head up.", "share", 0, 1),
    _pose("start_clarity", "Mean score of the body joints over the first five frames.", "", 0, 1),
    _pose("aesthetic", "LAION aesthetic score (CLIP ViT-L/14), mean of the sampled frames; null without weights."),
    _pose("nsfw", "What the configured function says of the sampled frames: the largest; null without one.", "", 0, 1),
    # what became of it
    Column("reached", "string", "verdict", "How far it was measured: found, scan, pose."),
    Column("verdict", "string", "verdict", "kept or rejected."),
    Column("reason", "string", "verdict", "Why it was rejected: the fault, or the first gate that fails."),
    Column("reasons", "list<string>", "verdict", "The fault, or all gates that fail, in their order."),
    Column("tier", "string", "verdict", "The highest tier of the gates file whose gates a kept clip passes."),
    Column("missed", "list<string>", "verdict", "Reasons that keep a kept clip from the next higher tier."),
    Column("error", "string", "verdict", "What the reader or the failed stage said."),
    Column(
        "fingerprint",
        "string",
        "verdict",
        "Perceptual hashes of the clip's pictures, four a second, 16 hex digits each.",
    ),
    Column("group", "string", "verdict", "Near-duplicates have one: the id of the clip that is kept of them."),
    Column("bucket", "string", "output", "Size of the stored clip as HEIGHTxWIDTH.", "px"),
    Column("stored_frames", "int32", "output", "Frames found in the stored clip when it was read back.", "frames", 1),
    Column("split", "string", "output", "train or val, by hash of the source: clips of one source stay together."),
    Column("caption", "string", "output", "What the clip shows."),
    Column("caption_from", "string", "output", "sidecar, metadata, the model's name, or motion (from the scores)."),
    Column("shard", "string", "output", "File under shards/ that holds the clip."),
    Column("offset", "int64", "output", "First byte of the clip's members in the shard.", "bytes", 0),
    Column("bytes", "int64", "output", "Length of the clip's members in the shard: a tar of its own.", "bytes", 1),
    Column("sha256", "string", "output", "SHA-256 of those bytes."),
    Column(
        "members", "list<member>", "output", "Of each member: suffix, first byte of its content in the shard, size."
    ),
)

BY_NAME = {column.name: column for column in COLUMNS}
SCORES = tuple(column.name for column in COLUMNS if column.role == "score")
RIGHTS = tuple(column.name for column in COLUMNS if column.role == "rights" and column.name != "metadata")
SCAN_SCORES = tuple(column.name for column in COLUMNS if column.after == "scan")
POSE_SCORES = tuple(column.name for column in COLUMNS if column.after == "pose")

FAULTS = {
    "unreadable": "no frame of the file can be decoded",
    "damaged": "the file starts well and breaks later: no window of it is whole",
    "duplicate": "the same content as another source, or the same pictures as a better clip",
    "too_short": "the shot is shorter than a clip",
    "opted_out": "an opt-out list names it",
    "rights": "its metadata lacks what the rights policy requires",
    "timed_out": "it took longer than its deadline and was ended",
    "out_of_memory": "it took more memory than it may and was ended",
    "crashed": "the process that worked on it died",
    "failed": "a stage raised",
    "spare": "a better window of the same shot was kept",
    "not_scored": "it passes these gates as far as it was measured: curate again with them to measure the rest",
    "not_stored": "it passes these gates and was not kept by those before: curate again with them to store it",
    "no_body": "no body was found in it, and a clip is stored with its pose",
}
"""Reasons that no gate gives."""

RETRIED = ("timed_out", "out_of_memory", "crashed", "failed")
"""Faults of the work, not of the item: ``--retry-failed`` tries these again."""


def rounded(value: float) -> float:
    """As scores are written: six decimals are more than any gate needs, and the same in every order of summation."""
    return round(float(value), 6)


def arrow_types() -> dict:
    """The manifest's type names and what they are in pyarrow."""
    import pyarrow as pa

    member = pa.struct([("suffix", pa.string()), ("offset", pa.int64()), ("bytes", pa.int64())])
    inner = {"string": pa.string(), "int32": pa.int32(), "member": member}
    lists = {f"list<{name}>": pa.list_(of) for name, of in inner.items()}
    return lists | {name: pa.type_for_alias(name) for name in ("string", "double", "int32", "int64")}


def schema():
    """The manifest's pyarrow schema, columns in the order above."""
    import pyarrow as pa

    types = arrow_types()
    return pa.schema([(column.name, types[column.type]) for column in COLUMNS])
