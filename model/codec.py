"""Latent codecs: the embedded block-DCT one, and Wan's VAE behind the same interface.

Shapes: B batch, C channels, T frames or latent frames, H W height and width (pixels or latent), K = 16 latent channels.
"""

from typing import Protocol, Self

import torch
from torch import Tensor

from model.resolution import SPACE, TIME

CHANNELS = 16


class LatentCodec(Protocol):
    """Video (B, 3, T, H, W) in [-1, 1] to latents (B, 16, (T-1)//4+1, H/8, W/8), roughly of unit variance, and back.

    T is 4k+1. Causal: latent 0 depends on frame 0 only, latent k on frames up to 4k. Input may lie on any device; what
    comes out is fp32 on the codec's own, or on the input's where a codec has no weights.
    """

    id: str

    def to(self, device: torch.device | str) -> Self: ...

    def encode(self, video_BCTHW: Tensor) -> Tensor: ...

    def decode(self, latent_BCTHW: Tensor) -> Tensor: ...


# One latent channel each: colour axis, temporal, vertical and horizontal DCT frequency of a 4x8x8 block, and the
# channel's root mean square over 81-frame windows of real dance clips at 160x96 and 448x256, which scales it to one.
_CHANNELS = (
    (0, 0, 0, 0, 7.0),
    (0, 0, 0, 1, 1.2),
    (0, 0, 1, 0, 1.0),
    (0, 0, 0, 2, 0.65),
    (0, 0, 2, 0, 0.48),
    (0, 0, 1, 1, 0.46),
    (0, 0, 0, 3, 0.36),
    (0, 0, 3, 0, 0.30),
    (0, 0, 1, 2, 0.31),
    (0, 0, 2, 1, 0.26),
    (1, 0, 0, 0, 2.2),
    (2, 0, 0, 0, 0.36),
    (0, 1, 0, 0, 0.60),
    (0, 2, 0, 0, 0.33),
    (0, 1, 0, 1, 0.32),
    (0, 1, 1, 0, 0.27),
)
# Orthonormal luma, red-blue and green-magenta axes: grey is zero in the last two.
_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


class BlockDCT:
    """Deterministic and training-free: 16 coefficients of each 4x8x8 block's DCT, low frequencies of luma first.

    Frame 0 is a block of its own, as if it had stood still for four frames; its temporal channels are zero. Grey (0.0)
    is the zero latent, and a video at rest has the same latent at all times.
    """

    id = "block-dct-1"

    def __init__(self) -> None:
        colours = torch.tensor(_COLOURS, dtype=torch.float64)
        colours = colours / colours.norm(dim=1, keepdim=True)
        space, time = _dct(SPACE), _dct(TIME)
        basis = torch.stack(
            [
                torch.einsum("c,t,y,x->ctyx", colours[c], time[t], space[v], space[u]).flatten()
                for c, t, v, u, _ in _CHANNELS
            ]
        )
        # A group's temporal mean has the scale of one frame: the orthonormal transform of four equal frames doubles it.
        scale = torch.tensor([rms for *_, rms in _CHANNELS], dtype=torch.float64)[:, None] * TIME**0.5
        self._analysis, self._synthesis = (basis / scale).float(), (basis * scale).float()

    def to(self, device: torch.device | str) -> Self:
        """Itself: its two small tables follow the input."""
        return self

    def encode(self, video_BCTHW: Tensor) -> Tensor:
        check_video(video_BCTHW)
        groups = torch.cat([video_BCTHW[:, :, :1].expand(-1, -1, TIME - 1, -1, -1), video_BCTHW], dim=2).float()
        blocks = groups.unflatten(4, (-1, SPACE)).unflatten(3, (-1, SPACE)).unflatten(2, (-1, TIME))
        # (B, c, T, t, H, y, W, x) to (B, T, H, W, ctyx)
        pixels = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
        return (pixels @ self._analysis.to(pixels.device).T).movedim(-1, 1)

    def decode(self, latent_BCTHW: Tensor) -> Tensor:
        pixels = latent_BCTHW.float().movedim(1, -1) @ self._synthesis.to(latent_BCTHW.device)
        blocks = pixels.unflatten(4, (3, TIME, SPACE, SPACE)).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return blocks.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, TIME - 1 :].clamp(-1, 1)


def _dct(n: int) -> Tensor:
    """(n, n) orthonormal DCT-II, a frequency per row."""
    k = torch.arange(n, dtype=torch.float64)
    rows = (2 / n) ** 0.5 * torch.cos(torch.pi * (2 * k[None] + 1) * k[:, None] / (2 * n))
    rows[0] /= 2**0.5
    return rows


def check_video(video_BCTHW: Tensor) -> None:
    """Raises ValueError for a shape that no codec takes."""
    if video_BCTHW.dim() != 5 or video_BCTHW.shape[1] != 3:
        raise ValueError(f"a video of shape (B, 3, T, H, W) was expected, not {tuple(video_BCTHW.shape)}")
    t, h, w = video_BCTHW.shape[2:]
    if t % TIME != 1 or h % SPACE or w % SPACE:
        raise ValueError(f"4k+1 frames with sides that 8 divides were expected, not {t} of {h}x{w}")
