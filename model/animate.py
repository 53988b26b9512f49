"""One picture and a driving pose to a video (specification 3).

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from infra import schema
from infra.errors import SteadyDancerError
from model.conditions import assemble
from model.encoders import Encoders
from model.guidance import Passes, forwards, guided_velocity, pose_guided
from model.inputs import encode_image, encode_pose, to_pixels
from model.pose.alignment import align
from model.pose.perturbation import negative
from model.pose.tracks import PoseTrack
from model.resolution import latent_shape, output_size
from model.sampling import Sampler
from model.transformer import SteadyDancerTransformer

NEGATIVE_PROMPT = (
    "镜头晃动，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)
"""The negative prompt that Wan 2.1 I2V is used with; the released weights expect it."""


@torch.no_grad()
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
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """``frames`` (4k+1) frames of ``reference`` (H, W, 3) uint8 RGB moving like ``driving``, (T, h, w, 3) uint8 RGB.

    ``driving`` is in pixels of a ``driving_size`` (height, width) frame and sampled at the video's ``fps``; its first
    ``frames`` poses are used. It is put onto the body of ``reference_pose`` (one frame, in pixels of the reference),
    by ``alignment`` (:func:`model.pose.alignment.align`), unless it is ``already_aligned``: the same person at the same
    place, as in a clip driven by itself. The noise and
    the negative pose come from ``seed``, the noise on the CPU so that any device draws the same.
    ``progress(done, total)`` counts model calls. Raises SteadyDancerError for a driving pose that is too short and a
    reference pose that is missing.
    """
    reference_size = reference.shape[:2]
    size = output_size(settings.area, *reference_size)
    shape = latent_shape(frames, *size)
    if len(driving) < frames:
        raise SteadyDancerError(
            f"the driving pose has {len(driving)} frames ({len(driving) / fps:.1f} s at {fps:g} fps), not {frames}.",
            f"Use a longer driving video, or clip.frames={max(len(driving) - 1, 4) // 4 * 4 + 1}.",
        )
    track = driving[:frames]
    if already_aligned:
        track = track.resized(driving_size, reference_size)
    elif reference_pose is None:
        raise SteadyDancerError(
            "the reference picture has no pose to put the driving pose onto.",
            "Use a picture that shows one person, neck and shoulders visible.",
        )
    else:
        track = align(track, driving_size, reference_pose, reference_size, alignment)

    device = next(model.parameters()).device
    image = encode_image(encoders, reference, frames, size)
    pose = encode_pose(encoders, track, reference_size, size)
    wrong = encode_pose(encoders, negative(track, np.random.default_rng(seed)), reference_size, size)
    positive = assemble(image.latent_BCTHW, pose.latent_BCTHW, image.clip_BND, pose.clip_BND, encoders.text([prompt]))
    passes = Passes(
        *(
            conditions.to(device)
            for conditions in (
                positive,
                positive.with_text(encoders.text([NEGATIVE_PROMPT])),
                positive.with_pose_latent(wrong.latent_BCTHW),
            )
        )
    )

    latent = torch.randn(1, 16, *shape, generator=torch.Generator().manual_seed(seed)).to(device)
    sampler = Sampler(settings.solver, settings.steps, settings.shift)
    done, total = 0, forwards(settings.steps, settings.pose_interval)

    def velocity(*inputs):
        nonlocal done
        out = model(*inputs)
        done += 1
        if progress is not None:
            progress(done, total)
        return out

    training = model.training
    model.eval()
    for i, timestep in enumerate(sampler.timesteps):
        pose_guidance = settings.pose_guidance if pose_guided(i, settings.steps, settings.pose_interval) else None
        guided = guided_velocity(
            velocity, latent, timestep[None].to(device), passes, settings.text_guidance, pose_guidance
        )
        latent = sampler.step(guided, timestep, latent)
    model.train(training)
    return to_pixels(encoders.codec.decode(latent))
