"""Condition-decoupled classifier-free guidance (paper eq. 8; specification 3.4).

Shapes: B batch, C channels, T latent frames, H W latent height and width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.conditions import Conditions
from model.prepared import Prepared

Read = Conditions | Prepared
Model = Callable[[Tensor, Tensor, Read], Tensor]
"""(latent (B, 16, T, H, W), timestep (B,), conditions) -> velocity (B, 16, T, H, W)"""
Velocities = Callable[[Tensor, Tensor, int], list[Tensor]]
"""(latent, timestep, n) -> the velocities of the first n passes"""


class Passes(NamedTuple):
    """The conditions of the passes of one step. They differ in one stream each: all else is shared."""

    positive: Read
    negative_text: Read
    negative_pose: Read


def pose_guided(step: int, steps: int, interval: tuple[float, float]) -> bool:
    """Whether a step has a negative-pose pass: its fraction lies strictly inside the interval."""
    return interval[0] < step / steps < interval[1]


def forwards(steps: int, interval: tuple[float, float]) -> int:
    """Passes of a whole walk."""
    return 2 * steps + sum(pose_guided(i, steps, interval) for i in range(steps))


def guided_velocity(
    velocities: Velocities,
    latent_BCTHW: Tensor,
    timestep_B: Tensor,
    text_guidance: float,
    pose_guidance: float | None,
) -> Tensor:
    """v0 + w_text (v+ - v0) [+ w_pose (v+ - v-)]; ``pose_guidance`` None leaves the bracket, and its pass, out."""
    positive, textless, *wrong = velocities(latent_BCTHW, timestep_B, 2 if pose_guidance is None else 3)
    guided = textless + text_guidance * (positive - textless)
    return guided if pose_guidance is None else guided + pose_guidance * (positive - wrong[0])


def one_by_one(model: Model, windows: list[Passes]) -> list[Velocities]:
    """A forward per pass; the model may have gone through :func:`prepared` passes."""
    return [lambda x, t, n, passes=passes: [model(x, t, part) for part in passes[:n]] for passes in windows]


def batched(model: Model, windows: list[Passes]) -> list[Velocities]:
    """One forward for all passes of a step. What windows share is put together once."""
    done: dict[tuple[int, ...], Tensor] = {}

    def velocities(x: Tensor, t: Tensor, n: int, batch: Read, size: int) -> list[Tensor]:
        first = _each(lambda part: part[: n * size], batch)
        return list(model(torch.cat([x] * n), torch.cat([t] * n), first).split(size))

    def joined(passes: Passes) -> Velocities:
        def together(*parts: Tensor) -> Tensor:
            key = tuple(map(id, parts))
            if key not in done:
                done[key] = torch.cat(parts)
            return done[key]

        batch, size = _each(together, *passes), len(passes.positive.y_BCTHW)
        return lambda x, t, n: velocities(x, t, n, batch, size)

    return [joined(passes) for passes in windows]


def prepared(model: Any, windows: list[Passes]) -> list[Passes]:
    """Passes of :meth:`SteadyDancerTransformer.prepare`, each stream that passes or windows share prepared once.

    Windows differ in their pose latents; all else is the first one's.
    """
    first = windows[0]
    positive = model.prepare(first.positive)
    textless = positive._replace(text=model.read_text(first.negative_text.text_BLD))

    def posed(base: Prepared, conditions: Conditions) -> Prepared:
        return base._replace(fused_BCTHW=model.read_pose(conditions.condition_BCTHW))

    right = [positive, *(posed(positive, passes.positive) for passes in windows[1:])]
    return [
        Passes(it, textless._replace(fused_BCTHW=it.fused_BCTHW), posed(positive, passes.negative_pose))
        for it, passes in zip(right, windows, strict=True)
    ]


def _each(function: Callable[..., Tensor], *trees: Any) -> Any:
    """``function`` of the tensors that stand at the same place of equally nested tuples."""
    if isinstance(trees[0], Tensor):
        return function(*trees)
    parts = [_each(function, *parts) for parts in zip(*trees, strict=True)]
    return type(trees[0])(*parts) if hasattr(trees[0], "_fields") else tuple(parts)
