"""The most bytes of tensors that live at once while code runs, on any device: on `meta` without taking them."""

import weakref

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """``peak``, ``now``: bytes of the tensors made inside."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and key(tensor) not in self._known | given:
                storage = tensor.untyped_storage()
                self._known.add(key(tensor))
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, key(tensor), storage.nbytes())
        return out

    def _freed(self, which: int, size: int) -> None:
        self._known.discard(which)
        self.now -= size


class FlashAttention(TorchFunctionMode):
    """Attention that writes no matrix, as on GPUs; its numbers are nonsense."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            return torch.empty_like(args[0] if args else kwargs["query"])
        return function(*args, **(kwargs or {}))


def key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
