"""How much memory of the device an animation takes, and what would fit where it is not enough.

Counted are the tensors that live at once, measured by watching a forward's allocations (tests/model/test_memory.py:
within a tenth). Beside them a GPU holds its context, the workspaces of its convolutions and gaps between tensors, for
which ``HEADROOM`` stands; attention is taken to be one that never writes out its matrix (flash, memory-efficient).

Shapes: T H W latent frames, height and width; D width of the transformer, L tokens of a forward.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch

from infra import schema
from model.conditions import IMAGE_TOKENS, TEXT_TOKENS
from model.resolution import SPACE, TIME
from model.transformer import SteadyDancerTransformer, kept_in_fp32, model_config

HEADROOM = 1.1
ALIGNMENT = 128  # channels of FAAU
ENCODER_WEIGHTS = {  # bytes on a GPU: the VAE in fp32, CLIP ViT-H/14 in fp16, umT5-XXL's encoder in bf16
    "wan-vae": 127_000_000 * 4,
    "clip": 632_000_000 * 2,
    "umt5": 5_681_000_000 * 2,
    "embedded": 0,
}
# Bytes per pixel of a picture (or tile) while Wan's VAE works on four frames of it, its caches included, in fp32.
VAE_ENCODES, VAE_DECODES = 14_100, 19_430
TILE = 256  # its side, in pixels
MATRIX = 4 * 3  # bytes of a pixel of a video in fp32


class Estimate(NamedTuple):
    """What lies on the device at a moment of an animation."""

    moment: str
    parts: dict[str, int]
    """bytes"""

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def estimate(
    config: Mapping,
    latent_THW: tuple[int, int, int],
    settings: schema.Animate,
    encode: schema.Encode,
    window: int | None = None,
) -> Estimate:
    """Peak of the device that ``settings`` and ``encode`` lead to, for a transformer of ``config`` (its arguments).

    ``latent_THW`` is the video's; ``window`` (latent frames) is what goes through the transformer at once, None: all.
    """
    return max(moments(config, latent_THW, settings, encode, window), key=lambda one: one.total)


def moments(
    config: Mapping,
    latent_THW: tuple[int, int, int],
    settings: schema.Animate,
    encode: schema.Encode,
    window: int | None = None,
) -> list[Estimate]:
    """What lies on the device at each moment, in their order; as :func:`estimate`."""
    t, h, w = latent_THW
    seen = min(window or t, t)
    block, rest = weights(config, settings.precision)
    d, size = _width(config, settings)
    # With `blocks` two layers at most: one computes, the next one comes. The largest makes six vectors of the timestep.
    transformer = 2 * 6 * d * d * size if settings.offload == "blocks" else config["num_layers"] * block + rest
    sizes = {
        "transformer": transformer,
        **{part: ENCODER_WEIGHTS[getattr(encode, part)] for part in ("codec", "image", "text")},
    }
    work_of = {
        "reading the prompt": (("text",), {}),
        "encoding": (("codec", "image"), {"VAE at work": _codec(encode, (seen, h, w), VAE_ENCODES)}),
        "denoising": (
            ("transformer",),
            {
                "keys and values": _kept(config, settings),
                "activations": _activations(config, (seen, h, w), settings),
            },
        ),
        "decoding": (("codec",), {"VAE at work": _codec(encode, latent_THW, VAE_DECODES)}),
    }
    estimates = []
    for moment, (needed, work) in work_of.items():
        resident = sizes if settings.offload == "none" else {name: sizes[name] for name in needed}
        estimates.append(Estimate(moment, {name: size for name, size in (resident | work).items() if size}))
    return estimates


def weights(config: Mapping, precision: str) -> tuple[int, int]:
    """Bytes of a block of the transformer and of all that is no block; some parts stay in fp32 in any precision."""
    # A config that was read from a file has lists.
    values = {key: config[key] for key in model_config("tiny")}
    return _weights(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()), precision)


@lru_cache(maxsize=8)
def _weights(config: tuple, precision: str) -> tuple[int, int]:
    with torch.device("meta"):
        model = SteadyDancerTransformer(**(dict(config) | {"num_layers": 1}))
    block = rest = 0
    for name, parameter in model.named_parameters():
        kept = kept_in_fp32(model, name)
        size = parameter.numel() * (2 if precision == "bf16" and not kept else 4)
        block, rest = (block + size, rest) if name.startswith("blocks.") else (block, rest + size)
    return block, rest


def _width(config: Mapping, settings: schema.Animate) -> tuple[int, int]:
    """D, and bytes of a number."""
    return config["num_attention_heads"] * config["attention_head_dim"], 2 if settings.precision == "bf16" else 4


def _kept(config: Mapping, settings: schema.Animate) -> int:
    """Keys and values of every block: of a picture and two prompts, and once more of each pass in a batch."""
    if not settings.cache or settings.offload == "blocks":
        return 0
    d, size = _width(config, settings)
    tokens = IMAGE_TOKENS + 2 * TEXT_TOKENS
    if settings.passes == "batched":
        tokens += 3 * (IMAGE_TOKENS + TEXT_TOKENS)
    return 2 * config["num_layers"] * tokens * d * size


def _activations(config: Mapping, latent_THW: tuple[int, int, int], settings: schema.Animate) -> int:
    """The most that lives inside a block beside its weights, or in FAAU.

    A block ends in its feed-forward part. There four streams of D live (the tokens before the block, the running sum,
    its norm, and what attention gave) beside two of its inner width; then, with a fifth, the sum is made in fp32.
    """
    t, h, w = latent_THW
    d, size = _width(config, settings)
    passes = 3 if settings.passes == "batched" else 1
    tokens = (t + 2) * h * w // 4
    inner = (4 * d + 2 * config["ffn_dim"]) * size
    summed = 5 * d * size + (3 * d * 4 if size == 2 else d * 4)
    alignment = 9 * ALIGNMENT * 4 * t * h * w  # FAAU: queries to norms of every latent position, in fp32
    rotary = 2 * 4 * config["attention_head_dim"] * tokens
    return passes * max(tokens * max(inner, summed), alignment) + rotary


def _codec(encode: schema.Encode, latent_THW: tuple[int, int, int], per_pixel: int) -> int:
    """The VAE goes through a video four frames at a time; what grows with its length are copies of the video."""
    t, h, w = latent_THW
    pixels = h * w * SPACE**2
    video = pixels * (TIME * (t - 1) + 1) * MATRIX
    decodes = per_pixel == VAE_DECODES
    if encode.codec == "embedded":
        return 4 * video if decodes else 0  # it encodes where the pictures are: on the CPU
    if not encode.codec_tiling:
        return per_pixel * pixels + video
    tile = per_pixel * min(h * SPACE, TILE) * min(w * SPACE, TILE)
    return max(tile + 2 * video, 5 * video) if decodes else tile + video
