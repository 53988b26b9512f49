"""The embedded estimator: MediaPipe 0.10.21, whose wheel holds its models (pose, face, hands; complexity 1; CPU)."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from infra.errors import SteadyDancerError
from model.pose.frames import check_frames
from model.pose.mediapipe_landmarks import to_wholebody
from model.pose.people import count_people
from model.pose.tracks import PoseTrack

LANDMARKS = (("pose", 33), ("face", 468), ("left_hand", 21), ("right_hand", 21))


class MediaPipeEstimator:
    """One person through the clip by the holistic model; people are counted with the pose model alone.

    A fresh graph is built for every clip: MediaPipe tracks from frame to frame, and so nothing is carried over from
    one clip to the next. Raises SteadyDancerError where mediapipe is not installed.
    """

    def __init__(self):
        try:
            import mediapipe  # noqa: F401
        except ImportError as error:
            raise SteadyDancerError(
                f"pose.estimator is mediapipe, and mediapipe cannot be imported ({error}).",
                fix="pip install 'steadydancer-train[embedded]', or set pose.estimator=dwpose with its two ONNX files.",
            ) from error

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        """The main person of (T, H, W, 3) uint8 RGB: [track of T frames], or [] where no frame shows anybody."""
        from mediapipe import solutions

        check_frames(frames)
        found = {name: np.full((len(frames), count, 3), np.nan) for name, count in LANDMARKS}
        # MediaPipe's own smoothing takes every clip for 30 fps and lags: wrists of dancers with known joints at 16 fps
        # were 0.040 of the torso off with it, 0.025 to 0.032 without. Cleaning belongs to the track, not in here.
        with _graph(lambda: solutions.holistic.Holistic(model_complexity=1, smooth_landmarks=False)) as process:
            for index, frame in enumerate(frames):
                result = process(frame)
                for name, _ in LANDMARKS:
                    if landmarks := getattr(result, f"{name}_landmarks"):
                        found[name][index] = [(each.x, each.y, each.visibility) for each in landmarks.landmark]
        if np.isnan(found["pose"]).all():
            return []
        face, left, right = (found[name][..., :2] for name in ("face", "left_hand", "right_hand"))
        return [to_wholebody(found["pose"], face, left, right, frames.shape[1:3])]

    def count_people(self, frames: np.ndarray) -> np.ndarray:
        """People in each of (T, H, W, 3) uint8 RGB frames, as (T,) int (see :mod:`model.pose.people`)."""
        from mediapipe import solutions

        check_frames(frames)
        pose = solutions.pose
        with _graph(lambda: pose.Pose(static_image_mode=True, model_complexity=1)) as process:

            def detect(image: np.ndarray) -> np.ndarray | None:
                landmarks = process(image).pose_landmarks
                if landmarks is None:
                    return None
                return np.array([(each.x, each.y, each.visibility) for each in landmarks.landmark])

            return np.array([count_people(frame, detect) for frame in frames])


@contextmanager
def _graph(build: Callable) -> Iterator[Callable[[np.ndarray], object]]:
    """A new graph's ``process``; its log is hidden until the first frame is through, when all models are loaded."""
    with _native_log_hidden():
        graph = build()
    first = True

    def process(frame: np.ndarray):
        nonlocal first
        if first:
            first = False
            with _native_log_hidden():
                return graph.process(frame)
        return graph.process(frame)

    with graph:
        yield process


@contextmanager
def _native_log_hidden() -> Iterator[None]:
    """MediaPipe's C++ writes a page of notices to the error stream; they are shown only where an exception came up."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
