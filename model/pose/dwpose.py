"""DWPose: YOLOX finds people, RTMPose's whole-body head finds their 133 joints; both as ONNX (specification 4.1).

Different from the official release: frames are not enlarged before; of its two non-maximum suppressions only the first
(IoU 0.65) is here, since the second, at 0.7, finds nothing left but boxes of a few pixels; a frame without people gives
no pose, where the release runs the pose network on the whole picture. Both networks get the colours they were trained
on (BGR and RGB); the release swaps them by mistake, and ``compat`` does as it does.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import cv2
import numpy as np

from infra.schema import Pose
from model.pose.frames import checked
from model.pose.network import Network
from model.pose.tracking import follow
from model.pose.tracks import JOINTS, PoseTrack
from model.pose.wholebody import FACE, FEET, LEFT_HAND, RIGHT_HAND

DETECTOR_SIDE, DETECTOR_PAD, STRIDES = 640, 114, (8, 16, 32)
CANDIDATES = sum((DETECTOR_SIDE // stride) ** 2 for stride in STRIDES)
CLASSES, PERSON = 80, 0
PERSON_SCORE, OVERLAP = 0.5, 0.65

POSE_WIDTH, POSE_HEIGHT, SPLIT, BOX_PADDING = 288, 384, 2, 1.25
POSE_MEAN, POSE_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # R, G, B

# The 68 points of the face in a mirror: jaw, brows, nose ridge, nostrils, eyes, outer and inner lips.
_FACE_MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
_FACE_MIRRORED += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
_FACE_MIRRORED += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]

Item = TypeVar("Item")


def _mirrored() -> np.ndarray:
    """(133,) int: the joint that each joint becomes in a mirror."""
    joints = np.arange(JOINTS)
    joints[1:17:2], joints[2:17:2] = np.arange(2, 17, 2), np.arange(1, 17, 2)
    joints[FEET] = np.roll(joints[FEET], 3)
    joints[FACE] = FACE.start + np.array(_FACE_MIRRORED)
    joints[LEFT_HAND], joints[RIGHT_HAND] = joints[RIGHT_HAND].copy(), joints[LEFT_HAND].copy()
    return joints


MIRRORED = _mirrored()


class DWPoseEstimator:
    """Both networks as ``settings`` names them (see :class:`model.pose.network.Network` for what is refused)."""

    def __init__(self, settings: Pose):
        self._settings = settings
        self._detector = Network(
            settings, "detector", (3, DETECTOR_SIDE, DETECTOR_SIDE), {"output": (CANDIDATES, 5 + CLASSES)}
        )
        lines = {"simcc_x": (JOINTS, SPLIT * POSE_WIDTH), "simcc_y": (JOINTS, SPLIT * POSE_HEIGHT)}
        self._pose = Network(settings, "weights", (3, POSE_HEIGHT, POSE_WIDTH), lines)
        self.detector_calls = 0

    @property
    def about(self) -> dict[str, Any]:
        import onnxruntime

        return {
            "name": "dwpose",
            "onnxruntime": onnxruntime.__version__,
            "detector": self._detector.about,
            "weights": self._pose.about,
            "flip_test": self._settings.flip_test,
            "compat": self._settings.compat,
            "detect_every": self._settings.detect_every,
        }

    def estimate(self, frames: Iterable[np.ndarray], people: int = 1) -> list[PoseTrack]:
        """(H, W, 3) uint8 RGB frames, an array or a stream -> tracks of T frames, the most prominent person first.

        At most ``people``; [] where nobody is found. See :func:`model.pose.tracking.follow`. Scores are the smaller of
        the two axes' largest logits, at most 1; 0 where a person or joint is not found or the network gives no number.
        """
        every, chunk = self._settings.detect_every, self._settings.batch
        return follow(frames, self.detect, self.locate, detect_every=every, people=people, chunk=chunk)

    def count_people(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """People found in each of the (H, W, 3) uint8 RGB frames, as (T,) int."""
        parts = _parts(checked(frames), self._detector.batch)
        return np.array([len(boxes) for part in parts for boxes in self.detect(part)])

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """People in each (H, W, 3) uint8 RGB frame: (N, 5) left, top, right, bottom in px, score; the surest first."""
        self.detector_calls += len(frames)
        boxes = []
        for part in _parts(frames, self._detector.batch):
            squares = np.full((len(part), 3, DETECTOR_SIDE, DETECTOR_SIDE), DETECTOR_PAD, np.float32)
            scales = [self._letterbox(frame, square) for frame, square in zip(part, squares, strict=True)]
            (rows,) = self._detector(squares)
            boxes += [_people(each, scale) for each, scale in zip(rows, scales, strict=True)]
        return boxes

    def locate(self, people: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """n pairs of (H, W, 3) uint8 RGB frame and box (4,): keypoints (n, 133, 2) px, scores (n, 133), float32."""
        keypoints = np.empty((len(people), JOINTS, 2), np.float32)
        scores = np.empty((len(people), JOINTS), np.float32)
        done = 0
        for part in _parts(people, self._pose.batch):
            crops = np.empty((len(part), 3, POSE_HEIGHT, POSE_WIDTH), np.float32)
            places = [self._crop(frame, box, crop) for (frame, box), crop in zip(part, crops, strict=True)]
            x, y = self._pose(crops)
            if self._settings.flip_test:
                mirrored_x, mirrored_y = self._pose(np.ascontiguousarray(crops[..., ::-1]))
                x, y = (x + mirrored_x[:, MIRRORED, ::-1]) / 2, (y + mirrored_y[:, MIRRORED]) / 2
            now = slice(done, done + len(part))
            keypoints[now], scores[now] = _joints(x, y, np.array(places))
            done += len(part)
        return keypoints, scores

    def _letterbox(self, frame: np.ndarray, square: np.ndarray) -> tuple[float, float]:
        """Fill ``square`` (3, 640, 640), and return its px per px of the frame, across and down."""
        height, width = frame.shape[:2]
        ratio = DETECTOR_SIDE / max(height, width)
        inner = max(1, round(width * ratio)), max(1, round(height * ratio))
        planes = cv2.split(cv2.resize(frame, inner, interpolation=cv2.INTER_LINEAR))
        for channel, plane in zip(square, planes if self._settings.compat else planes[::-1], strict=True):
            channel[: inner[1], : inner[0]] = plane
        return inner[0] / width, inner[1] / height

    def _crop(self, frame: np.ndarray, box: np.ndarray, crop: np.ndarray) -> tuple[float, float, float]:
        """Fill ``crop`` (3, 384, 288), and return how the frame lies in it: scale, shift across and down."""
        centre, extent = (box[:2] + box[2:4]) / 2, np.maximum(box[2:4] - box[:2], 1) * BOX_PADDING
        scale = min(POSE_WIDTH / extent[0], POSE_HEIGHT / extent[1])
        across, down = np.array([POSE_WIDTH, POSE_HEIGHT]) / 2 - scale * centre
        picture = cv2.warpAffine(frame, np.array([[scale, 0, across], [0, scale, down]]), (POSE_WIDTH, POSE_HEIGHT))
        planes = cv2.split(picture)
        ordered = planes[::-1] if self._settings.compat else planes
        for channel, plane, mean, std in zip(crop, ordered, POSE_MEAN, POSE_STD, strict=True):
            np.multiply(plane, np.float32(1 / std), out=channel)
            channel -= np.float32(mean / std)
        return scale, across, down


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Column and row (N, 2), and stride (N, 1), of each of YOLOX's candidates."""
    cells, strides = [], []
    for stride in STRIDES:
        side = DETECTOR_SIDE // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


