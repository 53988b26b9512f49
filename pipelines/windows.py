"""From shots to candidate clips."""

import hashlib
import math
from dataclasses import dataclass
from typing import ClassVar

from pipelines.stage import Row, Stage


def clip_id(source_id: str, start: float, frames: int, fps: float) -> str:
    """20 hex digits that name a span of a source: the same content and span, the same id, wherever the file lies."""
    return hashlib.sha256(f"{source_id} {round(start * 1000)} {frames} {fps:g}".encode()).hexdigest()[:20]


@dataclass(frozen=True)
class MakeWindows(Stage):
    """One window of ``frames`` at ``fps`` per shot, in its middle: walking in, titles and the walk to the camera are at
    the ends. Ends that a cut made are trimmed by ``trim_seconds`` first, since the frame beside a cut may be blended.

    A shot without room for a window, or shorter than ``min_shot_seconds``, becomes a row with the fault ``too_short``;
    a source with a fault stays one row, without a clip id. ``siblings`` is the number of rows the source became.
    """

    frames: int
    fps: float
    min_shot_seconds: float
    trim_seconds: float

    reads: ClassVar = ("source_id", "shots")
    writes: ClassVar = (
        "clip_id", "shot", "shot_start", "shot_end", "start", "frames", "fps", "duration", "siblings", "fault", "error",
    )  # fmt: skip

    def __call__(self, row: Row) -> list[Row]:
        if row.get("fault"):
            return [{"siblings": 1}]
        return [
            self._window(row, number, *shot) | {"siblings": len(row["shots"])}
            for number, shot in enumerate(row["shots"])
        ]

    def _window(self, row: Row, number: int, begin: float, end: float, cut_before: bool, cut_after: bool) -> Row:
        first, last = begin + self.trim_seconds * cut_before, end - self.trim_seconds * cut_after
        usable, needed = last - first, self.frames / self.fps
        shot = {"shot": number, "shot_start": begin, "shot_end": end, "duration": round(max(0.0, usable), 6)}
        if usable < needed or end - begin < self.min_shot_seconds:
            start = round(begin, 3)
            error = f"{usable:.2f} s usable, {max(needed, self.min_shot_seconds):.2f} s needed"
            return {
                "clip_id": clip_id(row["source_id"], start, 0, self.fps),
                "fault": "too_short",
                "error": error,
                **shot,
            }
        start = max(math.ceil(first * 1000), math.floor((first + (usable - needed) / 2) * 1000)) / 1000
        name = clip_id(row["source_id"], start, self.frames, self.fps)
        return {"clip_id": name, "start": start, "frames": self.frames, "fps": self.fps, **shot}
