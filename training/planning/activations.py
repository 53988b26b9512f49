"""What a forward of the student keeps for its backward pass, and what a block takes while it is worked on.

Shapes: T H W latent frames, height and width; D width of the transformer, F of its feed-forward, L tokens, r rank.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from infra import schema
from model.conditions import IMAGE_TOKENS, TEXT_TOKENS

FP32 = 4
"""Bytes."""


class Setting(NamedTuple):
    """Everything that the memory of a worker depends on."""

    model: Mapping[str, Any]
    """:func:`model.transformer.model_config`'s"""
    latent_THW: tuple[int, int, int]
    train: schema.Train
    stage: schema.Stage
    encode: schema.Encode
    world: int
    cuda: bool

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return 2 if self.train.precision == "bf16" else FP32

    @property
    def accumulates(self) -> bool:
        """Whether gradients of one backward pass wait for another's."""
        return self.passes > 1 or self.train.batch > self.train.micro_batch * self.world

    @property
    def weight_shares(self) -> int:
        """Workers that the weights are divided among."""
        return self.world if self.train.zero == 3 else 1

    @property
    def distils(self) -> bool:
        return self.stage.objective == "condition_distillation"

    @property
    def passes(self) -> int:
        """Forwards of the student for a sample, each with its own backward pass."""
        return 2 if self.distils and self.stage.distillation == "decoupled" else 1

    @property
    def width(self) -> int:
        return self.model["num_attention_heads"] * self.model["attention_head_dim"]

    @property
    def tokens(self) -> int:
        t, h, w = self.latent_THW
        return self.train.micro_batch * (t + 2) * h * w // 4


class Activations:
    """Bytes of one forward: ``kept`` by the blocks, ``outside`` of them, and ``work`` beside while one is in the
    backward pass, with what of it is computed anew.

    A block keeps for its backward pass, in tensors of L tokens by D: what the three norms read, in fp32, and what they
    gave; queries, keys and values with what their norms and their rotary embedding took; what the attentions gave; and
    of the feed-forward its inner width twice. Gradients of weights ask for more of it than those of adapters do.
    """

    def __init__(self, setting: Setting):
        size, d, tokens, train = setting.size, setting.width, setting.tokens, setting.train
        full, blocks = setting.stage.trainable == "full", setting.model["num_layers"]
        heads = FP32 * setting.model["num_attention_heads"]
        block, context, at_work = self._block(setting, full)
        stream = tokens * d * size
        whole = tokens * block + train.micro_batch * context
        if train.recompute == "none":
            self.kept, self.work = blocks * whole, tokens * at_work
        else:
            result = tokens * (d * size + heads) if train.recompute == "attention" else 0
            self.kept, self.work = blocks * (stream + result), whole + tokens * at_work + stream - result
        self.outside = self._outside(setting, full) + (stream if size == FP32 else 0)

    @staticmethod
    def _block(setting: Setting, full: bool) -> tuple[int, int, int]:
        """Bytes for a token, for the context of a sample, and for a token while the block is at work."""
        size, d, inner = setting.size, setting.width, setting.model["ffn_dim"]
        half, rank = size < FP32, 0 if full else setting.stage.lora_rank
        weights = FP32 if full else 0
        # On CPUs the norm of queries or keys, of several operations there, keeps a copy in fp32 and what is scaled.
        normed = size if setting.cuda else FP32 + weights
        in_fp32 = FP32 if half else 0
        norms = (in_fp32 + weights + size) + (in_fp32 + size) + (in_fp32 + weights + size) + (0 if half else 3 * FP32)
        self_attention = 2 * normed + 4 * size + (size if full else 0)
        cross_attention = normed + 4 * size
        width = norms + self_attention + cross_attention + weights
        statistics = 3 * FP32 * setting.model["num_attention_heads"] + 9 * FP32
        token = d * width + 2 * size * inner + 8 * size * rank + statistics
        text = TEXT_TOKENS * (d * (normed + 2 * size) + 2 * size * rank)
        image = IMAGE_TOKENS * d * (2 * size + (normed if full else 0))
        through = size * inner if full else 2 * size * inner + (size * d if half else 0)
        return token, text + image, max((16 if half else 8 if full else 12) * d, through)

    @staticmethod
    def _outside(setting: Setting, full: bool) -> int:
        """FAAU above all, the head, and image and text before the blocks."""
        t, h, w = setting.latent_THW
        size, d, half = setting.size, setting.width, setting.size < FP32
        matrices = 0 if setting.cuda else 90 * t  # of attention over time, which CPUs write out because of its dropout
        alignment = t * h * w * ((6500 if half else 9000) + matrices)
        head = t * h * w // 4 * d * ((10 if full else FP32) if half else (2 * FP32 if full else 0))
        context = (TEXT_TOKENS + IMAGE_TOKENS) * d * size
        if full:
            context += TEXT_TOKENS * size * (setting.model["text_dim"] * half + 3 * d)
            context += 2 * IMAGE_TOKENS * ((3 * size + FP32) * setting.model["image_dim"] + (2 * FP32 + size) * d)
        return setting.train.micro_batch * (alignment + head + context)
