"""Wan 2.1's VAE behind the codec's interface (specification 3.2.5).

Shapes: B batch, C channels, T frames or latent frames, H W height and width (pixels or latent).
"""

import threading
from functools import cached_property
from math import ceil
from typing import Self

import torch
from diffusers import AutoencoderKLWan
from safetensors import SafetensorError
from torch import Tensor

from model.codec import CHANNELS, check_video
from model.resolution import SPACE
from model.weights import WeightsNotFound, check, check_complete, fingerprint, locate

STRIDE, OVERLAP = 192, 64  # pixels from one tile to the next at most, and by which it reaches into it at least


class WanVAE:
    """diffusers' AutoencoderKLWan in fp32: the mean of the posterior, normalised channel by channel.

    It works on one latent frame (four frames) after the other, with a cache of two frames in front of every
    convolution, so that its memory depends on the size of a picture and hardly on the number of them.

    ``tiling`` cuts pictures into overlapping tiles and blends what comes out: less memory for bigger pictures, and
    numbers that differ a little (attention, and the borders, see one tile), which the id tells.
    """

    def __init__(self, source: str | None, tiling: bool = False):
        what = "Wan 2.1's VAE (diffusers AutoencoderKLWan)"
        folder = locate(source, "encode.codec_weights", what, "vae")
        check(folder, ("AutoencoderKLWan",), what)
        try:
            vae, loading = AutoencoderKLWan.from_pretrained(
                folder, torch_dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise WeightsNotFound(
                f"{folder} is no AutoencoderKLWan ({error}).", "Give Wan 2.1's `vae` folder."
            ) from error
        check_complete(folder, loading, what)
        if vae.config.z_dim != CHANNELS:
            raise WeightsNotFound(
                f"{folder} is a VAE of {vae.config.z_dim} channels, SteadyDancer reads {CHANNELS}.",
                "Give the VAE of Wan 2.1 (Wan 2.2 5B has another).",
            )
        self._folder, self._vae, self._tiling = folder, vae.eval().requires_grad_(False), tiling
        self._at_work = threading.Lock()  # it keeps what it is at in itself, and clips may be read ahead in a thread
        self._mean, self._std = (
            torch.tensor(values).view(1, CHANNELS, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )

    @cached_property
    def id(self) -> str:
        return f"wan-vae-{fingerprint(self._folder)}" + ("-tiled" if self._tiling else "")

    def to(self, device: torch.device | str) -> Self:
        self._vae.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        check_video(video_BCTHW)
        with self._at_work:
            self._tile(*video_BCTHW.shape[3:])
            try:
                mean_BCTHW = self._vae.encode(video_BCTHW.to(self._mean)).latent_dist.mode()
            finally:
                self._vae.clear_cache()  # an encode that ran out of memory would keep it
        return (mean_BCTHW - self._mean) / self._std

    @torch.no_grad()
    def decode(self, latent_BCTHW: Tensor) -> Tensor:
        with self._at_work:
            self._tile(*(SPACE * side for side in latent_BCTHW.shape[3:]))
            try:
                return self._vae.decode(latent_BCTHW.to(self._mean) * self._std + self._mean).sample
            finally:
                self._vae.clear_cache()

    def _tile(self, height: int, width: int) -> None:
        if self._tiling:
            (tall, down), (wide, across) = tiles(height), tiles(width)
            self._vae.enable_tiling(tall, wide, down, across)


def tiles(side: int) -> tuple[int, int]:
    """Length of a tile and the distance from one to the next, in pixels, multiples of 8, for a side of a picture.

    A tile begins at every multiple of the distance. A fixed distance ends many sides in a sliver of a tile, which sees
    next to nothing of the picture; here the tiles are spread evenly, and on sides up to 3000 the last is nearly as long
    as the distance.
    """
    if side <= STRIDE + OVERLAP:
        return side, side
    stride = SPACE * ceil(side / ceil(side / STRIDE) / SPACE)
    return STRIDE + OVERLAP, stride
