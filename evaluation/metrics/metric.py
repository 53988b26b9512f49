"""What a metric is, what it may look at, and what it answers: a value, or why there is none."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from model.pose.tracks import PoseTrack

OK, NOT_COMPUTABLE, ERROR = "ok", "not_computable", "error"


class NotComputable(Exception):
    """Raised inside a metric where its definition gives no value for this video; the message is the reason."""


@dataclass(frozen=True)
class Score:
    """``value`` is None unless ``status`` is "ok"; ``reason`` is None if it is."""

    value: float | None
    status: Literal["ok", "not_computable", "error"]
    reason: str | None


class Estimator(Protocol):
    def estimate(self, frames: np.ndarray) -> list[PoseTrack]: ...


@dataclass
class Evidence:
    """One generated video, decoded once, and what it can be held against. Shared by all metrics of that video.

    ``generated`` (T, H, W, 3) and ``reference`` (H, W, 3, as the model was given it) are uint8 RGB; ``ground_truth``
    (F, h, w, 3) and ``driving`` are the driver's frames and pose at ``driving_fps``. None: this pair has no such thing.
    """

    generated: np.ndarray
    fps: float
    reference: np.ndarray | None = None
    ground_truth: np.ndarray | None = None
    driving: PoseTrack | None = None
    driving_fps: float | None = None
    estimator: Estimator | None = None

    def driver_frames(self, count: int) -> np.ndarray:
        """The time map, (T,) int: which of the driver's ``count`` frames is on screen at each generated frame.

        Raises NotComputable where the generated video lasts longer than the driver.
        """
        index = np.floor(np.arange(len(self.generated)) / self.fps * self.driving_fps + 1e-6).astype(int)
        if index[-1] >= count:
            raise NotComputable(
                f"the generated video ({len(self.generated)} frames at {self.fps:g} fps) outlasts "
                f"its driver ({count} frames at {self.driving_fps:g} fps)"
            )
        return index

    @cached_property
    def truth(self) -> np.ndarray:
        """Ground truth at the moments and in the size of the generated frames, (T, H, W, 3) uint8."""
        from model.video import resize

        size = self.generated.shape[1:3]
        return np.stack([resize(self.ground_truth[i], size) for i in self.driver_frames(len(self.ground_truth))])

    @cached_property
    def driver(self) -> PoseTrack:
        """The driving pose at the moments of the generated frames."""
        index = self.driver_frames(len(self.driving))
        return PoseTrack(self.driving.keypoints[index], self.driving.scores[index])

    @cached_property
    def people(self) -> list[PoseTrack]:
        """Everybody the estimator finds in the generated video, most prominent first."""
        return self.estimator.estimate(self.generated)


_NEEDS = {
    "ground_truth": ("ground_truth", "no ground truth: reference and driver are different people"),
    "reference": ("reference", "no reference image"),
    "driving": ("driving", "no driving pose"),
    "pose": ("estimator", "no pose estimator"),
}


@dataclass(frozen=True)
class Metric:
    """``compute`` gets an Evidence that has all of ``needs`` and returns the value or raises NotComputable.

    ``direction`` says which way is better; "target" means the nearer to ``target`` the better.
    """

    name: str
    version: int
    preprocessing: str
    definition: str
    source: str
    range: tuple[float, float]
    unit: str
    direction: Literal["higher", "lower", "target"]
    compute: Callable[[Evidence], float]
    needs: frozenset[Literal["ground_truth", "reference", "driving", "pose"]] = frozenset()
    target: float | None = None

    def identify(self, estimator: str) -> str:
        """``name@version/preprocessing``; two values are comparable only under the same id.

        ``estimator`` names the pose estimator, which belongs to the preprocessing of a metric that needs one.
        """
        return f"{self.name}@{self.version}/{self.preprocessing}" + (f"-{estimator}" if "pose" in self.needs else "")

    def score(self, evidence: Evidence) -> Score:
        """Never a default: what cannot be computed says why."""
        for need, (field, reason) in _NEEDS.items():
            if need in self.needs and getattr(evidence, field) is None:
                return Score(None, NOT_COMPUTABLE, reason)
        try:
            value = float(self.compute(evidence))
        except NotComputable as problem:
            return Score(None, NOT_COMPUTABLE, str(problem))
        if not math.isfinite(value):
            return Score(None, NOT_COMPUTABLE, f"the result is {value}")
        return Score(value, OK, None)

    def badness(self, value: float) -> float:
        """Orders values, best first."""
        if self.direction == "target":
            return abs(value - self.target)
        return value if self.direction == "lower" else -value
