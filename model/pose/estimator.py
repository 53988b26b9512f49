"""What every pose estimator does, and the choice of one."""

from typing import Protocol

import numpy as np

from infra.schema import Pose
from model.pose.tracks import PoseTrack


class PoseEstimator(Protocol):
    """Results depend on the frames given and on nothing that was estimated before."""

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        """(T, H, W, 3) uint8 RGB -> one track of T frames per person, most prominent first; [] where nobody is seen."""

    def count_people(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T,) int, the people in each frame, each frame on its own."""


def build_estimator(settings: Pose) -> PoseEstimator:
    """The estimator that ``settings.estimator`` names. Raises SteadyDancerError where its package or weights lack."""
    if settings.estimator == "dwpose":
        from model.pose.dwpose import DWPoseEstimator

        return DWPoseEstimator(settings.detector, settings.weights)
    from model.pose.mediapipe_estimator import MediaPipeEstimator

    return MediaPipeEstimator()
