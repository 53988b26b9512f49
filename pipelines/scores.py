"""Measuring a window: its frames are read once, at analysis size, and every score looks at the same frames.

Columns are defined in :mod:`pipelines.columns`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from model.pose.tracks import PoseTrack
from model.pose.wholebody import BODY, LEFT_HIP, LEFT_SHOULDER, RIGHT_HIP, RIGHT_SHOULDER, VISIBLE
from pipelines.stage import PerProcess, Row, Stage

ANALYSIS_AREA = 640 * 640
"""Pixels: larger frames are scored at this area, in their aspect."""

JOINTS_FOR_A_BODY = 10
TORSO_SHARE_OF_HEIGHT = 0.288  # Drillis and Contini 1966: shoulder to hip, of standing height


def analysis_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which a source of that size is scored."""
    scale = min(1.0, math.sqrt(ANALYSIS_AREA / (height * width)))
    return max(2, round(height * scale)), max(2, round(width * scale))


@dataclass(frozen=True)
class ReadWindow(Stage):
    """The window's frames (T, H, W, 3) at analysis size."""

    area: int = ANALYSIS_AREA

    reads: ClassVar = ("path", "start", "frames", "fps", "height", "width")
    local: ClassVar = ("images",)
    memory: ClassVar = 1 * 2**30

    def __call__(self, row: Row) -> Row:
        from model import video

        size = analysis_size(row["height"], row["width"])
        return {"images": video.read_at(row["path"], row["start"], row["frames"], row["fps"], size)}


@dataclass(frozen=True)
class MeasureLight(Stage):
    """Brightness and how much the picture changes."""

    reads: ClassVar = ("images",)
    writes: ClassVar = ("brightness", "pixel_change")

    def __call__(self, row: Row) -> Row:
        import cv2

        total, change, before = 0.0, 0.0, None
        for image in row["images"]:
            luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            total += float(luma.mean())
            if before is not None:
                change += float(cv2.absdiff(luma, before).mean())
            before = luma
        count = len(row["images"])
        return {"brightness": _rounded(total / count), "pixel_change": _rounded(change / max(1, count - 1))}


def build_pose_estimator(pose: Row) -> Any:
    """The estimator that the config's pose section names."""
    from infra.schema import Pose
    from model.pose.estimator import build_estimator

    return build_estimator(Pose(**pose))


@dataclass(frozen=True)
class _Estimates(Stage):
    """``estimator`` gives the pose estimator of its settings, the config's pose section."""

    estimator: PerProcess = field(metadata={"setting": False})

    memory: ClassVar = 1 * 2**30

    def settings(self) -> Row:
        return super().settings() | {"pose": self.estimator.settings}


@dataclass(frozen=True)
class CountPeople(_Estimates):
    """How many people there are, on ``samples`` frames spread evenly over the window."""

    samples: int

    reads: ClassVar = ("images",)
    writes: ClassVar = ("people", "single_person")

    def __call__(self, row: Row) -> Row:
        images = row["images"]
        samples = min(self.samples, len(images))
        places = ((np.arange(samples) + 0.5) * len(images) / samples).astype(int)
        counts = np.asarray(self.estimator.get().count_people(images[places]))
        return {"people": float(np.median(counts)), "single_person": _rounded((counts == 1).mean())}


@dataclass(frozen=True)
class EstimatePose(_Estimates):
    """The most prominent person's track, in pixels of the analysis frames. Nobody: None."""

    reads: ClassVar = ("images",)
    local: ClassVar = ("track", "confidence", "cleaning")
    version: ClassVar = 2

    def __call__(self, row: Row) -> Row:
        tracks = self.estimator.get().estimate(row["images"])
        return {"track": tracks[0] if tracks else None, "confidence": None, "cleaning": None}


