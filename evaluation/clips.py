"""Kept clips of a committed dataset: what the manifest says of them, and their files out of the shards."""

import hashlib
import io
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError
from model.pose.tracks import PoseTrack

COLUMNS = ("clip_id", "source_id", "split", "caption", "bucket", "fps", "shard", "offset", "bytes", "sha256")


@dataclass(frozen=True)
class Clip:
    """A kept clip as its manifest row has it."""

    clip_id: str
    source_id: str
    held_out: bool
    caption: str
    size: tuple[int, int]
    """(height, width) in pixels"""
    fps: float
    shard: str
    offset: int
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class ClipContent:
    """A clip's files, opened: ``video`` is the mp4 itself, ``pose`` in pixels of its frames."""

    video: bytes
    pose: PoseTrack

    def frames(self) -> np.ndarray:
        """Every frame, (T, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        from model.video import frames

        with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
            file.write(self.video)
            file.flush()
            return np.stack([image for _, image in frames(file.name)])


def kept_clips(dataset: Commit) -> list[Clip]:
    """The dataset's kept clips in order of their ids. Raises SteadyDancerError for a manifest of another layout."""
    with dataset.open("manifest.parquet") as file:
        manifest = pq.read_table(file)
    if missing := [name for name in ("verdict", *COLUMNS) if name not in manifest.column_names]:
        raise SteadyDancerError(f"{dataset.uri}: the manifest lacks {', '.join(missing)}; it is no curated dataset.")
    clips = []
    for row in manifest.select(["verdict", *COLUMNS]).to_pylist():
        if row.pop("verdict") == "kept":
            height, width = map(int, row.pop("bucket").split("x"))
            clips.append(Clip(held_out=row.pop("split") != "train", size=(height, width), **row))
    return sorted(clips, key=lambda clip: clip.clip_id)


def read_clip(dataset: Commit, clip: Clip) -> ClipContent:
    """A clip's members of its shard. Raises CorruptArtifact where they are not what the manifest recorded."""
    name = f"shards/{Path(clip.shard).name}"
    where = f"{dataset.uri}/{name}: clip {clip.clip_id}"
    with dataset.open(name) as file:
        file.seek(clip.offset)
        data = file.read(clip.bytes)
    if (found := hashlib.sha256(data).hexdigest()) != clip.sha256:
        raise CorruptArtifact(f"{where} was changed: expected sha256 {clip.sha256}, found {found}.")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as members:
            video = members.extractfile(f"{clip.clip_id}.mp4").read()
            pose = PoseTrack.load(io.BytesIO(members.extractfile(f"{clip.clip_id}.pose.npz").read()))
    except (tarfile.TarError, KeyError, AttributeError) as error:
        raise CorruptArtifact(f"{where} has no video or no pose there ({error}).") from error
    return ClipContent(video, pose)
