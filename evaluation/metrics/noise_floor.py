"""What the motion metrics say of a driver held against itself: nothing finer than that means anything."""

import tempfile
from pathlib import Path

import numpy as np

from evaluation.metrics.bone_angle_error import BONE_ANGLE_ERROR
from evaluation.metrics.bones import torso_length
from evaluation.metrics.evidence import Estimator, Evidence
from evaluation.metrics.hand_confidence_ratio import HAND_CONFIDENCE_RATIO
from evaluation.metrics.metric import Score
from evaluation.metrics.missing_bones import MISSING_BONES
from evaluation.metrics.motion_driving_accuracy import (
    HAND_MOTION_DRIVING_ACCURACY,
    MOTION_DRIVING_ACCURACY,
    MOTION_DRIVING_AREA,
)
from evaluation.metrics.motion_energy_ratio import MOTION_ENERGY_RATIO
from evaluation.metrics.motion_lag import MOTION_LAG
from evaluation.metrics.retargeted_pck import RETARGETED_PCK
from evaluation.metrics.velocity_correlation import VELOCITY_CORRELATION
from infra.errors import SteadyDancerError
from model.pose.tracks import PoseTrack

MOTION_METRICS = (
    BONE_ANGLE_ERROR,
    MOTION_DRIVING_ACCURACY,
    MOTION_DRIVING_AREA,
    MISSING_BONES,
    MOTION_ENERGY_RATIO,
    VELOCITY_CORRELATION,
    MOTION_LAG,
    RETARGETED_PCK,
    HAND_MOTION_DRIVING_ACCURACY,
    HAND_CONFIDENCE_RATIO,
)
JITTER = 0.01  # of the torso: two pixels on a person who fills a 576-pixel frame
CRF = 28  # worse than the crf 18 that generated videos are written with


def noise_floor(
    driving: PoseTrack,
    fps: float,
    frames: np.ndarray | None = None,
    estimator: Estimator | None = None,
    *,
    seed: int = 0,
) -> dict[str, Score]:
    """The score of every motion metric, by name, for a perfect video: the driver itself, estimated again.

    With its ``frames`` (T, H, W, 3) and the ``estimator`` of the evaluation: estimated again after H.264 at crf 28,
    which is the floor of that estimator on that driver. Without: its joints jittered by a hundredth of the torso, the
    same for the same ``seed``, which says how the metrics respond and nothing of an estimator. Its first frame is the
    reference. Differences between methods that are smaller than the score's distance from perfect are noise.
    Raises SteadyDancerError for a driver without a torso, where there is no estimator.
    """
    if (frames is None) != (estimator is None):
        raise ValueError("noise_floor needs both frames and estimator, or neither")
    if estimator is None:
        frames, estimator = _blank(driving), _Found(_jittered(driving, seed))
    else:
        frames = _encoded_again(frames, fps)
    evidence = Evidence(
        frames,
        fps,
        reference=frames[0],
        reference_pose=driving[:1],
        driving=driving,
        driving_fps=fps,
        estimator=estimator,
    )
    return {metric.name: metric.score(evidence) for metric in MOTION_METRICS}


class _Found:
    def __init__(self, track: PoseTrack):
        self.track = track

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        return [self.track]


def _jittered(track: PoseTrack, seed: int) -> PoseTrack:
    torso = torso_length(track)
    if not torso > 0:
        raise SteadyDancerError(
            "noise floor: the driver shows neither hips nor shoulders, so its joints cannot be jittered in proportion.",
            "Give its frames and an estimator, or a driver whose body is seen.",
        )
    noise = np.random.default_rng(seed).normal(0, JITTER * torso, track.keypoints.shape)
    return PoseTrack((track.keypoints + noise).astype(np.float32), track.scores)


def _blank(track: PoseTrack) -> np.ndarray:
    """Black frames that hold the whole track, and cost no memory."""
    width, height = np.maximum(np.ceil(track.keypoints.max(axis=(0, 1))).astype(int) + 1, 1)
    return np.broadcast_to(np.uint8(0), (len(track), height, width, 3))


def _encoded_again(frames: np.ndarray, fps: float) -> np.ndarray:
    """(T, H, W, 3), less an odd last row or column."""
    from model.video import frames as decoded
    from model.video import write

    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "again.mp4", even, fps, crf=CRF)
        return np.stack([image for _, image in decoded(path)])
