"""How far frames are from what an interpolator makes of their neighbours, AMT-S being VBench's.

AMT is CC BY-NC 4.0, its code as its weights, so neither is here. Users who may use it export it themselves, see
:func:`load`. Shapes: T frames of H x W pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.checkpoints import seeded
from evaluation.backbones.pictures import pixels
from infra.errors import SteadyDancerError

KEY = "amt_s"
MULTIPLE = 16
Interpolator = Callable[[Tensor, Tensor], Tensor]
"""(1, 3, H, W) and (1, 3, H, W) in 0..1 -> the picture half-way between them in time, same shape and range."""


def held_out_errors(interpolator: Interpolator, frames: np.ndarray, device: torch.device | None = None) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T,) float32: mean |x_t - prediction from x_t-1 and x_t+1| in levels, at odd t.

    Even frames, and the last of an even number, have nan: nothing predicts them. The prediction is cut to whole
    levels, not rounded, which costs some 0.5 levels: as VBench does it.
    """
    errors = np.full(len(frames), np.nan, np.float32)
    with torch.inference_mode():
        for t in range(1, len(frames) - 1, 2):
            before, after = (padded(pixels(frames[i : i + 1]) / 255).to(device) for i in (t - 1, t + 1))
            made = uncovered(interpolator(before, after).float().cpu(), frames.shape[1:3])
            levels = (made * 255).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
            errors[t] = np.abs(levels.astype(np.int16) - frames[t]).mean()
    return errors


def padded(unit_NCHW: Tensor) -> Tensor:
    """Edges repeated, half on either side, up to multiples of 16."""
    down, right = (-side % MULTIPLE for side in unit_NCHW.shape[2:])
    return F.pad(unit_NCHW, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def uncovered(unit_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """The (height, width) in the middle that :func:`padded` began with."""
    top, left = (-side % MULTIPLE // 2 for side in size)
    return unit_NCHW[:, :, top : top + size[0], left : left + size[1]]


def load(files: Mapping[str, Path]) -> nn.Module:
    """A TorchScript module of two arguments, as :data:`Interpolator`, for sides of any multiple of 16, in fp32.

    Export it where AMT's own code is: ``torch.jit.script`` or ``trace`` of a module whose forward returns
    ``amt(a, b, torch.full((1, 1, 1, 1), 0.5), scale_factor=1.0, eval=True)["imgt_pred"]``. TorchScript is no pickle
    of Python objects, but it is a program: load only a file that you made, and pin its SHA-256. Raises
    SteadyDancerError for what is no such module.
    """
    path = files[KEY]
    fix = "Export AMT-S to TorchScript as evaluation.backbones.frame_interpolation.load tells."
    try:
        module = torch.jit.load(path, map_location="cpu").float().eval()
        probe = torch.linspace(0, 1, 3 * 64 * 96).view(1, 3, 64, 96)
        with torch.inference_mode():
            made = module(probe, probe)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise SteadyDancerError(f"{path} is no TorchScript module of two pictures: {reason}", fix) from error
    if not isinstance(made, Tensor) or made.shape != probe.shape:
        got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise SteadyDancerError(f"{path} made {got} of two pictures (1, 3, 64, 96), not a third of that shape.", fix)
    return module


class _StandIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 3, 1)
        )

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(torch.cat([before, after], dim=1)))


def random(seed: int) -> nn.Module:
    """Not of AMT's size, whose architecture is not here: three convolutions, for tests and benchmarks."""
    return seeded(_StandIn, seed)


def _embed(network: nn.Module, pictures: np.ndarray, _: np.ndarray | None) -> np.ndarray:
    parameter = next(network.parameters(), None)
    return held_out_errors(network, pictures, None if parameter is None else parameter.device)


AMT_S = Backbone(
    name="amt_s",
    version=1,
    preprocessing="rgb8-pad16-truncated-oddframes",
    network="amt_s",
    weights=(
        Weights(
            KEY,
            licence="CC BY-NC 4.0: not for commercial use",
            source="https://huggingface.co/lalala125/AMT, amt-s.pth, exported to TorchScript by yourself",
        ),
    ),
    load=load,
    random=random,
    embed=_embed,
)
"""Its pictures are the frames of one video in order; row t belongs to frame t and its two neighbours."""
