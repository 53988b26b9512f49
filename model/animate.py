"""One picture and a driving pose to a video (specification 3).

A video longer than a window is made of windows that overlap, jointly or one after the other (:mod:`model.windows`).

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from infra import schema
from infra.errors import SteadyDancerError
from model.denoising import Denoiser, Preview, Shown
from model.encoders import Encoders
from model.guidance import forwards
from model.inputs import Motion, to_pixels
from model.motion import motion_of
from model.pose.tracks import PoseTrack
from model.resolution import TIME, latent_shape, output_size
from model.transformer import SteadyDancerTransformer
from model.windows import Span, crossfaded, reused_noise, spans

Progress = Callable[[int, int], None]
"""(passes done, passes of the whole video)"""


def generate(
    model: SteadyDancerTransformer,
    encoders: Encoders,
    reference: np.ndarray,
    motion: Motion,
    prompt: str,
    settings: schema.Animate,
    *,
    seed: int,
    window: int,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    preview: Preview | None = None,
) -> np.ndarray:
    """``reference`` (H, W, 3) uint8 RGB moving through the pictures of ``motion``: (T, h, w, 3) uint8 RGB.

    T is the length of ``motion``, 4k+1. More than ``window`` frames (4k+1, what the model was trained on) are made of
    windows as ``settings`` say. The noise comes from ``seed``, on the CPU so that any device draws the same. With
    ``settings.offload`` encoders and model are on the CPU and come to ``device`` (None: where the model is) while they
    are needed. Raises SteadyDancerError for sizes and lengths that do not fit.
    """
    size = output_size(settings.area, *reference.shape[:2])
    frames, shared = len(motion.positive), settings.overlap // TIME + 1
    window = min(window, frames)
    total, height, width = latent_shape(frames, *size)
    slots, _, _ = latent_shape(window, *size)
    denoiser = Denoiser(model, encoders, settings, torch.device(device or next(model.parameters()).device))
    noise = reused_noise((16, total, height, width), slots, shared, torch.Generator().manual_seed(seed))
    parts, words = spans(total, slots, shared), denoiser.words(prompt)
    told = _counted(progress, len(parts) * forwards(settings.steps, settings.pose_interval))
    if len(parts) == 1 or settings.windows == "joint":
        windows = denoiser.read(reference, motion, words, size, parts)
        return to_pixels(denoiser.decode(denoiser.denoise(windows, noise, told, preview)))

    pieces, of_frames = [], [Span(TIME * start, TIME * (stop - 1) + 1) for start, stop in parts]
    for part, shown, after in zip(parts, of_frames, [*of_frames[1:], None], strict=True):
        here = Motion(*(Shown(pictures, shown) for pictures in motion))
        windows = denoiser.read(reference, here, words, size, [Span(0, slots)])
        video = denoiser.decode(denoiser.denoise(windows, noise[:, :, part.start : part.stop], told, preview))
        pieces.append(to_pixels(video))
        if after is not None:
            at = after.start - shown.start
            reference = to_pixels(video[:, :, at : at + 1], nearest=True)[0]
    return crossfaded(pieces, of_frames)


def _counted(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def told(passes: int) -> None:
        nonlocal done
        done += passes
        if progress is not None:
            progress(done, total)

    return told


def animate(
    model: SteadyDancerTransformer,
    encoders: Encoders,
    reference: np.ndarray,
    driving: PoseTrack,
    driving_size: tuple[int, int],
    prompt: str,
    settings: schema.Animate,
    *,
    frames: int,
    fps: float,
    seed: int,
    reference_pose: PoseTrack | None = None,
    already_aligned: bool = False,
    alignment: Literal["robust", "official"] = "robust",
    progress: Progress | None = None,
) -> np.ndarray:
    """``frames`` (4k+1) frames of ``reference`` (H, W, 3) uint8 RGB moving like ``driving``, (T, h, w, 3) uint8 RGB.

    ``driving`` is in pixels of a ``driving_size`` (height, width) frame and sampled at the video's ``fps``; its first
    ``frames`` poses are used. It is put onto the body of ``reference_pose`` (one frame, in pixels of the reference),
    by ``alignment`` (:func:`model.pose.alignment.align`), unless it is ``already_aligned``: the same person at the same
    place, as in a clip driven by itself. The noise and the negative pose come from ``seed``; the rest is
    :func:`generate`. Raises SteadyDancerError for a driving pose that is too short and a
    reference pose that is missing.
    """
    reference_size = reference.shape[:2]
    size = output_size(settings.area, *reference_size)
    if len(driving) < frames:
        raise SteadyDancerError(
            f"the driving pose has {len(driving)} frames ({len(driving) / fps:.1f} s at {fps:g} fps), not {frames}.",
            f"Use a longer driving video, or clip.frames={max(len(driving) - 1, 4) // 4 * 4 + 1}.",
        )
    if reference_pose is None and not already_aligned:
        raise SteadyDancerError(
            "the reference picture has no pose to put the driving pose onto.",
            "Use a picture that shows one person, neck and shoulders visible.",
        )
    motion = motion_of(
        [driving[:frames]],
        driving_size,
        None if already_aligned else [reference_pose],
        reference_size,
        size,
        seed=seed,
        mode=alignment,
    )
    return generate(model, encoders, reference, motion, prompt, settings, seed=seed, window=frames, progress=progress)
