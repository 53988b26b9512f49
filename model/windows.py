"""A video longer than a window: which frames each window has, how their overlaps are fused, what noise they start from.

Shapes: N windows, C channels, T frames or latent frames, H W height and width. Where nothing else is said, a slot is a
latent frame (windows denoised together) or a frame (windows one after the other).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from infra.errors import UsageError


class Span(NamedTuple):
    """Slots ``start`` to ``stop``, which is not one of them."""

    start: int
    stop: int


def spans(total: int, window: int, overlap: int) -> list[Span]:
    """Windows of ``window`` slots that cover ``total`` slots; neighbours share ``overlap``, the last two maybe more.

    One span where ``total`` is no more than ``window``; ``overlap`` is then of no account. Raises UsageError for
    numbers that allow no windows.
    """
    if total < 1 or window < 1:
        raise UsageError(
            f"{total} frames in windows of {window} make no video.", "Both numbers have to be 1 or more (clip.frames)."
        )
    if total <= window:
        return [Span(0, total)]
    if not 1 <= overlap < window:
        raise UsageError(
            f"windows of {window} (latent) frames cannot overlap by {overlap}: expected 1 to {window - 1}.",
            "Set animate.overlap to clip.frames - 5 or less.",
        )
    starts = [*range(0, total - window, window - overlap), total - window]
    return [Span(start, start + window) for start in starts]


def fusion_weights(windows: Sequence[Span], total: int) -> Tensor:
    """(N, T): the part each window has in each slot, from a linear ramp over every overlap; 1 in sum over the windows.

    A window comes in from exactly 0 at its first slot to 1 where the window before ends. That first slot is a one-frame
    latent with the reference in it, or the frame a window was started from: it has no place inside the video.
    """
    slot = torch.arange(total)
    weights = torch.zeros(len(windows), total)
    weights[0] = 1
    for n, (before, window) in enumerate(pairwise(windows), start=1):
        rise = ((slot - window.start) / (before.stop - window.start)).clamp(0, 1)
        weights[:n] *= 1 - rise
        weights[n] = rise
    return weights


def reused_noise(shape_CTHW: Sequence[int], window: int, overlap: int, generator: torch.Generator) -> Tensor:
    """(1, C, T, H, W) Gaussian noise of which every window has the same frames, each in its own order.

    The first window's frames are drawn; the frames by which the next one goes further are those that it leaves behind,
    shuffled (FreeNoise, arXiv 2310.15169, section 3.2). Up to one window it is ``torch.randn`` of that shape.
    """
    c, total, h, w = shape_CTHW
    windows = spans(total, window, overlap)
    drawn = torch.randn(1, c, windows[0].stop, h, w, generator=generator)
    noise = drawn.new_empty(1, c, total, h, w)
    noise[:, :, : windows[0].stop] = drawn
    for before, after in pairwise(windows):
        left_behind = before.start + torch.randperm(after.start - before.start, generator=generator)
        noise[:, :, before.stop : after.stop] = noise[:, :, left_behind]
    return noise


def crossfaded(pieces: Sequence[np.ndarray], windows: Sequence[Span]) -> np.ndarray:
    """One video of the windows' videos, (T, H, W, 3) uint8, mixed by :func:`fusion_weights` in pixel values.

    ``pieces[n]`` has the frames of ``windows[n]``.
    """
    total = windows[-1].stop
    weights = fusion_weights(windows, total).numpy()
    video = np.empty((total, *pieces[0].shape[1:]), np.uint8)
    for t in range(total):
        shown = [(weights[n, t], piece[t - windows[n].start]) for n, piece in enumerate(pieces) if weights[n, t]]
        video[t] = np.rint(sum(weight * frame for weight, frame in shown))
    return video
