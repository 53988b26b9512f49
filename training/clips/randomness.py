"""Randomness from counters: a draw is a function of (seed, stage, purpose, global sample index) and nothing else.

No generator lives between two samples, so there is no state to save: a resumed run, and a run with another number of
workers, draw for a global sample index what the undisturbed run drew. The global sample index counts the samples of a
stage from 0 over all epochs and workers; a global batch of B samples takes the indices step*B .. step*B + B-1.
"""

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from infra.schema import Stage

T_STARS = (2, 3, 4)
"""Where the jump of Pose Simulation may come from (specification 6.1)."""


@dataclass(frozen=True)
class Draws:
    """What chance decides about one sample."""

    quantile: float
    """Uniform in [0, 1): the place of the timestep in its distribution."""
    noise_key: int
    """Seeds the noise, see :meth:`noise`."""
    drop_text: bool
    drop_pose: bool
    t_star: int | None
    """Pose Simulation: the frame the jump comes from, or None where the pose stays as it is."""
    layer_seed: int
    """Seeds the dropout inside the network."""

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normal, float32."""
        return np.random.Generator(np.random.Philox(key=self.noise_key)).standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class Randomness:
    """The draws of one stage."""

    seed: int
    stage: int

    @property
    def weights_seed(self) -> int:
        """Seeds the adapters' first weights."""
        return self._key("weights", 0) % 2**63

    def draws(
        self,
        index: int,
        global_batch: int,
        *,
        text_dropout: float = 0.0,
        pose_dropout: float = 0.0,
        pose_simulation: float = 0.0,
        purpose: str = "train",
    ) -> Draws:
        """The draws of global sample ``index``.

        Timesteps are stratified over the global batch: its B samples take one uniform draw from each of B equal
        parts of [0, 1), which sample takes which part being a permutation drawn for the batch.
        """
        batch, position = divmod(index, global_batch)
        part = self.generator(f"{purpose}/strata", batch).permutation(global_batch)[position]
        within, text, pose, simulate, t_star = self.generator(f"{purpose}/sample", index).random(5)
        return Draws(
            quantile=float((part + within) / global_batch),
            noise_key=self._key(f"{purpose}/noise", index),
            drop_text=bool(text < text_dropout),
            drop_pose=bool(pose < pose_dropout),
            t_star=T_STARS[int(t_star * len(T_STARS))] if simulate < pose_simulation else None,
            layer_seed=self._key(f"{purpose}/layers", index) % 2**63,
        )

    def generator(self, purpose: str, index: int) -> np.random.Generator:
        """The generator of draw ``index`` of a purpose, always new and always the same."""
        return np.random.Generator(np.random.Philox(key=self._key(purpose, index)))

    def _key(self, purpose: str, index: int) -> int:
        text = f"{self.seed}/{self.stage}/{purpose}/{index}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def sigma_of(quantile: float, stage: Stage) -> float:
    """Noise level in [0, 1] at ``quantile`` (0..1) of the stage's timestep sampling.

    ``uniform``, or ``logit_normal``: the sigmoid of a standard normal, whose middle is drawn more often (specification
    6.2). Both are then shifted, see :func:`shifted_sigma`.
    """
    if stage.timestep_sampling == "logit_normal" and 0 < quantile < 1:
        quantile = 1 / (1 + math.exp(-NormalDist().inv_cdf(quantile)))
    return shifted_sigma(quantile, stage.timestep_shift)


def shifted_sigma(quantile: float, shift: float) -> float:
    """Noise level in [0, 1] of a uniform quantile u: s u / (1 + (s-1) u), as in inference (specification 3.3)."""
    return shift * quantile / (1 + (shift - 1) * quantile)
