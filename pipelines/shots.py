"""Looking through a whole source once, small: is it sound, how long is it, where are its cuts."""

from dataclasses import dataclass
from typing import ClassVar

from pipelines.stage import Row, Stage

SMALL_SIDE = 160
"""Pixels of the shorter side at which cuts are looked for."""

MISSING_SHARE = 0.02
"""A file that lacks more than this of its declared frames was cut off or damaged."""


@dataclass(frozen=True)
class Probe(Stage):
    """What the container says. No frame can be decoded: fault ``unreadable``."""

    reads: ClassVar = ("path",)
    writes: ClassVar = (
        "container", "codec", "width", "height", "rotation", "source_fps", "declared_frames", "fault", "error",
    )  # fmt: skip

    def __call__(self, row: Row) -> Row:
        from model import video

        try:
            info = video.probe(row["path"])
        except video.UnreadableVideo as error:
            return {"fault": "unreadable", "error": _without_path(error, row)}
        return {
            "container": info.container,
            "codec": info.codec,
            "width": info.width,
            "height": info.height,
            "rotation": info.rotation,
            "source_fps": info.fps,
            "declared_frames": info.declared_frames,
        }


@dataclass(frozen=True)
class FindShots(Stage):
    """Decodes every frame once and finds the cuts (PySceneDetect's AdaptiveDetector, by frame number: variable frame
    rates do no harm). A frame that is damaged, or too many that are missing: fault ``damaged``.

    Each shot is (first moment, end, does a cut begin it, does a cut end it).
    """

    reads: ClassVar = ("path", "width", "height", "declared_frames")
    writes: ClassVar = ("source_seconds", "source_frames", "shots", "fault", "error")

    def __call__(self, row: Row) -> Row:
        if row.get("fault"):
            return {"shots": []}
        import cv2
        from scenedetect import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        from model import video

        scale = min(1.0, SMALL_SIDE / min(row["width"], row["height"]))
        size = max(2, round(row["height"] * scale)), max(2, round(row["width"] * scale))
        detector = AdaptiveDetector(min_scene_len=1)  # no cut may be left inside a shot, however short its neighbour
        times, cuts = [], []
        try:
            for number, (time, frame) in enumerate(video.frames(row["path"])):
                times.append(time)
                small = cv2.cvtColor(video.resize(frame, size), cv2.COLOR_RGB2BGR)
                cuts += detector.process_frame(FrameTimecode(number, 30.0), small)
        except video.UnreadableVideo as error:
            return {"shots": [], "source_frames": len(times), "fault": "damaged", "error": _without_path(error, row)}
        if (missing := row["declared_frames"] - len(times)) > MISSING_SHARE * row["declared_frames"]:
            error = f"{missing} of {row['declared_frames']} declared frames are missing"
            return {"shots": [], "source_frames": len(times), "fault": "damaged", "error": error}
        if times:
            cuts += detector.post_process(FrameTimecode(len(times) - 1, 30.0))
        end = times[-1] + (times[-1] / (len(times) - 1) if len(times) > 1 else 0)
        inner = sorted({cut.frame_num for cut in cuts} - {0})
        bounds = [0.0, *(times[number] for number in inner), end]
        shots = [
            (round(a, 6), round(b, 6), i > 0, i < len(inner))
            for i, (a, b) in enumerate(zip(bounds, bounds[1:], strict=False))
        ]
        return {"source_seconds": round(end, 6), "source_frames": len(times), "shots": shots}


def _without_path(error: Exception, row: Row) -> str:
    """A unit belongs to content: what it says must not depend on the file's name or place."""
    return str(error).replace(f"{row['path']}: ", "").replace(row["path"], "file")
