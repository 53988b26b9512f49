"""The walk from noise to a video: conditions read, velocities guided and fused, latents decoded (specification 3).

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent), N windows.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from infra import schema
from model.conditions import assemble
from model.encoders import Encoders
from model.guidance import Passes, batched, guided_velocity, one_by_one, pose_guided, prepared
from model.inputs import Motion, encode_image, pose_latent, to_pixels, to_signed
from model.resolution import TIME
from model.sampling import Sampler
from model.transformer import SteadyDancerTransformer
from model.windows import Span, fusion_weights

log = logging.getLogger(__name__)
NEGATIVE_PROMPT = (
    "镜头晃动，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)
"""The negative prompt that Wan 2.1 I2V is used with; the released weights expect it."""


class Window(NamedTuple):
    """A part of a video that goes through the model at once."""

    span: Span
    """in latent frames"""
    passes: Passes


Preview = Callable[[int, np.ndarray], None]
"""(step, (h, 3w, 3) uint8: first, middle and last frame as they stand)"""
PREVIEWS = 8


class Shown(Sequence):
    """The pictures of a span of frames."""

    def __init__(self, pictures: Sequence[np.ndarray], span: Span):
        self.pictures, self.span = pictures, span

    def __len__(self) -> int:
        return self.span.stop - self.span.start

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < len(self):
            raise IndexError(t)
        return self.pictures[self.span.start + t]


class Denoiser:
    """Model and encoders on a device: reads what a video is made of, denoises it, and decodes the result."""

    def __init__(
        self, model: SteadyDancerTransformer, encoders: Encoders, settings: schema.Animate, device: torch.device
    ):
        self.model, self.encoders, self.settings, self.device = model, encoders, settings, device

    @torch.no_grad()
    def words(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(L, D) text features of the prompt and of the negative one."""
        negative_prompt = NEGATIVE_PROMPT if self.settings.negative_prompt is None else self.settings.negative_prompt
        with self._lent(self.encoders.text) as text:
            positive, negative = text([prompt, negative_prompt])
        return positive, negative

    @torch.no_grad()
    def read(
        self,
        reference: np.ndarray,
        motion: Motion,
        words: tuple[torch.Tensor, torch.Tensor],
        size: tuple[int, int],
        parts: list[Span],
    ) -> list[Window]:
        """The conditions of all passes of every window; ``parts`` in latent frames, equally long.

        A window's pose is encoded on its own: its first latent frame stands for one frame, as in training. The two
        references are the picture and the video's first pose in all of them, since these two belong together.
        """
        frames = TIME * (parts[0].stop - parts[0].start - 1) + 1
        starts = [TIME * part.start for part in parts]
        with self._lent(self.encoders.image), self._lent(self.encoders.codec):
            image = encode_image(self.encoders, reference, frames, size)
            first_pose_BND = self.encoders.image(to_signed(motion.positive[0])[None])
            right, wrong = (
                [pose_latent(self.encoders, Shown(pictures, Span(s, s + frames)), size) for s in starts]
                for pictures in motion
            )
        first = assemble(image.latent_BCTHW, right[0], image.clip_BND, first_pose_BND, [words[0]]).to(self.device)
        textless = first.with_text([words[1]])
        return [
            Window(
                part,
                Passes(first.with_pose_latent(pose), textless.with_pose_latent(pose), first.with_pose_latent(other)),
            )
            for part, pose, other in zip(parts, right, wrong, strict=True)
        ]

    @torch.no_grad()
    def denoise(
        self,
        windows: list[Window],
        noise_BCTHW: torch.Tensor,
        told: Callable[[int], None] = lambda passes: None,
        preview: Preview | None = None,
    ) -> torch.Tensor:
        """The latent (1, 16, T, H, W) at the end of the walk from ``noise_BCTHW``.

        Every step fuses the windows' velocities where they overlap. ``told(n)``: n more passes are done. There are no
        more previews once one does not fit into the memory.
        """
        settings, latent = self.settings, noise_BCTHW.to(self.device)
        sampler = Sampler(settings.solver, settings.steps, settings.shift)
        weights_NT = fusion_weights([window.span for window in windows], latent.shape[2]).to(self.device)

        def forward(*inputs):
            out = model(*inputs)
            told(len(out))
            return out

        training = self.model.training
        self.model.eval()
        with self._lent(self.model) as model:
            passes = [window.passes for window in windows]
            # Blocks that wait in host memory come for a forward only, not to be prepared.
            passes = prepared(model, passes) if settings.cache and settings.offload != "blocks" else passes
            velocities = (batched if settings.passes == "batched" else one_by_one)(forward, passes)
            for i, timestep in enumerate(sampler.timesteps):
                pose_guidance = (
                    settings.pose_guidance if pose_guided(i, settings.steps, settings.pose_interval) else None
                )
                fused = torch.zeros_like(latent)
                for (start, stop), weights_T, of_window in zip(
                    (window.span for window in windows), weights_NT, velocities, strict=True
                ):
                    guided = guided_velocity(
                        of_window,
                        latent[:, :, start:stop],
                        timestep[None].to(self.device),
                        settings.text_guidance,
                        pose_guidance,
                    )
                    fused[:, :, start:stop] += weights_T[start:stop, None, None] * guided
                if preview is not None and i % max(1, settings.steps // PREVIEWS) == 0:
                    try:
                        preview(i, self._few_frames(latent - sampler.sigmas[i] * fused))
                    except torch.OutOfMemoryError:
                        preview = None
                        log.warning("The memory does not hold previews; the video is made without more of them.")
                latent = sampler.step(fused, timestep, latent)
        self.model.train(training)
        return latent

    def decode(self, latent_BCTHW: torch.Tensor) -> torch.Tensor:
        """(1, 3, T, h, w) in [-1, 1]."""
        with self._lent(self.encoders.codec) as codec:
            return codec.decode(latent_BCTHW)

    def _few_frames(self, latent_BCTHW: torch.Tensor) -> np.ndarray:
        """First, middle and last, each decoded as if it stood alone."""
        middle, last = latent_BCTHW.shape[2] // 2, latent_BCTHW.shape[2] - 1
        frames = [to_pixels(self.decode(latent_BCTHW[:, :, t : t + 1]))[0] for t in (0, middle, last)]
        return np.concatenate(frames, axis=1)

    @contextmanager
    def _lent(self, part: Any) -> Iterator[Any]:
        """``part`` on the device, and back in host memory afterwards where ``offload`` asks for it."""
        away = self.settings.offload != "none" and not (part is self.model and self.settings.offload == "blocks")
        if away:
            part.to(self.device)
        try:
            yield part
        finally:
            if away:
                part.to("cpu")
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
