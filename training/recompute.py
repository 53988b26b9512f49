"""Activation checkpointing: what of the transformer's blocks is kept for the backward pass, and what is computed anew.

``none`` keeps all that autograd asks for; ``full`` a block's input; ``attention`` that and what self-attention gave,
which is as large. Computing anew costs a forward of the blocks: a whole one with ``full``, one without self-attention
with ``attention``, and that is 55 % of the FLOPs at 36,800 tokens of the 14B.

Shapes: B batch, N heads, L tokens, K channels of a head.
"""

from typing import Any, Literal

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

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
    torch's own selective checkpointing asks for the very same operations in the second forward, which gathering breaks.
    """
    if how == "none":
        model.disable_gradient_checkpointing()
        return
    selective = {"context_fn": _keep_attention} if how == "attention" else {}
    model.enable_gradient_checkpointing(
        lambda block, *inputs: checkpoint(block, *inputs, use_reentrant=False, **selective)
    )


def is_self_attention(operation: Any, *inputs: Any) -> bool:
    """Whether ``operation`` of (B, N, L, K) queries, keys ... is attention with as many keys as queries.

    Attention to the 769 tokens of image and text is cheap, and what it gives is as large: not worth keeping.
    """
    return operation.name() in ATTENTION and inputs[0].shape[2] == inputs[1].shape[2]


def _keep_attention() -> tuple[TorchDispatchMode, TorchDispatchMode]:
    """Contexts for the forward of a block and for the second one in its backward pass."""
    kept: list[Any] = []
    return _Keep(kept), _Reuse(kept)


class _Keep(TorchDispatchMode):
    """Keeps what self-attention gives."""

    def __init__(self, kept: list[Any]):
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if is_self_attention(operation, *args):
            self.kept.append(tree_map_only(Tensor, Tensor.detach, result))
        return result


class _Reuse(TorchDispatchMode):
    """Gives what was kept, in the same order, in the place of self-attention."""

    def __init__(self, kept: list[Any]):
        super().__init__()
        self.kept = kept

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if is_self_attention(operation, *args):
            return self.kept.pop(0)
        return operation(*args, **(kwargs or {}))
