"""I3D's logits of the 400 classes of Kinetics, which the Fréchet video distance is taken of: a row per clip, (N, 400).

The published network is a TorchScript archive, which is a program: who loads it runs what its author wrote. Unless the
config names another hash, only the one known file is opened.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.checkpoints import frozen, seeded
from evaluation.backbones.i3d_network import I3D
from evaluation.backbones.pictures import pixels
from infra.errors import SteadyDancerError

SIZE = 224
CLIP_FRAMES = 16
FEWEST_FRAMES = 10
CHUNK = 8  # frames that are resized at once

WEIGHTS = Weights(
    "i3d",
    licence="Apache-2.0 of the network; none is stated for the conversion to TorchScript",
    source="flateon/FVD-I3D-torchscript/i3d_torchscript.pt@1c2d61711c52571ad617a1063e6fa691b212e184, the file that "
    "StyleGAN-V made of TensorFlow Hub's network",
    sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
)


class Published(nn.Module):
    """The archive, asked for the logits of clips that are resized and scaled already."""

    def __init__(self, script: torch.jit.ScriptModule):
        super().__init__()
        self.script = script

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        return self.script(clips_NCTHW, rescale=False, resize=False, return_features=True)


def load(files: Mapping[str, Path]) -> Published:
    """Runs code out of the file, see above. Raises SteadyDancerError for a file that is no TorchScript archive."""
    path = files[WEIGHTS.key]
    try:
        return frozen(Published(torch.jit.load(path, map_location="cpu")))
    except (RuntimeError, ValueError) as error:
        raise SteadyDancerError(
            f"{path} is no TorchScript archive: {str(error).splitlines()[0]}", f"Take {WEIGHTS.source}."
        ) from error


def cropped(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, 224, 224) in -1..1: the shorter side to 224, the longer one in proportion (rounded
    up), bilinear without antialiasing; then the middle. As StyleGAN-V, common_metrics_on_video_quality and HumanVid.
    """
    height, width = frames.shape[1:3]
    scale = SIZE / min(height, width)
    tall, wide = (SIZE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIZE)
    top, left = (tall - SIZE) // 2, (wide - SIZE) // 2
    return _scaled(frames, (tall, wide))[..., top : top + SIZE, left : left + SIZE]


def squashed(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, 224, 224) in -1..1: both sides to 224, bilinear without antialiasing. As cd-fvd."""
    return _scaled(frames, (SIZE, SIZE))


def _scaled(frames: np.ndarray, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(pixels(frames) / 255, size, mode="bilinear", align_corners=False)
    return (2 * resized - 1).transpose(0, 1)


def clips(frames: int) -> Iterator[slice]:
    """Clips of 16 frames, one after the other from the first; what is left over belongs to none."""
    return (slice(start, start + CLIP_FRAMES) for start in range(0, frames - CLIP_FRAMES + 1, CLIP_FRAMES))


def prefixes(frames: int) -> Iterator[slice]:
    """The first 10, 11, ... frames, up to all."""
    return (slice(0, end) for end in range(FEWEST_FRAMES, frames + 1))


def _logits(
    network: nn.Module, frames: np.ndarray, prepare: Callable[[np.ndarray], Tensor], spans: list[slice]
) -> np.ndarray:
    """(spans, 400) float32, span by span; none for a video too short for one."""
    if not spans:
        return np.zeros((0, 400), np.float32)
    device = next(network.parameters()).device
    with torch.inference_mode():
        parts = [prepare(frames[start : start + CHUNK]) for start in range(0, spans[-1].stop, CHUNK)]
        video_CTHW = torch.cat(parts, dim=1).to(device)
        rows = [network(video_CTHW[None, :, span].contiguous()).float().cpu() for span in spans]
    return torch.cat(rows).numpy()


def _backbone(
    name: str, preprocessing: str, prepare: Callable[[np.ndarray], Tensor], cut: Callable[[int], Iterator[slice]]
) -> Backbone:
    return Backbone(
        name=name,
        version=1,
        preprocessing=preprocessing,
        network="i3d",
        weights=(WEIGHTS,),
        load=load,
        random=partial(seeded, I3D),
        embed=lambda network, pictures, others: _logits(network, pictures, prepare, list(cut(len(pictures)))),
    )


I3D_LOGITS = _backbone("i3d_logits", "clips16-short224-noaa-crop", cropped, clips)
I3D_LOGITS_SQUASH = _backbone("i3d_logits_squash", "clips16-squash224-noaa", squashed, clips)
I3D_LOGITS_PREFIXES = _backbone("i3d_logits_prefixes", "first10on-short224-noaa-crop", cropped, prefixes)
