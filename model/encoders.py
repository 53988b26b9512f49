"""What turns pixels and words into what the model reads: one interface, embedded defaults, real parts by config.

Shapes: B batch, C channels, H W pixels, N = 257 tokens of an image, L tokens of a text, D width.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from infra import schema
from infra.errors import SteadyDancerError
from model.codec import BlockDCT, LatentCodec
from model.conditions import TEXT_TOKENS
from model.transformer import model_config

IMAGE_GRID = 16


class ImageEncoder(Protocol):
    """Images (B, 3, H, W) in [-1, 1], of any size, to (B, 257, dim).

    Input may lie on any device; what comes out is fp32 on the encoder's own, or on the input's if it has no weights.
    """

    id: str
    dim: int

    def to(self, device: torch.device | str) -> Self: ...

    def __call__(self, image_BCHW: Tensor) -> Tensor: ...


class TextEncoder(Protocol):
    """Prompts to one (L <= 512, dim) tensor each, fp32 on the encoder's device; an empty one has at least one token."""

    id: str
    dim: int

    def to(self, device: torch.device | str) -> Self: ...

    def __call__(self, prompts: list[str]) -> list[Tensor]: ...


@dataclass(frozen=True)
class Encoders:
    codec: LatentCodec
    image: ImageEncoder
    text: TextEncoder

    @property
    def ids(self) -> dict[str, str]:
        """Which codec and weights these are; belongs into the commit of anything encoded with them.

        Pretrained weights are hashed for it, all gigabytes of them, when it is first asked for.
        """
        return {"codec": self.codec.id, "image": self.image.id, "text": self.text.id}


def build_encoders(
    encode: schema.Encode,
    model: schema.Model,
    device: torch.device | str = "cpu",
    offload: Literal["none", "parts", "blocks"] = "none",
) -> Encoders:
    """The encoders a config names, of the widths its model reads, in the precision they have on ``device``.

    That is the release's: CLIP in fp16 and umT5 in bf16 on a GPU, in fp32 on the CPU; the VAE in fp32. Unless
    ``offload`` is none they are left in host memory, to be brought to the device while they work
    (``.to``). Raises SteadyDancerError where weights cannot be had or have another width.
    """
    widths, gpu = model_config(model.size), torch.device(device).type != "cpu"
    if encode.codec == "wan-vae":
        from model.wan_vae import WanVAE

        codec = WanVAE(encode.codec_weights, encode.codec_tiling)
    else:
        codec = BlockDCT()
    if encode.image == "clip":
        from model.pretrained_encoders import ClipImageEncoder

        image = ClipImageEncoder(encode.image_weights, torch.float16 if gpu else torch.float32)
    else:
        image = PatchEncoder(widths["image_dim"])
    if encode.text == "umt5":
        from model.pretrained_encoders import Umt5TextEncoder

        text = Umt5TextEncoder(encode.text_weights, torch.bfloat16 if gpu else torch.float32)
    else:
        text = WordEncoder(widths["text_dim"])
    for kind, encoder, width in (("image", image, widths["image_dim"]), ("text", text, widths["text_dim"])):
        if encoder.dim != width:
            raise SteadyDancerError(
                f"encode.{kind}={getattr(encode, kind)} gives features of width {encoder.dim}, "
                f"model.size={model.size} reads {width}.",
                f"Use encode.{kind}=embedded, or the model size these weights belong to.",
            )
    if offload == "none":
        codec, image, text = (part.to(device) for part in (codec, image, text))
    return Encoders(codec, image, text)


class PatchEncoder:
    """Embedded image features: a seeded random projection of 16x16 coarse patches, after one of the whole image.

    Squashed to a square like CLIP's input, with a code for each place. Not learned: like things do not look alike.
    """

    def __init__(self, dim: int):
        self.dim, self.id = dim, f"patches-1-{dim}"
        generator = torch.Generator().manual_seed(257)
        self._project = torch.randn(4 * 4 * 3, dim, generator=generator) / (4 * 4 * 3) ** 0.5
        self._places = 0.5 * torch.randn(1 + IMAGE_GRID**2, dim, generator=generator)

    def to(self, device: torch.device | str) -> Self:
        """Itself: its two small tables follow the input."""
        return self

    def __call__(self, image_BCHW: Tensor) -> Tensor:
        fine = F.adaptive_avg_pool2d(image_BCHW.float(), 4 * IMAGE_GRID)
        patches_BNC = F.unfold(fine, 4, stride=4).transpose(1, 2)
        whole_BNC = F.adaptive_avg_pool2d(fine, 4).flatten(1)[:, None]
        tokens_BNC = torch.cat([whole_BNC, patches_BNC], dim=1)
        return tokens_BNC @ self._project.to(tokens_BNC) + self._places.to(tokens_BNC)


class WordEncoder:
    """Embedded text features: a random vector of each word, seeded by its hash, plus one of its place."""

    def __init__(self, dim: int):
        self.dim, self.id = dim, f"words-1-{dim}"

    def to(self, device: torch.device | str) -> Self:
        """Itself: it has no weights, and answers on the CPU."""
        return self

    def __call__(self, prompts: list[str]) -> list[Tensor]:
        return [self._encode(prompt) for prompt in prompts]

    def _encode(self, prompt: str) -> Tensor:
        words = re.findall(r"\w+|[^\w\s]", prompt.casefold())[: TEXT_TOKENS - 1] + ["</s>"]
        return torch.stack([self._vector(w) + 0.3 * self._vector(f"place {i}") for i, w in enumerate(words)])

    def _vector(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") >> 1
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
