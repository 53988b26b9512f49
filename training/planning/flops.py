"""FLOPs of a training step by part: the forward's are :mod:`model.flops`', the backward's follow from what is trained.

A product of weights and activations has two more of its size in the backward pass: the gradient of its input, where
anything before it is trained, and that of its weights, where they are. Attention has four where the forward has two,
and kernels that never write out its matrix (flash) make the scores once more.

``model`` is what the mathematics asks for, by which utilisation is measured; ``executed`` adds what is computed anew:
by recomputation of the blocks, and by flash attention.

Shapes: T latent frames, H W latent height and width (even). D width of the model, r rank of the adapters.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from infra.schema import Stage
from model import flops
from model.conditions import TEXT_TOKENS
from model.flops import HIDDEN, LATENT, PATCH, SQUEEZED

IN_BLOCKS = (
    "self-attention projections",
    "self-attention scores",
    "cross-attention queries, output",
    "cross-attention keys, values: text",
    "cross-attention keys, values: image",
    "cross-attention scores",
    "feed-forward",
    "adapters",
)
TRAINED_WITH_ANY = ("SSAE", "TMCM", "FAAU")
"""Parts of SteadyDancer's own."""
BEFORE_ALL = ("time embedder", "text embedder", "image embedder")
"""Parts of Wan before which nothing is trained."""


class Step(NamedTuple):
    """FLOPs of a sample by part."""

    forward: dict[str, int]
    """of the student, once"""
    backward: dict[str, int]
    """as the mathematics asks"""
    recomputed: dict[str, int]
    """of the forward, in the backward pass"""
    flash: int
    """scores that flash attention makes once more"""
    student_passes: int
    teacher: int

    @property
    def model(self) -> int:
        passes = sum(self.forward.values()) + sum(self.backward.values())
        return self.student_passes * passes + self.teacher

    @property
    def executed(self) -> int:
        return self.model + self.student_passes * (sum(self.recomputed.values()) + self.flash)


def step(config: Mapping[str, Any], latent_THW: tuple[int, int, int], stage: Stage, recompute: str) -> Step:
    """One sample of a ``stage``: forward, backward, and in the second stage once more and the teacher's forward.

    ``config`` is :func:`model.transformer.model_config`'s, ``recompute`` that of :class:`infra.schema.Train`.
    """
    forward, backward = _passes(config, latent_THW, stage)
    recomputed = {part: forward[part] for part in IN_BLOCKS if part in forward} if recompute != "none" else {}
    if recompute == "attention":
        del recomputed["self-attention scores"]
    scores = sum(count for part, count in forward.items() if part.endswith("scores"))
    distilled = stage.objective == "condition_distillation"
    return Step(
        forward,
        backward,
        recomputed,
        flash=scores // 2,
        student_passes=2 if distilled and stage.distillation == "decoupled" else 1,
        teacher=sum(teacher(config, latent_THW).values()) if distilled else 0,
    )


def teacher(config: Mapping[str, Any], latent_THW: tuple[int, int, int]) -> dict[str, int]:
    """A forward of the base Wan I2V by part: without the parts and the two frames that SteadyDancer adds."""
    t, height, width = latent_THW
    parts = flops.by_part(flops.forward(dict(config), latent_THW))
    for part in TRAINED_WITH_ANY:
        del parts[part]
    for part in ("self-attention projections", "cross-attention queries, output", "cross-attention scores"):
        parts[part] = parts[part] * t // (t + 2)
    parts["feed-forward"] = parts["feed-forward"] * t // (t + 2)
    parts["self-attention scores"] = parts["self-attention scores"] * t**2 // (t + 2) ** 2
    parts["image embedder"] //= 2
    parts["patch embeddings"] = 2 * t * height * width * _width(config) * config["in_channels"]
    return parts


def _passes(
    config: Mapping[str, Any], latent_THW: tuple[int, int, int], stage: Stage
) -> tuple[dict[str, int], dict[str, int]]:
    t, height, width = latent_THW
    places, full = t * height * width, stage.trainable == "full"
    forward = flops.by_part(flops.forward(dict(config), latent_THW))
    d = _width(config)
    no_input_gradient = {  # of products that read data or what is frozen
        "SSAE": 2 * (places * (LATENT**2 + LATENT * SQUEEZED) + t * LATENT * SQUEEZED),
        "TMCM": 2 * places * LATENT * 9,
        "FAAU": 2 * places * LATENT * HIDDEN,
        "time embedder": 2 * config["freq_dim"] * d,
        "text embedder": 2 * TEXT_TOKENS * config["text_dim"] * d,
    }
    backward = {}
    for part, count in forward.items():
        if part == "patch embeddings":
            continue
        if full or part in TRAINED_WITH_ANY or part.endswith("scores"):
            backward[part] = 2 * count - no_input_gradient.get(part, 0)
        elif part not in BEFORE_ALL and "keys, values" not in part:
            backward[part] = count
    of_channel = 2 * height * width * d  # of a frame
    references = (config["in_channels"] if full or stage.patch_embedding else 0) + LATENT
    backward["patch embeddings"] = of_channel * (2 * t * (4 * LATENT + 4) + references)
    if not full:
        forward["adapters"], backward["adapters"] = _adapters(config, _tokens(latent_THW), stage.lora_rank)
    return forward, backward


def _adapters(config: Mapping[str, Any], tokens: int, rank: int) -> tuple[int, int]:
    """Six layers of a block read tokens of width D, one the inner width; two the text, which has no gradient."""
    d, inner = _width(config), config["ffn_dim"]
    read = tokens * (6 * 2 * d + 2 * (d + inner))
    text = TEXT_TOKENS * 2 * 2 * d
    unneeded = TEXT_TOKENS * 2 * d
    each = 2 * config["num_layers"] * rank
    return each * (read + text), each * (2 * (read + text) - unneeded)


def _tokens(latent_THW: tuple[int, int, int]) -> int:
    t, height, width = latent_THW
    return (t + 2) * height * width // PATCH


def _width(config: Mapping[str, Any]) -> int:
    return config["num_attention_heads"] * config["attention_head_dim"]
