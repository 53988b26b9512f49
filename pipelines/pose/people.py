"""The people in a window: how many there are, and the track of the most prominent one."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from pipelines.columns import rounded
from pipelines.pose.window import sampled
from pipelines.work.stage import PerProcess, Row, Stage


def build_pose_estimator(pose: Row) -> Any:
    """The estimator that the config's pose section names."""
    from infra.schema import Pose
    from model.pose.estimator import build_estimator

    return build_estimator(Pose(**pose))


@dataclass(frozen=True)
class _Estimates(Stage):
    """``estimator`` gives the pose estimator of its settings, the config's pose section."""

    estimator: PerProcess = field(metadata={"setting": False})
    on_gpu: bool = field(default=False, metadata={"setting": False}, kw_only=True)

    memory: ClassVar = 1 * 2**30

    @property
    def num_gpus(self) -> float:
        return 1.0 if self.on_gpu else 0.0

    def settings(self) -> Row:
        return super().settings() | {"pose": self.estimator.settings}


@dataclass(frozen=True)
class CountPeople(_Estimates):
    """How many people there are, on ``samples`` frames spread evenly over the window."""

    samples: int

    reads: ClassVar = ("images",)
    writes: ClassVar = ("people", "people_max", "people_wavering", "single_person")
    version: ClassVar = 2

    def __call__(self, row: Row) -> Row:
        counts = np.asarray(self.estimator.get().count_people(sampled(row["images"], self.samples)))
        mean = counts.mean()
        return {
            "people": float(np.median(counts)),
            "people_max": float(counts.max()),
            "people_wavering": rounded(abs(mean - round(mean))),
            "single_person": rounded((counts == 1).mean()),
        }


@dataclass(frozen=True)
class EstimatePose(_Estimates):
    """The most prominent person's track, in pixels of the analysis frames. Nobody: None."""

    reads: ClassVar = ("images",)
    local: ClassVar = ("track", "confidence", "cleaning")
    version: ClassVar = 2
    deadline: ClassVar = 300.0

    def __call__(self, row: Row) -> Row:
        tracks = self.estimator.get().estimate(row["images"])
        return {"track": tracks[0] if tracks else None, "confidence": None, "cleaning": None}


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
