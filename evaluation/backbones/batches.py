"""Showing a network many pictures, a few at a time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

BATCH = 8


def in_batches(network: nn.Module, prepare: Callable[[np.ndarray], Tensor], *pictures: np.ndarray) -> np.ndarray:
    """The rows of ``network(prepare(a), prepare(b), ...)`` for stacks of as many pictures, (N, ...) float32.

    Pictures are prepared where they lie, on the CPU, so that devices see the same pixels.
    """
    device = next(network.parameters()).device
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pictures[0]), BATCH):
            shown = [prepare(stack[start : start + BATCH]).to(device) for stack in pictures]
            rows.append(network(*shown).float().cpu())
    return torch.cat(rows).numpy()
