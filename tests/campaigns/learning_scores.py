"""What a model does with held-out dancers: videos from their encoded conditions, and measures of them.

Truth is the held-out video through the codec and back, since nothing better can be generated.

Shapes: B clips, C channels, T frames or latent frames, H W pixels or latent positions.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.codec import BlockDCT
from model.conditions import Conditions
from model.resolution import TIME
from model.sampling import Sampler

STEPS, SHIFT = 10, 1.0
CODEC = BlockDCT()


@torch.no_grad()
def generated(velocity: Callable[[Tensor, Tensor, Conditions], Tensor], conditions: Conditions, seed: int) -> Tensor:
    """(B, 16, T, H, W): UniPC from noise of ``seed``, without guidance: what the velocity itself leads to."""
    latent = torch.randn(conditions.condition_BCTHW.shape, generator=torch.Generator().manual_seed(seed))
    sampler = Sampler("unipc", STEPS, SHIFT)
    for timestep in sampler.timesteps:
        latent = sampler.step(velocity(latent, timestep.float().expand(len(latent)), conditions), timestep, latent)
    return latent


def pixels(latent_BCTHW: Tensor) -> Tensor:
    """(B, T, H, W, 3), 0..1."""
    return ((CODEC.decode(latent_BCTHW) + 1) / 2).movedim(1, -1)


def following(made_BCTHW: Tensor, truth_BCTHW: Tensor, dancer_BTHW: Tensor) -> dict[str, np.ndarray]:
    """Per clip, of two latents: how near a video comes to the truth where the dancer is, or was in frame 0.

    ``error``: root mean square over these pixels of all frames but the first; 0..1, black to white being 1.
    ``following``: cosine between the changes since frame 0, the made ones and the true ones: 1 where the dancer moves
    as in the truth, 0 where what moves has nothing to do with it; 0 too for a video at rest.
    ``share``: how much of the true change since frame 0 is made: 1 all, 0 none (the projection on it, over its square).
    ``motion``: energy (sum of squares) of the changes from frame to frame in the whole picture over the truth's; what
    flickers counts too.
    """
    made, truth = pixels(made_BCTHW), pixels(truth_BCTHW)
    where = (dancer_BTHW | dancer_BTHW[:, :1])[:, 1:, ..., None]
    error = ((made - truth)[:, 1:].square() * where).flatten(1).sum(1) / (3 * where.flatten(1).sum(1))
    change, true_change = (((video - truth[:, :1])[:, 1:] * where).flatten(1) for video in (made, truth))
    steps, true_steps = (video.diff(dim=1).flatten(1).square().sum(1) for video in (made, truth))
    return {
        "error": error.sqrt().numpy(),
        "following": torch.nn.functional.cosine_similarity(change, true_change).numpy(),
        "share": ((change * true_change).sum(1) / true_change.square().sum(1)).numpy(),
        "motion": (steps / true_steps).numpy(),
    }


def start_jump(made_BCTHW: Tensor) -> dict[str, np.ndarray]:
    """Per clip, how much changes from frame 0 to frame 1.

    ``first step``: root mean square over the picture, black to white being 1. ``jump``: that over the median of those
    between the other groups of four frames that the codec takes together, 4 to 5, 8 to 9 and on; 1: no jump.
    """
    steps_BT = pixels(made_BCTHW).diff(dim=1).flatten(2).square().mean(2).sqrt()[:, ::TIME]
    first, others = steps_BT[:, 0], steps_BT[:, 1:].median(dim=1).values
    return {"first step": first.numpy(), "jump": (first / others).numpy()}
