"""FLOPs of the transformer by part, of one forward and of a whole video: two for a multiply-add.

Counted are matrix products, convolutions and attention; norms, softmax, activations, the rotary embedding and the
solver are not. A part that no timestep changes names the stream it is read from:
:meth:`model.transformer.SteadyDancerTransformer.prepare` reads it once for a whole video.

Shapes: T latent frames, H W latent height and width (even). D width of the model.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from model.conditions import IMAGE_TOKENS, TEXT_TOKENS
from model.guidance import forwards

LATENT, MASK, PATCH, MODULATIONS = 16, 4, 4, 6
SQUEEZED = 4  # channels of SSAE's dynamic part
HIDDEN = 128  # channels of FAAU

Stream = Literal["pose", "references", "images", "text"]


class Row(NamedTuple):
    part: str
    stream: Stream | None
    """None: read anew in every forward."""
    flops: int


class Video(NamedTuple):
    """Of a whole video, by part."""

    forwards: int
    uncached: dict[str, int]
    """Every forward computes all."""
    cached: dict[str, int]
    """What no timestep changes is computed once: for both texts, both poses, and what the passes share."""

    @property
    def saved(self) -> float:
        """Share of the uncached FLOPs that caching saves, 0..1."""
        return 1 - sum(self.cached.values()) / sum(self.uncached.values())


def forward(config: dict[str, Any], latent_THW: tuple[int, int, int], batch: int = 1) -> list[Row]:
    """One forward of ``batch`` samples, in the order of the model's parts (specification 1.2 to 1.6).

    ``config`` is :func:`model.transformer.model_config`'s. Raises ValueError where height or width is odd or nothing.
    """
    t, height, width = latent_THW
    if min(t, height, width, batch) < 1 or height % 2 or width % 2:
        raise ValueError(f"{batch} latents of {t} frames of {height}x{width}: at least one, height and width even")
    d, blocks = config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"]
    feed_forward, image_dim, added = config["ffn_dim"], config["image_dim"], config["added_kv_proj_dim"]
    places, grid = t * height * width, height * width // PATCH
    video, tokens = t * grid, (t + 2) * grid
    context = TEXT_TOKENS + IMAGE_TOKENS
    rows = [
        ("SSAE", "pose", ssae(t, places)),
        ("TMCM", "pose", 3 * places * (LATENT * 9 + LATENT * LATENT * 3)),
        ("FAAU", None, places * (3 * LATENT * HIDDEN + 6 * HIDDEN**2 + 2 * t * HIDDEN)),
        ("patch embeddings", None, video * d * PATCH * (4 * LATENT + MASK)),
        ("patch embeddings", "references", grid * d * PATCH * (config["in_channels"] + LATENT)),
        ("time embedder", None, config["freq_dim"] * d + (1 + MODULATIONS) * d**2),
        ("text embedder", "text", TEXT_TOKENS * (config["text_dim"] * d + d**2)),
        ("image embedder", "images", 2 * IMAGE_TOKENS * (image_dim**2 + image_dim * d)),
        ("self-attention projections", None, blocks * tokens * 4 * d**2),
        ("self-attention scores", None, blocks * tokens * tokens * 2 * d),
        ("cross-attention queries, output", None, blocks * tokens * 2 * d**2),
        ("cross-attention keys, values: text", "text", blocks * TEXT_TOKENS * 2 * d**2),
        ("cross-attention keys, values: image", "images", blocks * IMAGE_TOKENS * 2 * added * d),
        ("cross-attention scores", None, blocks * tokens * context * 2 * d),
        ("feed-forward", None, blocks * tokens * 2 * d * feed_forward),
        ("head", None, video * d * PATCH * config["out_channels"]),
    ]
    return [Row(part, stream, 2 * batch * multiply_adds) for part, stream, multiply_adds in rows]


def ssae(t: int, places: int) -> int:
    """Multiply-adds of the dynamic convolution decomposition: of its gates for a frame, of its kernels for a place."""
    gates = 3 * LATENT * SQUEEZED + SQUEEZED**2
    return t * gates + places * (LATENT**2 + 2 * LATENT * SQUEEZED + SQUEEZED**2)


def by_part(rows: Iterable[Row]) -> dict[str, int]:
    """FLOPs of each part, all its streams together."""
    return _summed((row.part, row.flops) for row in rows)


def by_stream(rows: Iterable[Row]) -> dict[Stream | None, int]:
    """FLOPs that each stream needs, and under None those of every forward."""
    return _summed((row.stream, row.flops) for row in rows)


def _summed(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    sums = Counter()
    for key, flops in pairs:
        sums[key] += flops
    return dict(sums)


def video(config: dict[str, Any], latent_THW: tuple[int, int, int], steps: int, interval: tuple[float, float]) -> Video:
    """A video of one window by the passes of condition-decoupled guidance (specification 3.4): 40 steps, 91 forwards.

    ``interval`` is the part of the steps with a negative-pose pass. Batching the passes of a step changes no count.
    """
    rows, calls = forward(config, latent_THW), forwards(steps, interval)
    once = {"text": 2, "pose": 2 if calls > 2 * steps else 1, "images": 1, "references": 1}
    return Video(
        calls,
        by_part(row._replace(flops=calls * row.flops) for row in rows),
        by_part(row._replace(flops=once.get(row.stream, calls) * row.flops) for row in rows),
    )
