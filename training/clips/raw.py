"""Training on a dataset that was never encoded: each clip's video, pose and caption are encoded when they are read.

For runs that see a clip a few times at most. Every reading encodes anew; `encode` does it once and for all.
"""

from functools import cached_property

import numpy as np
import torch

from infra.commits import Commit
from infra.schema import Config
from model.encoders import Encoders, build_encoders
from pipelines.clips import bucket_size
from pipelines.encode import ReadClip, encode_clip
from training.clips.data import Clips, EncodedDataset
from training.clips.manifest import Row


class RawDataset(Clips):
    """The kept clips of a committed dataset, with the tensors that `encode` would have made of them."""

    def __init__(self, commit: Commit, split: str | None, encoders: Encoders):
        super().__init__(commit, split, encoders.image.dim, encoders.text.dim)
        self.codec = encoders.codec.id
        self._shards, self._encoders = f"{commit.path}/shards", encoders

    @cached_property
    def null_text(self) -> np.ndarray:
        with torch.no_grad():
            return self._encoders.text([""])[0].float().cpu().numpy()

    def _tensors(self, row: Row) -> dict[str, np.ndarray]:
        clip = ReadClip()(row | {"shards": self._shards})
        images, track, size = clip["images"], clip["track"], bucket_size(row["bucket"])
        if images.shape != (row["frames"], *size, 3) or len(track) != row["frames"]:
            raise ValueError(
                f"its video is {images.shape} and its pose {len(track)} frames, {row['frames']} frames of "
                f"{row['bucket']} expected."
            )
        tensors, _ = encode_clip(self._encoders, images, track, clip["text"], size)
        return {name: tensor.numpy() for name, tensor in tensors.items()}


def open_clips(commit: Commit, config: Config, device: torch.device | str = "cpu") -> tuple[Clips, Clips]:
    """The clips to train on and those held out, of which there may be none, from where train.data says.

    ``commit`` lies on this machine (infra.commits.fetch) and passed :func:`training.clips.data.check`. ``device`` is
    where raw clips are encoded.
    """
    if config.train.data == "encoded":
        return EncodedDataset(commit, "train"), EncodedDataset(commit, "val")
    encoders = build_encoders(config.encode, config.model, device)
    return RawDataset(commit, "train", encoders), RawDataset(commit, "val", encoders)
