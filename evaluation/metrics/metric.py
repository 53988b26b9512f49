"""What a metric is, and what it answers: a value, or why there is none."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from infra.config import section_hash
from infra.schema import Config

OK, NOT_COMPUTABLE, ERROR = "ok", "not_computable", "error"
LEAST_RATIO = 0.05
"""Values below it are as bad as it on a logarithmic scale: a frozen video's 0 has the finite badness ln 20."""
Need = Literal["ground_truth", "reference", "reference_pose", "ceiling", "driving", "driving_frames", "control", "pose"]


@dataclass(frozen=True, eq=False)
class Measured:
    """A value with its course over the video: (T,) numbers, nan where a frame has none."""

    value: float
    curve: np.ndarray


@dataclass(frozen=True)
class Score:
    """``value`` is None unless ``status`` is "ok"; ``reason`` is None if it is. ``curve``: by frame."""

    value: float | None
    status: Literal["ok", "not_computable", "error"]
    reason: str | None
    curve: tuple[float | None, ...] | None = None


_NEEDS: dict[str, tuple[str, str]] = {
    "ground_truth": ("ground_truth", "no ground truth: reference and driver are different people"),
    "reference": ("reference", "no reference image"),
    "reference_pose": ("reference_pose", "no pose of the reference"),
    "ceiling": ("ceiling", "no round trip of the reference through the codec"),
    "driving": ("driving", "no driving pose"),
    "driving_frames": ("driving_frames", "no driving video"),
    "control": ("control", "the pose that was fed to the model is not known"),
    "pose": ("estimator", "no pose estimator"),
}
_POSES: frozenset[Need] = frozenset({"pose", "driving", "control", "reference_pose"})


@dataclass(frozen=True)
class Metric:
    """``compute`` gets an Evidence that has all of ``needs`` and returns the value or raises NotComputable.

    ``direction`` says which way is better; "target" means the nearer to ``target`` the better, by difference or, on the
    scale "log", by ratio. ``backbones`` are the names of those it asks the evidence for.
    """

    name: str
    version: int
    preprocessing: str
    definition: str
    source: str
    range: tuple[float, float]
    unit: str
    direction: Literal["higher", "lower", "target"]
    compute: Callable[[Evidence], float | Measured]
    needs: frozenset[Need] = frozenset()
    backbones: frozenset[str] = frozenset()
    target: float | None = None
    scale: Literal["linear", "log"] = "linear"

    def identify(self, config: Config) -> str:
        """``name@version/preprocessing``; two values are comparable only under the same id.

        What the config decides of the preprocessing is in it: the pose estimator and all settings of poses, how the
        pose that was fed is aligned, the latent codec.
        """
        parts = [f"{self.name}@{self.version}/{self.preprocessing}"]
        if self.needs & _POSES:
            parts += [config.pose.estimator, section_hash(config, "pose")[:8]]
        if "control" in self.needs:
            parts.append("official" if config.pose.compat else "robust")
        if "ceiling" in self.needs:
            parts.append(config.encode.codec)
        return "-".join(parts)

    def score(self, evidence: Evidence) -> Score:
        """Never a default: what cannot be computed says why."""
        for need, (field, reason) in _NEEDS.items():
            if need in self.needs and getattr(evidence, field) is None:
                return Score(None, NOT_COMPUTABLE, reason)
        if self.backbones and evidence.embedder is None:
            return Score(None, NOT_COMPUTABLE, f"no backbone: {', '.join(sorted(self.backbones))}")
        try:
            measured = self.compute(evidence)
        except NotComputable as problem:
            return Score(None, NOT_COMPUTABLE, str(problem))
        value, curve = (measured.value, measured.curve) if isinstance(measured, Measured) else (measured, None)
        if not math.isfinite(value):
            return Score(None, NOT_COMPUTABLE, f"the result is {value}")
        return Score(float(value), OK, None, None if curve is None else _plain(curve))

    def badness(self, value: float) -> float:
        """Orders values, best first. In the metric's unit, but |ln(value / target)| on the scale "log".

        There 0.5 and 2 are as far from 1, and all below LEAST_RATIO of the target as far as that.
        """
        if self.direction == "target" and self.scale == "log":
            return abs(math.log(max(value / self.target, LEAST_RATIO)))
        if self.direction == "target":
            return abs(value - self.target)
        return value if self.direction == "lower" else -value


def _plain(curve: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(value) if math.isfinite(value) else None for value in curve)
