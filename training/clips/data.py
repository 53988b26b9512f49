"""The committed clips a stage reads, one by one and in any order: manifest row -> bytes of a shard -> tensors.

A clip that cannot be read is :class:`Unreadable`; nothing is put in its place. A dataset that does not fit the config
is refused as a whole by :func:`check`.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError
from infra.schema import Config
from model.pose.tracks import JOINTS, PoseTrack
from model.resolution import PATCH, SPACE, latent_shape
from pipelines.clips import bucket_size
from training.clips.manifest import AGAIN, Row, rows_of

CHANNELS, IMAGE_TOKENS = 16, 257
OPEN_FILES = 64


class Unreadable(SteadyDancerError):
    """One clip that cannot be used: ``clip_id``, ``where`` it lies, and for what ``reason``."""

    def __init__(self, clip_id: str, where: str, reason: str):
        super().__init__(f"Clip {clip_id} at {where} cannot be read: {reason}")
        self.clip_id, self.where, self.reason = clip_id, where, reason

    def __reduce__(self):
        return type(self), (self.clip_id, self.where, self.reason)


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """One clip. Latents (16, T, H, W), CLIP features (257, D), text (L, D), all float32 and finite."""

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


TENSORS = tuple(field.name for field in fields(EncodedClip) if field.name != "clip_id")


class Clips:
    """The rows of one split (None: of all) of a committed dataset, sorted by clip id, read when they are asked for.

    Raises CorruptArtifact for a manifest that cannot be right, such as one that names a shard the commit lacks.
    """

    codec: str | None
    """Id of what made the latents."""
    null_text: np.ndarray
    """(L, D): the empty caption, which takes the place of a dropped one."""

    def __init__(self, commit: Commit, split: str | None, image_dim: int, text_dim: int):
        self.uri, self._image_dim, self._text_dim = commit.uri, image_dim, text_dim
        self.rows = [row for row in rows_of(commit) if split in (None, row["split"])]

    def __len__(self) -> int:
        return len(self.rows)

    def bucket(self, index: int) -> str:
        """``HEIGHTxWIDTH`` of a clip, pixels. Clips of one bucket have equal shapes but for the length of the text."""
        return self.rows[index]["bucket"]

    def __getitem__(self, index: int) -> EncodedClip:
        """Raises Unreadable if the bytes are damaged, or are tensors of other shapes than the row's, or not finite."""
        row = self.rows[index]
        try:
            tensors = self._tensors(row)
            self._refuse_misfits(row, tensors)
        except (SteadyDancerError, OSError, ValueError, KeyError, TypeError) as error:
            where = f"byte {row['offset']} of {self.uri}/shards/{row['shard']}"
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise Unreadable(row["clip_id"], where, reason) from error
        return EncodedClip(row["clip_id"], **{name: tensors[name] for name in TENSORS})

    def blank(self, index: int) -> EncodedClip:
        """Zeros in the shapes of a clip that cannot be read: it takes part in a step with weight 0, so that all workers
        do the same. Its caption has one token.
        """
        row = self.rows[index]
        zeros = {name: np.zeros(shape, np.float32) for name, shape in self._shapes(row, 1).items()}
        return EncodedClip(row["clip_id"], **zeros)

    def _tensors(self, row: Row) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def _shapes(self, row: Row, text_tokens: int) -> dict[str, tuple[int, ...]]:
        latent = (CHANNELS, *latent_shape(row["frames"], *bucket_size(row["bucket"])))
        image = (IMAGE_TOKENS, self._image_dim)
        return {
            "latent": latent,
            "pose_latent": latent,
            "image_latent": latent,
            "clip_image": image,
            "clip_pose": image,
            "text": (max(1, text_tokens), self._text_dim),
            "keypoints": (row["frames"], JOINTS, 2),
            "scores": (row["frames"], JOINTS),
        }

    def _refuse_misfits(self, row: Row, tensors: Mapping[str, np.ndarray]) -> None:
        for name, shape in self._shapes(row, len(tensors["text"])).items():
            found = tensors[name]
            if found.shape != shape or found.dtype != np.float32:
                raise ValueError(f"{name} is {found.dtype} {found.shape}, a {row['bucket']} clip has float32 {shape}.")
            if not np.isfinite(found).all():
                raise ValueError(f"{name} holds NaN or infinite values.")
        PoseTrack(tensors["keypoints"], tensors["scores"])


class EncodedDataset(Clips):
    """What `encode` committed: latents and features that are read as they are.

    Raises CorruptArtifact, beside the manifest's reasons, if there is no text to take a dropped one's place.
    """

    def __init__(self, commit: Commit, split: str | None = None):
        super().__init__(commit, split, *widths(commit))
        self.codec = commit.meta.get("encoders", {}).get("codec")
        self.null_text = _null_text(commit, self._text_dim)
        self._shards = _OpenFiles(commit.path / "shards")

    def _tensors(self, row: Row) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(self._shards.read(row["shard"], row["offset"], row["bytes"]))
        except SafetensorError as error:
            raise ValueError(f"the bytes are no safetensors ({error}).") from error


