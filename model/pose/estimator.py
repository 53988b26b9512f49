"""What every pose estimator does, and the choice of one."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from infra.schema import Pose
from model.pose.tracks import PoseTrack


class PoseEstimator(Protocol):
    """Results depend on the frames given and on nothing that was estimated before."""

    detector_calls: int
    """Frames searched for people since this estimator was built."""
    about: dict
    """What it is, for the record: name, version, networks with their SHA-256."""

    def estimate(self, frames: Iterable[np.ndarray], people: int = 1) -> list[PoseTrack]:
        """(H, W, 3) uint8 RGB frames, an array or a stream -> one track per person, most prominent first.

        At most ``people`` tracks, each as long as the clip; a person keeps their track. [] where nobody is seen.
        """

    def count_people(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T,) int, the people in each frame, each frame on its own."""


def build_estimator(settings: Pose) -> PoseEstimator:
    """The estimator that ``settings.estimator`` names. Raises SteadyDancerError where its package or weights lack."""
    if settings.estimator == "dwpose":
        from model.pose.dwpose import DWPoseEstimator

        return DWPoseEstimator(settings)
    from model.pose.mediapipe_estimator import MediaPipeEstimator

    return MediaPipeEstimator(settings)
