"""What SteadyDancer is told beside the noisy latent, assembled by one code for training batches and for inference.

Shapes: B batch, C channels, T latent frames, H W latent height and width, N = 257 CLIP tokens, L = 512 text tokens,
D feature width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TEXT_TOKENS = 512
IMAGE_TOKENS = 257


class Conditions(NamedTuple):
    """A batch of conditions (specification 1.2). A tuple, so that DeepSpeed and torch see the tensors in it."""

    y_BCTHW: Tensor
    """(B, 20, T, H, W): 4 mask channels, then the latent of the reference image followed by grey frames."""
    condition_BCTHW: Tensor
    """(B, 16, T, H, W): latent of the pose video."""
    ref_x_BCTHW: Tensor
    """(B, 36, 1, H, W): [image latent, ones(4), image latent]."""
    ref_c_BCTHW: Tensor
    """(B, 16, 1, H, W): latent of the first pose frame."""
    clip_x_BND: Tensor
    """(B, 257, D): CLIP features of the reference image."""
    clip_c_BND: Tensor
    """(B, 257, D): CLIP features of the first pose frame."""
    clip_c_used_B: Tensor
    """(B,) 1 or 0: whether the embedded pose features are added to those of the image."""
    text_BLD: Tensor
    """(B, 512, D): text features, zero padded."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Conditions":
        return Conditions(*(tensor.to(device=device, dtype=dtype) for tensor in self))

    def without_pose(self, dropped_B: Tensor | None = None) -> "Conditions":
        """The pose-unconditional branch (specification 6.2) for the samples where ``dropped_B`` (B,) bool is true.

        Pose latent and pose reference become zero and the pose's CLIP embedding is not added; image and text stay.
        Without ``dropped_B``, all samples.
        """
        keep = self._kept(dropped_B)
        return self._replace(
            condition_BCTHW=scaled(self.condition_BCTHW, keep),
            ref_c_BCTHW=scaled(self.ref_c_BCTHW, keep),
            clip_c_used_B=self.clip_c_used_B * keep.to(self.clip_c_used_B.dtype),
        )

    def without_text(self, dropped_B: Tensor | None = None) -> "Conditions":
        """No text token (all padding) for the samples where ``dropped_B`` (B,) bool is true, or for all."""
        return self._replace(text_BLD=scaled(self.text_BLD, self._kept(dropped_B)))

    def with_pose_latent(self, condition_BCTHW: Tensor) -> "Conditions":
        """Another pose video; pose reference and pose CLIP stay, as in the negative pass of DC-CFG (3.4)."""
        return self._replace(condition_BCTHW=condition_BCTHW.to(self.condition_BCTHW))

    def with_text(self, text: list[Tensor]) -> "Conditions":
        """Other prompts: one (L, D) tensor per sample."""
        return self._replace(text_BLD=padded(text).to(self.text_BLD))

    def _kept(self, dropped_B: Tensor | None) -> Tensor:
        if dropped_B is None:
            return torch.zeros(len(self.text_BLD), dtype=torch.bool, device=self.text_BLD.device)
        return ~dropped_B.to(self.text_BLD.device, torch.bool)


def assemble(
    image_latent_BCTHW: Tensor,
    pose_latent_BCTHW: Tensor,
    clip_image_BND: Tensor,
    clip_pose_BND: Tensor,
    text: list[Tensor],
) -> Conditions:
    """Conditions from encoded parts (specification 1.7).

    ``image_latent`` (B, 16, T, H, W) is the codec of the reference image followed by grey frames, ``pose_latent`` that
    of the pose video, ``text`` one (L <= 512, D) tensor per sample. The one-frame references are the first latent
    frames of the two: the codecs are causal.
    """
    b, _, t, h, w = image_latent_BCTHW.shape
    mask = image_latent_BCTHW.new_zeros(b, 4, t, h, w)
    mask[:, :, 0] = 1
    image = image_latent_BCTHW[:, :, :1]
    return Conditions(
        y_BCTHW=torch.cat([mask, image_latent_BCTHW], dim=1),
        condition_BCTHW=pose_latent_BCTHW,
        ref_x_BCTHW=torch.cat([image, torch.ones_like(image[:, :4]), image], dim=1),
        ref_c_BCTHW=pose_latent_BCTHW[:, :, :1],
        clip_x_BND=clip_image_BND,
        clip_c_BND=clip_pose_BND,
        clip_c_used_B=clip_pose_BND.new_ones(b),
        text_BLD=padded(text),
    )


def padded(text: list[Tensor]) -> Tensor:
    """(L, D) tensors, cut at 512 tokens and zero padded to (B, 512, D)."""
    out = text[0].new_zeros(len(text), TEXT_TOKENS, text[0].shape[1])
    for row, tokens in zip(out, text, strict=True):
        row[: len(tokens)] = tokens[:TEXT_TOKENS]
    return out


def scaled(x: Tensor, factor_B: Tensor) -> Tensor:
    """Each sample of ``x`` times its factor."""
    return x * factor_B.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
