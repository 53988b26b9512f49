"""The two solvers of the official release, on diffusers' schedulers (specification 3.3)."""

from typing import Literal

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0, "solver_order": 2}
# The official UniPC reads its largest sigma back from a table in fp32.
_FIRST_SIGMA = {"unipc": float(np.float32(0.999)), "dpm++": 1.0}


def sigmas(solver: str, steps: int, shift: float) -> np.ndarray:
    """(steps,) noise levels, falling: linear to 0, which is left out, then shifted by s sigma / (1 + (s - 1) sigma)."""
    linear = np.linspace(_FIRST_SIGMA[solver], 0, steps + 1)[:-1]
    return shift * linear / (1 + (shift - 1) * linear)


class Sampler:
    """One walk from noise to latent: ``for t in sampler.timesteps: latent = sampler.step(velocity, t, latent)``.

    ``timesteps`` (steps,) int64, ``sigmas`` (steps + 1,) with the final 0.
    """

    def __init__(self, solver: Literal["unipc", "dpm++"], steps: int, shift: float):
        levels = sigmas(solver, steps, shift)
        if solver == "unipc":
            self._scheduler = UniPCMultistepScheduler(**_FLOW, solver_type="bh2")
            self._scheduler.set_timesteps(sigmas=levels)
        else:
            self._scheduler = DPMSolverMultistepScheduler(**_FLOW, algorithm_type="dpmsolver++")
            self._scheduler.set_timesteps(steps)
            # This scheduler cannot be given sigmas; its own grid ends elsewhere.
            self._scheduler.sigmas = torch.tensor([*levels, 0.0], dtype=torch.float32)
            self._scheduler.timesteps = torch.from_numpy((1000 * levels).astype(np.int64))
        # Without it the step is looked up by its timestep, and many steps have some timesteps twice.
        self._scheduler.set_begin_index(0)

    @property
    def timesteps(self) -> Tensor:
        return self._scheduler.timesteps

    @property
    def sigmas(self) -> Tensor:
        return self._scheduler.sigmas

    def step(self, velocity: Tensor, timestep: Tensor, latent: Tensor) -> Tensor:
        """The latent of the next noise level."""
        return self._scheduler.step(velocity, timestep, latent, return_dict=False)[0]
