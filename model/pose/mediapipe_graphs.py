"""MediaPipe's graphs: its holistic model for clips, and the parts of it by which several people are told apart.

The parts are graphs of MediaPipe's own, as its wheel names them: the person detector, and the landmarks of the one
person in a given region of the picture. With the region of its own detector they give what the holistic model gives.
"""

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

DETECTOR = """
input_stream: "image"
output_stream: "detections"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""

BODY = """
input_stream: "image"
input_stream: "region"
output_stream: "pose_landmarks"
node {
  calculator: "PoseLandmarkByRoiCpu" input_stream: "IMAGE:image" input_stream: "ROI:region"
  output_stream: "LANDMARKS:pose_landmarks"
}
"""

HANDS_AND_FACE = """
output_stream: "left_hand_landmarks"
output_stream: "right_hand_landmarks"
output_stream: "face_landmarks"
node {
  calculator: "HandLandmarksLeftAndRightCpu" input_stream: "IMAGE:image" input_stream: "POSE_LANDMARKS:pose_landmarks"
  output_stream: "LEFT_HAND_LANDMARKS:left_hand_landmarks" output_stream: "RIGHT_HAND_LANDMARKS:right_hand_landmarks"
}
node {
  calculator: "SplitNormalizedLandmarkListCalculator" input_stream: "pose_landmarks" output_stream: "head"
  options: { [mediapipe.SplitVectorCalculatorOptions.ext] { ranges: { begin: 0 end: 11 } } }
}
node {
  calculator: "FaceLandmarksFromPoseCpu" input_stream: "IMAGE:image" input_stream: "FACE_LANDMARKS_FROM_POSE:head"
  output_stream: "FACE_LANDMARKS:face_landmarks"
}
"""

ENLARGED = 1.25  # of the circle around a person, as in MediaPipe's PoseDetectionToRoi


@contextmanager
def holistic() -> Iterator[Callable[[np.ndarray], Any]]:
    """(H, W, 3) uint8 RGB -> the landmarks of one person, followed from each frame to the next."""
    from mediapipe import solutions

    # MediaPipe's own smoothing takes every clip for 30 fps and lags: wrists of dancers with known joints at 16 fps
    # were 0.040 of the torso off with it, 0.025 to 0.032 without. Cleaning belongs to the track, not in here.
    with _opened(lambda: solutions.holistic.Holistic(model_complexity=1, smooth_landmarks=False)) as process:
        yield process


@contextmanager
def detector() -> Iterator[Callable[[np.ndarray], list[np.ndarray]]]:
    """(H, W, 3) uint8 RGB -> marks (3, 2) px of everybody seen, the surest first: the middle of the hips, a point on
    the circle around the whole person, in the direction of the head, and the middle of the shoulders."""
    with _opened(lambda: _solution(DETECTOR)) as process:

        def detect(image: np.ndarray) -> list[np.ndarray]:
            size = image.shape[1], image.shape[0]
            found = sorted(process(image).detections or [], key=lambda each: -each.score[0])
            points = (each.location_data.relative_keypoints[:3] for each in found)
            marks = [np.array([(at.x, at.y) for at in three]) * size for three in points]
            return [each for each in marks if np.isfinite(each).all()]

        yield detect


@contextmanager
def landmarker(*, whole: bool) -> Iterator[Callable[[np.ndarray, np.ndarray], Any]]:
    """(H, W, 3) uint8 RGB and somebody's marks -> their landmarks, with those of hands and face if ``whole``.

    The region is the one MediaPipe makes of a detection: a square around the circle, turned as the person is.
    """
    from mediapipe.framework.formats.rect_pb2 import NormalizedRect

    with _opened(lambda: _solution(BODY + HANDS_AND_FACE * whole)) as process:

        def locate(image: np.ndarray, marks: np.ndarray) -> Any:
            height, width = image.shape[:2]
            (x, y), (right, down) = marks[0], marks[1] - marks[0]
            side = 2 * ENLARGED * math.hypot(right, down)
            turn = math.remainder(math.pi / 2 - math.atan2(-down, right), 2 * math.pi)
            region = NormalizedRect(
                x_center=x / width, y_center=y / height, width=side / width, height=side / height, rotation=turn
            )
            return process({"image": image, "region": region})

        yield locate


def _solution(graph: str) -> Any:
    from mediapipe.python.solution_base import SolutionBase

    return SolutionBase(graph_config=graph)


@contextmanager
def _opened(build: Callable[[], Any]) -> Iterator[Callable[[Any], Any]]:
    """A new graph's ``process``; its log is hidden until all models are loaded, which those of hands and face are with
    the first person."""
    with _native_log_hidden():
        graph = build()
        graph._graph.wait_until_idle()  # its nodes open, and write, on threads of their own
    loaded = False

    def process(given: Any) -> Any:
        nonlocal loaded
        if loaded:
            return graph.process(given)
        with _native_log_hidden():
            result = graph.process(given)
        loaded = getattr(result, "pose_landmarks", result) is not None
        return result

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
