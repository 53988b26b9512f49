"""The committed encoded dataset, read by random access: manifest row -> bytes at an offset of a shard -> tensors."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError
from infra.schema import Config

COLUMNS = ("clip_id", "shard", "offset", "bytes", "bucket", "split")
TENSORS = ("latent", "pose_latent", "image_latent", "clip_image", "clip_pose", "text", "keypoints", "scores")


@dataclass(frozen=True)
class EncodedClip:
    """One clip. Latents (16, T, H, W), CLIP features (257, D), text (L, D), all float32."""

    clip_id: str
    latent: np.ndarray
    pose_latent: np.ndarray
    image_latent: np.ndarray
    """Codec of the first frame followed by grey frames."""
    clip_image: np.ndarray
    clip_pose: np.ndarray
    text: np.ndarray
    keypoints: np.ndarray
    """(frames, 133, 2) pixels of the bucket frame."""
    scores: np.ndarray
    """(frames, 133), 0..1."""


class EncodedDataset:
    """The rows of one split (or of all) of a committed encoded dataset, sorted by clip id."""

    def __init__(self, commit: Commit, split: str | None = None):
        self._folder: Path = commit.path
        self._uri = commit.uri
        self.codec = commit.meta.get("encoders", {}).get("codec")
        table = pq.read_table(self._folder / "manifest.parquet")
        if missing := [c for c in COLUMNS if c not in table.column_names]:
            raise CorruptArtifact(f"{commit.uri}/manifest.parquet has no column {', '.join(missing)}.")
        rows = table.select(COLUMNS).to_pylist()
        self.rows = sorted((r for r in rows if split in (None, r["split"])), key=lambda r: r["clip_id"])

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def null_text(self) -> np.ndarray:
        """(L, D): the empty caption, which takes the place of a dropped one."""
        from safetensors.numpy import load_file

        return load_file(self._folder / "null_text.safetensors")["text"]

    def __getitem__(self, index: int) -> EncodedClip:
        """Raises CorruptArtifact naming clip and shard if the bytes there are no such clip."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        row = self.rows[index]
        shard = self._folder / "shards" / row["shard"]
        try:
            with shard.open("rb") as file:
                file.seek(row["offset"])
                tensors = load(file.read(row["bytes"]))
            return EncodedClip(row["clip_id"], **{name: tensors[name] for name in TENSORS})
        except (OSError, SafetensorError, KeyError) as error:
            raise CorruptArtifact(
                f"{self._uri}: clip {row['clip_id']} at byte {row['offset']} of {row['shard']} is damaged ({error!r}).",
                "Delete this folder and run `encode` again.",
            ) from error


def check(commit: Commit, config: Config) -> None:
    """Refuses an encoded dataset that this config cannot train on.

    Raises SteadyDancerError naming what differs: another kind of artifact, no clips, another codec or encoders, another
    number of frames or feature width than the model's.
    """
    from model.resolution import latent_shape
    from model.transformer import model_config

    if commit.kind != "encoded":
        raise SteadyDancerError(f"{commit.uri} is a {commit.kind}, training reads an encoded dataset.", _ENCODE)
    wanted = config.encode.model_dump()
    for key, made in commit.config.get("encode", {}).items():
        if key in wanted and wanted[key] != made:
            raise SteadyDancerError(
                f"{commit.uri} was encoded with encode.{key}={made!r}, this config asks for {wanted[key]!r}.", _ENCODE
            )
    dataset = EncodedDataset(commit)
    if not len(dataset):
        raise SteadyDancerError(
            f"{commit.uri} holds no clips.", "Look at the dataset's report: why was every clip rejected?"
        )
    clip, size = dataset[0], model_config(config.model.size)
    frames = latent_shape(config.clip.frames, 16, 16)[0]
    found = {
        "latent": (clip.latent.shape[:2], (16, frames)),
        "pose_latent": (clip.pose_latent.shape, clip.latent.shape),
        "image_latent": (clip.image_latent.shape, clip.latent.shape),
        "clip_image": (clip.clip_image.shape, (257, size["image_dim"])),
        "clip_pose": (clip.clip_pose.shape, (257, size["image_dim"])),
        "text": (clip.text.shape[1:], (size["text_dim"],)),
    }
    for name, (shape, expected) in found.items():
        if tuple(shape) != tuple(expected):
            raise SteadyDancerError(
                f"{commit.uri}: {name} of clip {clip.clip_id} is {tuple(shape)}, the model ({config.model.size}, "
                f"{config.clip.frames} frames) reads {tuple(expected)}.",
                _ENCODE,
            )


_ENCODE = "Run `encode` with this config, into a work folder of its own."
