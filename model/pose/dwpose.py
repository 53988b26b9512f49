"""DWPose: YOLOX finds people, RTMPose's whole-body head finds their 133 joints; both as ONNX (specification 4.1).

Every frame on its own, the surest person of it; no flip test. Both networks get the colours they were trained on (BGR
and RGB); the official pipeline swaps them by mistake.
"""

from pathlib import Path

import cv2
import numpy as np

from infra.errors import SteadyDancerError
from model.pose.frames import check_frames
from model.pose.tracks import JOINTS, PoseTrack

DETECTOR_SIDE, DETECTOR_PAD, STRIDES = 640, 114, (8, 16, 32)
CANDIDATES = sum((DETECTOR_SIDE // stride) ** 2 for stride in STRIDES)
CLASSES, PERSON = 80, 0
PERSON_SCORE, OVERLAP = 0.5, 0.65

POSE_WIDTH, POSE_HEIGHT, SPLIT, BOX_PADDING = 288, 384, 2, 1.25
POSE_MEAN, POSE_STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])

HOW_TO_GET = (
    "Download yolox_l.onnx and dw-ll_ucoco_384.onnx (Hugging Face: yzd-v/DWPose), set pose.detector and pose.weights "
    "to the two files, or set pose.estimator=mediapipe, which needs neither."
)


class DWPoseEstimator:
    """``detector`` and ``weights`` are paths of the two ONNX files. On the GPU where onnxruntime has CUDA, else on
    ``threads`` cores. Raises SteadyDancerError where a file or onnxruntime lacks or a network has another shape.
    """

    def __init__(self, detector: str | None, weights: str | None, threads: int = 1):
        self._detector = _Network("pose.detector", detector, threads)
        self._detector.check({"input": [3, DETECTOR_SIDE, DETECTOR_SIDE], "output 0": [CANDIDATES, 5 + CLASSES]})
        self._pose = _Network("pose.weights", weights, threads)
        self._pose.check(
            {
                "input": [3, POSE_HEIGHT, POSE_WIDTH],
                "output 0": [JOINTS, SPLIT * POSE_WIDTH],
                "output 1": [JOINTS, SPLIT * POSE_HEIGHT],
            }
        )

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        """The surest person of every frame of (T, H, W, 3) uint8 RGB: [track of T frames], or [] where nobody is found.

        Scores are the smaller of the two axes' largest logits, at most 1.
        """
        check_frames(frames)
        keypoints = np.zeros((len(frames), JOINTS, 2), np.float32)
        scores = np.zeros((len(frames), JOINTS), np.float32)
        anybody = False
        for index, frame in enumerate(frames):
            boxes = self.detect(frame)
            if len(boxes):
                anybody = True
                keypoints[index], scores[index] = self.joints(frame, boxes[0])
        return [PoseTrack(keypoints, scores)] if anybody else []

    def count_people(self, frames: np.ndarray) -> np.ndarray:
        """People found in each of (T, H, W, 3) uint8 RGB frames, as (T,) int."""
        check_frames(frames)
        return np.array([len(self.detect(frame)) for frame in frames])

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """People in (H, W, 3) uint8 RGB as boxes (N, 4), left, top, right, bottom in px, the surest first."""
        height, width = frame.shape[:2]
        ratio = min(DETECTOR_SIDE / height, DETECTOR_SIDE / width)
        inner = max(1, int(width * ratio)), max(1, int(height * ratio))
        square = np.full((DETECTOR_SIDE, DETECTOR_SIDE, 3), DETECTOR_PAD, np.uint8)
        square[: inner[1], : inner[0]] = cv2.resize(frame, inner, interpolation=cv2.INTER_LINEAR)
        (rows,) = self._detector(square[..., ::-1].transpose(2, 0, 1))
        cells, strides = _cells()
        sure = rows[:, 4] * rows[:, 5:].max(axis=1)
        keep = (rows[:, 5:].argmax(axis=1) == PERSON) & (sure > PERSON_SCORE)
        centre = (rows[keep, :2] + cells[keep]) * strides[keep]
        half = np.exp(rows[keep, 2:4]) * strides[keep] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) / ratio
        return boxes[_suppressed(boxes, sure[keep])]

    def joints(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The joints of the person in ``box``: (133, 2) float32 px of the frame, (133,) float32 scores."""
        centre, extent = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1) * BOX_PADDING
        aspect = POSE_WIDTH / POSE_HEIGHT
        extent = np.array([max(extent[0], extent[1] * aspect), max(extent[1], extent[0] / aspect)])
        scale = POSE_WIDTH / extent[0]
        shift = np.array([POSE_WIDTH, POSE_HEIGHT]) / 2 - scale * centre
        crop = cv2.warpAffine(frame, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), (POSE_WIDTH, POSE_HEIGHT))
        x, y = self._pose(((crop - POSE_MEAN) / POSE_STD).transpose(2, 0, 1))
        scores = np.minimum(x.max(axis=1), y.max(axis=1))
        found = np.stack([x.argmax(axis=1), y.argmax(axis=1)], axis=1) / SPLIT
        keypoints = np.where(scores[:, None] > 0, (found - shift) / scale, -1)
        return keypoints.astype(np.float32), np.clip(scores, 0, 1).astype(np.float32)


def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Column and row (N, 2), and stride (N, 1), of each of YOLOX's candidates."""
    cells, strides = [], []
    for stride in STRIDES:
        side = DETECTOR_SIDE // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def _suppressed(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Indices left by greedy non-maximum suppression, the surest first."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for index in np.argsort(-scores, kind="stable").tolist():
        near, far = np.maximum(boxes[kept, :2], boxes[index, :2]), np.minimum(boxes[kept, 2:], boxes[index, 2:])
        shared = np.clip(far - near, 0, None).prod(axis=1)
        if (shared <= OVERLAP * (area[kept] + area[index] - shared)).all():
            kept.append(index)
    return kept


class _Network:
    """One ONNX file, fed one picture (C, H, W) at a time."""

    def __init__(self, key: str, path: str | None, threads: int):
        try:
            import onnxruntime
        except ImportError as error:
            raise SteadyDancerError(
                f"pose.estimator is dwpose, and onnxruntime cannot be imported ({error}).",
                fix="pip install 'steadydancer-train[dwpose]', or set pose.estimator=mediapipe.",
            ) from error
        if path is None or not Path(path).is_file():
            raise SteadyDancerError(
                f"{key}: {path or 'not set'}; the path of an ONNX file was expected.", fix=HOW_TO_GET
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime's own errors share no base class but this
            raise SteadyDancerError(f"{key}: {path} is no ONNX network ({error}).", fix=HOW_TO_GET) from error
        self._key, self._path = key, path
        self._input = self._session.get_inputs()[0].name

    def check(self, shapes: dict[str, list[int]]) -> None:
        """Raises SteadyDancerError unless inputs and outputs have these shapes after the batch dimension."""
        there = {"input": self._session.get_inputs()[0].shape[1:]} if len(self._session.get_inputs()) == 1 else {}
        there |= {f"output {index}": each.shape[1:] for index, each in enumerate(self._session.get_outputs())}
        for name, shape in shapes.items():
            given = there.get(name)
            fits = given is not None and len(given) == len(shape)
            if not fits or any(isinstance(have, int) and have != want for have, want in zip(given, shape, strict=True)):
                raise SteadyDancerError(
                    f"{self._key}: {self._path}: {name} is {given}, {shape} expected.", fix=HOW_TO_GET
                )

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        batch = np.ascontiguousarray(picture[None], np.float32)
        return [output[0] for output in self._session.run(None, {self._input: batch})]
