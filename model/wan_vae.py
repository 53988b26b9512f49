"""Wan 2.1's VAE behind the codec's interface (specification 3.2.5).

Shapes: B batch, C channels, T frames or latent frames, H W height and width (pixels or latent).
"""

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from model.codec import CHANNELS, check_video
from model.weights import WeightsNotFound, fingerprint, locate


class WanVAE:
    """diffusers' AutoencoderKLWan in fp32: the mean of the posterior, normalised channel by channel."""

    def __init__(self, source: str | None, device: torch.device | str = "cpu"):
        folder = locate(source, "encode.codec_weights", "Wan's VAE (diffusers AutoencoderKLWan)", "vae")
        try:
            vae = AutoencoderKLWan.from_pretrained(folder, torch_dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise WeightsNotFound(
                f"{folder} is no AutoencoderKLWan ({error}).", "Give Wan 2.1's `vae` folder."
            ) from error
        if vae.config.z_dim != CHANNELS:
            raise WeightsNotFound(
                f"{folder} is a VAE of {vae.config.z_dim} channels, SteadyDancer reads {CHANNELS}.",
                "Give the VAE of Wan 2.1 (Wan 2.2 5B has another).",
            )
        self.id = f"wan-vae-{fingerprint(folder)}"
        self._vae = vae.to(device).eval().requires_grad_(False)
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, CHANNELS, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        check_video(video_BCTHW)
        mean_BCTHW = self._vae.encode(video_BCTHW.to(self._mean)).latent_dist.mode()
        return (mean_BCTHW - self._mean) / self._std

    @torch.no_grad()
    def decode(self, latent_BCTHW: Tensor) -> Tensor:
        return self._vae.decode(latent_BCTHW.to(self._mean) * self._std + self._mean).sample.clamp(-1, 1)
