"""Activation checkpointing: what of the transformer's blocks is kept for the backward pass, and what is computed anew.

``none`` keeps all that autograd asks for; ``full`` a block's input; ``attention`` that and what self-attention gave,
which is as large. Computing anew costs a forward of the blocks: a whole one with ``full``, one without self-attention
with ``attention``, and that is 55 % of the FLOPs at 36,800 tokens of the 14B.

Shapes: B batch, N heads, L tokens, K channels of a head.
"""

from functools import partial
from typing import Any, Literal

from model.transformer import SteadyDancerTransformer

ATTENTION = frozenset(
    f"aten::_scaled_dot_product_{kernel}"
    for kernel in (
        "flash_attention",
        "flash_attention_for_cpu",
        "efficient_attention",
        "cudnn_attention",
        "fused_attention_overrideable",
    )
)
"""What scaled_dot_product_attention ends in. Where it writes out its matrix it is made of others, and not kept."""


def apply(model: SteadyDancerTransformer, how: Literal["none", "attention", "full"]) -> None:
    """Sets what the backward pass through the blocks of ``model`` computes anew. The gradients are the same.

    Non-reentrant, since inputs and weights may be frozen, and under ZeRO-3 a weight is gathered for its block only.
    """
    from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

    if how == "none":
        model.disable_gradient_checkpointing()
        return
    selective = {"context_fn": partial(create_selective_checkpoint_contexts, _policy)} if how == "attention" else {}
    model.enable_gradient_checkpointing(
        lambda block, *inputs: checkpoint(block, *inputs, use_reentrant=False, **selective)
    )


def is_self_attention(operation: Any, *inputs: Any) -> bool:
    """Whether ``operation`` of (B, N, L, K) queries, keys ... is attention with as many keys as queries.

    Attention to the 769 tokens of image and text is cheap, and what it gives is as large: not worth keeping.
    """
    return operation.name() in ATTENTION and inputs[0].shape[2] == inputs[1].shape[2]


def _policy(context: Any, operation: Any, *inputs: Any, **named: Any):
    from torch.utils.checkpoint import CheckpointPolicy

    return CheckpointPolicy.MUST_SAVE if is_self_attention(operation, *inputs) else CheckpointPolicy.PREFER_RECOMPUTE