CELLS, CELL_STRIDES = _cells()


def _people(rows: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """(8400, 85) of the detector -> (N, 5) people, px of the frame, the surest first. Rows with NaN are none."""
    sure = np.flatnonzero(rows[:, 4] > PERSON_SCORE)  # a class's score is at most 1: the product cannot be above
    cells, strides, rows = CELLS[sure], CELL_STRIDES[sure], rows[sure].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scores = rows[:, 4] * rows[:, 5 + PERSON]
        centre, half = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides / 2
        boxes = np.column_stack([(centre - half) / scale, (centre + half) / scale, scores])
        keep = (rows[:, 5 + PERSON] >= rows[:, 5:].max(axis=1)) & (scores > PERSON_SCORE)
    boxes = boxes[keep & np.isfinite(boxes).all(axis=1)]
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    return boxes[_unsuppressed(boxes)]


def _unsuppressed(boxes: np.ndarray) -> list[int]:
    """Indices of (N, 5) boxes, sorted by score, that greedy non-maximum suppression leaves."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for index in range(len(boxes)):
        near, far = np.maximum(boxes[kept, :2], boxes[index, :2]), np.minimum(boxes[kept, 2:4], boxes[index, 2:4])
        shared = np.clip(far - near, 0, None).prod(axis=1)
        if (shared <= OVERLAP * (area[kept] + area[index] - shared)).all():
            kept.append(index)
    return kept


def _joints(x: np.ndarray, y: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SimCC logits (n, 133, 576) and (n, 133, 768), crops' scale and shift (n, 3) -> keypoints px, scores.

    The official rule: argmax of each axis, the score is the smaller maximum, the place -1 where that is not positive.
    """
    scores = np.minimum(x.max(axis=2), y.max(axis=2))
    found = np.stack([x.argmax(axis=2), y.argmax(axis=2)], axis=2) / SPLIT
    keypoints = (found - places[:, None, 1:]) / places[:, None, :1]
    seen = np.isfinite(scores) & (scores > 0)
    keypoints = np.where(seen[..., None], keypoints, -1).astype(np.float32)
    return keypoints, np.where(seen, np.minimum(scores, 1), 0).astype(np.float32)
