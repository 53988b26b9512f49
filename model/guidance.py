"""Condition-decoupled classifier-free guidance (paper eq. 8; specification 3.4)."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from model.conditions import Conditions

Velocity = Callable[[Tensor, Tensor, Conditions], Tensor]


class Passes(NamedTuple):
    """The conditions of the passes of one step. They differ in one stream each: all else is shared."""

    positive: Conditions
    negative_text: Conditions
    negative_pose: Conditions


def pose_guided(step: int, steps: int, interval: tuple[float, float]) -> bool:
    """Whether a step has a negative-pose pass: its fraction lies strictly inside the interval."""
    return interval[0] < step / steps < interval[1]


def forwards(steps: int, interval: tuple[float, float]) -> int:
    """Model calls of a whole walk."""
    return 2 * steps + sum(pose_guided(i, steps, interval) for i in range(steps))


def guided_velocity(
    velocity: Velocity,
    latent_BCTHW: Tensor,
    timestep_B: Tensor,
    passes: Passes,
    text_guidance: float,
    pose_guidance: float | None,
) -> Tensor:
    """v0 + w_text (v+ - v0) [+ w_pose (v+ - v-)]; ``pose_guidance`` None leaves the bracket, and its pass, out."""
    positive = velocity(latent_BCTHW, timestep_B, passes.positive)
    textless = velocity(latent_BCTHW, timestep_B, passes.negative_text)
    guided = textless + text_guidance * (positive - textless)
    if pose_guidance is None:
        return guided
    return guided + pose_guidance * (positive - velocity(latent_BCTHW, timestep_B, passes.negative_pose))