class _OpenFiles:
    """Files of a folder, each opened once as long as not more than OPEN_FILES are in use. Any thread may read."""

    def __init__(self, folder: Path):
        self._folder, self._lock = folder, threading.Lock()
        self._files: dict[str, Any] = {}

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Raises OSError, or ValueError where the file ends before ``size`` bytes."""
        with self._lock:
            file = self._files.pop(name, None) or (self._folder / name).open("rb", buffering=0)
            self._files[name] = file  # the last one used is the last one closed
            if len(self._files) > OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            content = os.pread(file.fileno(), size, offset)
        if len(content) != size:
            raise ValueError(f"the shard ends {size - len(content)} bytes before the clip does.")
        return content


def _null_text(commit: Commit, width: int) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        text = load_file(commit.path / "null_text.safetensors")["text"]
    except (OSError, SafetensorError, KeyError) as error:
        raise CorruptArtifact(f"{commit.uri}/null_text.safetensors holds no text ({error!r}).", AGAIN) from error
    if text.shape != (max(1, len(text)), width) or text.dtype != np.float32 or not np.isfinite(text).all():
        raise CorruptArtifact(
            f"{commit.uri}/null_text.safetensors: {text.dtype} {text.shape}, finite float32 (L, {width}) expected.",
            AGAIN,
        )
    return text


def widths(commit: Commit) -> tuple[int, int]:
    """Of the image and text features of an encoded dataset, by the model size it was encoded for."""
    size = commit.config.get("model", {}).get("size")
    try:
        return _widths_of(size)
    except KeyError:
        raise CorruptArtifact(f"{commit.uri} was encoded for a model of size {size!r}, which is unknown.") from None


def _widths_of(size: str) -> tuple[int, int]:
    from model.transformer import model_config

    model = model_config(size)
    return model["image_dim"], model["text_dim"]


def check(commit: Commit, config: Config) -> None:
    """Refuses a dataset that this config cannot train on: an encoded one, or with train.data=raw one of `curate`.

    Raises SteadyDancerError naming what differs: another kind of artifact, no clips, another codec or encoders, another
    model's features, another number of frames or rate, another resolution.
    """
    kind = {"encoded": "encoded", "raw": "dataset"}[config.train.data]
    if commit.kind != kind:
        raise SteadyDancerError(
            f"{commit.uri} is of kind {commit.kind!r}, train.data={config.train.data} reads {kind!r}.", _FIT
        )
    rows = rows_of(commit)
    if kind == "encoded":
        _check_encoders(commit, config)
    if all(row["split"] != "train" for row in rows):
        raise SteadyDancerError(
            f"{commit.uri} holds no clips to train on.", "Look at the dataset's report: why was every clip rejected?"
        )
    for column, wanted in (("frames", config.clip.frames), ("fps", config.clip.fps)):
        if (row := next((row for row in rows if row[column] != wanted), None)) is not None:
            raise SteadyDancerError(
                f"{commit.uri}: clip {row['clip_id']} has {column} {row[column]:g}, clip.{column} is {wanted:g}.", _FIT
            )
    _check_buckets(commit.uri, {row["bucket"] for row in rows}, config.clip.area)


def _check_encoders(commit: Commit, config: Config) -> None:
    wanted = config.encode.model_dump()
    for key, made in commit.config.get("encode", {}).items():
        if key in wanted and wanted[key] != made:
            raise SteadyDancerError(
                f"{commit.uri} was encoded with encode.{key}={made!r}, this config asks for {wanted[key]!r}.", _FIT
            )
    found, read = widths(commit), _widths_of(config.model.size)
    if found != read:
        raise SteadyDancerError(
            f"{commit.uri} was encoded for model.size={commit.config['model']['size']} (image and text features of "
            f"widths {found}), model.size={config.model.size} reads {read}.",
            _FIT,
        )
    _null_text(commit, read[1])


def _check_buckets(uri: str, buckets: Iterable[str], area: int) -> None:
    """A bucket's sides are those of a picture of ``area`` pixels, cut down to whole tokens (specification 3.2.3)."""
    cell = SPACE * PATCH
    for bucket in sorted(buckets):
        height, width = bucket_size(bucket)
        if height % cell or width % cell:
            raise SteadyDancerError(
                f"{uri} holds clips of {bucket} pixels (height x width); the sides must be multiples of {cell}.", _FIT
            )
        if not height * width <= area <= (height + cell) * (width + cell):
            raise SteadyDancerError(
                f"{uri} holds clips of {bucket} pixels (height x width), which is a clip.area of {height * width} to "
                f"{(height + cell) * (width + cell)}; this config has clip.area={area}.",
                _FIT,
            )


_FIT = "Run `curate` and `encode` with this config in a work folder of its own, or correct the config."
