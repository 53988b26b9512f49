"""Does the video jump from the reference's pose to the driver's instead of moving there?

A step is how much the picture, its features or the pose change from one frame to the next.
"""

from collections.abc import Callable

import cv2
import numpy as np

from evaluation.metrics.bones import BODY, angle_difference
from evaluation.metrics.evidence import Evidence, NotComputable, Subject
from evaluation.metrics.metric import Measured, Metric
from model.pose.tracks import PoseTrack

EARLY = 8
"""Steps in which a jump counts as one of the start."""
DRIVER_QUANTILE = 0.9
DREAMSIM = "dreamsim"


def jump_ratio(steps: np.ndarray, least: float = 0.0) -> float:
    """The largest of the first 8 ``steps`` (T-1,) over the median of the others, which counts as ``least`` at least.

    Steps that are not known, or are none, are nan. Raises NotComputable where no early or no later one is known, and
    where nothing changes later.
    """
    early, later = (part[np.isfinite(part)] for part in (steps[:EARLY], steps[EARLY:]))
    if not len(early) or not len(later):
        raise NotComputable(f"no step is known {'before' if len(later) else 'after'} step {EARLY} of {len(steps)}")
    usual = max(float(np.median(later)), least)
    if usual == 0:
        raise NotComputable(f"nothing changes after step {EARLY}: the video is frozen")
    return float(early.max()) / usual


def pixel_steps(pictures: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T-1,) mean absolute differences."""
    return np.array([cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in zip(pictures, pictures[1:], strict=False)])


def feature_steps(features: np.ndarray) -> np.ndarray:
    """(T, D) -> (T-1,) 1 - cosine."""
    unit = features.astype(np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return np.maximum(0.0, 1 - (unit[1:] * unit[:-1]).sum(axis=1))


def pose_steps(track: PoseTrack) -> np.ndarray:
    """(T-1,) mean change in degrees of the 12 body bones that both frames show; nan where they show none."""
    vectors, usable = BODY.usable(track)
    both = usable[1:] & usable[:-1]
    turned = np.where(both, angle_difference(vectors[1:], vectors[:-1]), 0).sum(axis=1)
    return np.where(both.any(axis=1), turned / np.maximum(1, both.sum(axis=1)), np.nan)


def _measured(value: float, steps: np.ndarray) -> Measured:
    return Measured(value, np.concatenate([[np.nan], steps]))


def _long_enough(evidence: Evidence) -> None:
    if (frames := len(evidence.generated)) < EARLY + 2:
        raise NotComputable(f"{frames} frames are too few: a step after the first {EARLY} needs {EARLY + 2}")


def _pixels(evidence: Evidence, subject: Subject) -> np.ndarray:
    return pixel_steps(evidence.pictures(subject))


def _dreamsim(evidence: Evidence, subject: Subject) -> np.ndarray:
    return feature_steps(evidence.embedded(DREAMSIM, subject))


def _alone(steps: Callable[[Evidence, Subject], np.ndarray]) -> Callable[[Evidence], Measured]:
    def compute(evidence: Evidence) -> Measured:
        _long_enough(evidence)
        made = steps(evidence, "generated")
        return _measured(jump_ratio(made), made)

    return compute


def _to_driver(steps: Callable[[Evidence, Subject], np.ndarray]) -> Callable[[Evidence], Measured]:
    def compute(evidence: Evidence) -> Measured:
        _long_enough(evidence)
        made, driving = steps(evidence, "generated"), steps(evidence, "driving")
        held = np.diff(evidence.driver_frames(len(evidence.driving_frames))) == 0
        driving = np.where(held, np.nan, driving)  # at a lower frame rate than the video's it has no step there
        try:
            usual = jump_ratio(driving)
        except NotComputable as problem:
            raise NotComputable(f"of the driver, {problem}") from problem
        if usual == 0:
            raise NotComputable("the driver stands still at the start")
        return _measured(jump_ratio(made) / usual, made)

    return compute


def _of_pose(evidence: Evidence) -> Measured:
    _long_enough(evidence)
    made, driving = pose_steps(evidence.person), pose_steps(evidence.driver)
    known = driving[np.isfinite(driving)]
    if not len(known):
        raise NotComputable("no bone of the driver is visible in two frames running")
    return _measured(jump_ratio(made, least=float(np.quantile(known, DRIVER_QUANTILE))), made)


def _metric(
    name: str, preprocessing: str, definition: str, compute: Callable[[Evidence], Measured], version: int = 1, **more
) -> Metric:
    return Metric(
        name=name,
        version=version,
        preprocessing=f"{preprocessing}-first{EARLY}",
        definition=definition,
        source="this project, after the jump between the first two frames that the paper shows (figure 15)",
        range=(0, float("inf")),
        unit="",
        direction="lower",
        compute=compute,
        **more,
    )


_RATIO = (
    f"The largest of the first {EARLY} steps over the median of the later ones; a step is {{step}} between "
    "neighbouring frames. About 1 to 1.5 in even motion, above 3 a jump. A video that starts late has little: read "
    "settle_time beside it."
)
_PIXELS, _FEATURES = "the mean absolute difference", "1 less the cosine of DreamSim's features"
_RELATIVE = (
    "{name} of the video over that of its driver's frames of the same moments, whose own start may be fast; where the "
    "driver, at a lower frame rate, holds a frame, it makes no step."
)

START_JUMP_PIXEL = _metric("start_jump_pixel", "rgb8-mae", _RATIO.format(step=_PIXELS), _alone(_pixels))
START_JUMP_PIXEL_RELATIVE = _metric(
    "start_jump_pixel_relative",
    "rgb8-mae",
    _RELATIVE.format(name="start_jump_pixel"),
    _to_driver(_pixels),
    version=2,
    needs=frozenset({"driving_frames"}),
)
START_JUMP_DREAMSIM = _metric(
    "start_jump_dreamsim",
    "dreamsim-cosine",
    _RATIO.format(step=_FEATURES),
    _alone(_dreamsim),
    backbones=frozenset({DREAMSIM}),
)
START_JUMP_DREAMSIM_RELATIVE = _metric(
    "start_jump_dreamsim_relative",
    "dreamsim-cosine",
    _RELATIVE.format(name="start_jump_dreamsim"),
    _to_driver(_dreamsim),
    version=2,
    needs=frozenset({"driving_frames"}),
    backbones=frozenset({DREAMSIM}),
)
START_JUMP_POSE = _metric(
    "start_jump_pose",
    "bones12-seen0.5-long0.15",
    f"The largest of the first {EARLY} steps over the median of the later ones, or over the 0.9 quantile of all the "
    "driver's where that is more: what the driver does is no jump. A step is the mean change of angle of the 12 body "
    "bones that both frames show.",
    _of_pose,
    needs=frozenset({"driving", "pose"}),
)
START_JUMP = (
    START_JUMP_PIXEL,
    START_JUMP_PIXEL_RELATIVE,
    START_JUMP_DREAMSIM,
    START_JUMP_DREAMSIM_RELATIVE,
    START_JUMP_POSE,
)
