"""Faces: found by YuNet, told apart by SFace, both run by OpenCV on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import cv2
import numpy as np

from evaluation.backbones.backbone import Backbone, Weights
from infra.errors import SteadyDancerError
from model.video import resize

DETECTOR = Weights(
    "yunet",
    licence="MIT",
    source="opencv/face_detection_yunet/face_detection_yunet_2023mar.onnx of the hub",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
RECOGNISER = Weights(
    "sface",
    licence="Apache-2.0",
    source="opencv/face_recognition_sface/face_recognition_sface_2021dec.onnx of the hub",
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)
FEATURES = 128
LEAST_SCORE = 0.5
WIDEST_YAW = 45.0  # degrees
NOSE = 0.6  # how far the nose's tip stands out before the eyes, of the distance between them
LONGER_SIDE = 1024  # pixels: YuNet was trained on faces of 10 to 300 pixels
OVERLAP, MOST = 0.3, 5000  # OpenCV's own, of the suppression of double findings

RIGHT_EYE, LEFT_EYE, TIP = (slice(4, 6), slice(6, 8), slice(8, 10))
"""Of a row that YuNet gives: x, y, width, height, five points, score."""


def yaw(face: np.ndarray) -> float:
    """Degrees, 0 to 90, by which a YuNet row (15,) is turned to a side, from its eyes and the tip of its nose.

    Seen from afar, of a head turned by a: the eyes are cos(a) of their distance apart, and the tip is NOSE sin(a) of it
    beside their middle, so the one by the other is NOSE tan(a). How the head is tilted sideways makes no difference.
    """
    eyes, middle = face[LEFT_EYE] - face[RIGHT_EYE], (face[LEFT_EYE] + face[RIGHT_EYE]) / 2
    aside = abs(float(eyes @ (face[TIP] - middle)))
    return float(np.degrees(np.arctan2(aside, NOSE * float(eyes @ eyes))))


class Faces:
    """A detector and a recogniser. Raises SteadyDancerError for files that OpenCV cannot run as such."""

    def __init__(self, detector: Path, recogniser: Path):
        try:
            self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), LEAST_SCORE, OVERLAP, MOST)
            self._detector.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise _refused(DETECTOR, detector, error.err) from None
        try:
            self._recogniser = cv2.FaceRecognizerSF.create(str(recogniser), "")
            given = self._recogniser.feature(np.zeros((112, 112, 3), np.uint8)).shape
        except cv2.error as error:
            raise _refused(RECOGNISER, recogniser, error.err) from None
        if given != (1, FEATURES):
            raise _refused(RECOGNISER, recogniser, f"it gives {given}, {(1, FEATURES)} expected")

    def to(self, device: str) -> Self:
        """OpenCV's networks stay on the CPU."""
        return self

    def features(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (128,) float32 of its largest face; nan where it has none or looks away."""
        image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        face = self.largest(image)
        if face is None or yaw(face) >= WIDEST_YAW:
            return np.full(FEATURES, np.nan, np.float32)
        return self._recogniser.feature(self._recogniser.alignCrop(image, face))[0]

    def largest(self, image: np.ndarray) -> np.ndarray | None:
        """The YuNet row (15,), in pixels of ``image`` (H, W, 3) uint8 BGR, of the face with the largest box."""
        height, width = image.shape[:2]
        scale = min(1.0, LONGER_SIDE / max(height, width))
        small = resize(image, (max(1, round(scale * height)), max(1, round(scale * width))))
        self._detector.setInputSize(small.shape[1::-1])
        _, found = self._detector.detect(small)
        if found is None:
            return None
        face = found[(found[:, 2] * found[:, 3]).argmax()]
        face[:14] *= np.tile((width / small.shape[1], height / small.shape[0]), 7)
        return face


def _refused(weights: Weights, path: Path, why: str) -> SteadyDancerError:
    return SteadyDancerError(
        f"evaluate.weights.{weights.key}: OpenCV cannot use {path} ({why}).", f"Take {weights.source}."
    )


def load(files: Mapping[str, Path]) -> Faces:
    return Faces(files[DETECTOR.key], files[RECOGNISER.key])


def random(seed: int) -> Faces:
    """Of the size of the published networks; it finds some frontal face in every picture."""
    from evaluation.backbones.random_faces import detector, recogniser

    with TemporaryDirectory() as folder:
        files = {DETECTOR.key: Path(folder, "yunet.onnx"), RECOGNISER.key: Path(folder, "sface.onnx")}
        files[DETECTOR.key].write_bytes(detector(seed))
        files[RECOGNISER.key].write_bytes(recogniser(seed))
        return load(files)


FACES = Backbone(
    name="faces",
    version=1,
    preprocessing=f"yunet{LEAST_SCORE}-longer{LONGER_SIDE}-largest-yaw{WIDEST_YAW:g}-sface112",
    network="faces",
    weights=(DETECTOR, RECOGNISER),
    load=load,
    random=random,
    embed=lambda network, pictures, _: np.stack([network.features(picture) for picture in pictures]),
)