@dataclass(frozen=True)
class MeasureBody(Stage):
    """Visibility and speed of the body; None for the speed of a body that is not there."""

    reads: ClassVar = ("track", "fps")
    writes: ClassVar = ("body_confidence", "body_visibility", "body_speed")

    def __call__(self, row: Row) -> Row:
        track: PoseTrack | None = row["track"]
        if track is None:
            return {"body_confidence": 0.0, "body_visibility": 0.0, "body_speed": None}
        scores = track.scores[:, BODY]
        visible = (scores > VISIBLE).sum(axis=1) >= JOINTS_FOR_A_BODY
        return {
            "body_confidence": _rounded(scores.mean()),
            "body_visibility": _rounded(visible.mean()),
            "body_speed": body_speed(track, row["fps"]),
        }


def body_speed(track: PoseTrack, fps: float) -> float | None:
    """Mean speed, in body heights per second, of the 17 body joints between frames that both show them.

    The body height is the median distance from the middle of the shoulders to the middle of the hips, divided by
    0.288. None where no frame shows shoulders and hips, or no joint is seen twice in a row.
    """
    points, seen = track.keypoints.astype(np.float64), track.scores > VISIBLE
    trunk = [LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]
    shows_trunk = seen[:, trunk].all(axis=1)
    if not shows_trunk.any():
        return None
    shoulders, hips = points[:, trunk[:2]].mean(axis=1), points[:, trunk[2:]].mean(axis=1)
    height = float(np.median(np.linalg.norm(shoulders - hips, axis=1)[shows_trunk])) / TORSO_SHARE_OF_HEIGHT
    both = (seen[1:] & seen[:-1])[:, BODY]
    steps = np.linalg.norm(np.diff(points[:, BODY], axis=0), axis=2)[both]
    return _rounded(steps.mean() * fps / height) if len(steps) and height > 0 else None


@dataclass(frozen=True)
class CleanTrack(Stage):
    """The track with its gaps filled and its trembling smoothed; its own scores go on as ``confidence``."""

    fill_seconds: float
    smooth_seconds: float

    reads: ClassVar = ("track", "fps")
    local: ClassVar = ("track", "confidence", "cleaning")

    def __call__(self, row: Row) -> Row:
        from model.pose.cleaning import clean

        if row["track"] is None:
            return {}
        settings = {"fill_seconds": self.fill_seconds, "smooth_seconds": self.smooth_seconds}
        cleaned = clean(row["track"], row["fps"], **settings)
        return {"track": cleaned.track, "confidence": cleaned.confidence, "cleaning": settings}


@dataclass(frozen=True)
class SaveTrack(Stage):
    """``pose.npz`` (if there is a body) and ``preview.jpg`` for the report: four frames with the pose over them, in a
    row, or two by two where they are wider than high.
    """

    side: int = 150

    reads: ClassVar = ("images", "track", "confidence", "cleaning", "fps", "folder")
    version: ClassVar = 2

    def __call__(self, row: Row) -> Row:
        import cv2

        from model import video
        from model.pose.drawing import overlay

        images, track = row["images"], row["track"]
        height, width = images.shape[1:3]
        if track is not None:
            about = {"fps": row["fps"], "size": [height, width], "cleaning": row["cleaning"]}
            track.save(row["folder"] / "pose.npz", confidence=row["confidence"], about=about)
        size = (self.side, max(2, round(width * self.side / height)))
        pictures = []
        for place in np.linspace(0, len(images) - 1, 4).round().astype(int):
            small = video.resize(images[place], size)
            if track is not None:
                pose = track.resized((height, width), size)
                small = overlay(small, pose.keypoints[place], pose.scores[place])
            pictures.append(small)
        across = 2 if width > height else 4
        lines = [np.concatenate(pictures[first : first + across], axis=1) for first in range(0, 4, across)]
        strip = cv2.cvtColor(np.concatenate(lines), cv2.COLOR_RGB2BGR)
        (row["folder"] / "preview.jpg").write_bytes(
            cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        )
        return {}


def _rounded(value: float) -> float:
    """Six decimals: more than any gate needs, and the same in every library's summation order."""
    return round(float(value), 6)
