"""From shots to candidate clips."""

import hashlib
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.columns import rounded
from pipelines.scan.shots import CLEAR_CUT, Shot
from pipelines.scan.signals import Signals
from pipelines.work.stage import Row, Stage

GRID = 0.25
"""Seconds between the starts that are considered, from the middle of the shot."""


def clip_id(source_id: str, start: float, frames: int, fps: float) -> str:
    """20 hex digits that name a span of a source: the same content and span, the same id, wherever the file lies."""
    return hashlib.sha256(f"{source_id} {round(start * 1000)} {frames} {fps:g}".encode()).hexdigest()[:20]


@dataclass(frozen=True)
class MakeWindows(Stage):
    """Up to ``candidates`` windows of ``frames`` at ``fps`` of each shot, the liveliest first, none over another. Ends
    that a cut made are trimmed by ``trim_seconds``, since the frame beside a cut may be blended; no window holds a
    clear cut, whatever the cut detector said.

    A shot without room for a window, or shorter than ``min_shot_seconds``, becomes a row with the fault ``too_short``.
    A damaged source without any window becomes one row with the fault ``damaged``, a source with a fault stays one row,
    both without a clip id. ``siblings`` is the number of rows the source became.
    """

    frames: int
    fps: float
    min_shot_seconds: float
    trim_seconds: float
    candidates: int

    reads: ClassVar = ("source_id", "signals", "damage")
    writes: ClassVar = (
        "clip_id", "shot", "shot_start", "shot_end", "start", "frames", "fps", "duration", "siblings", "fault", "error",
    )  # fmt: skip

    def __call__(self, row: Row) -> list[Row]:
        if row.get("fault"):
            return [{"siblings": 1}]
        signals = row["signals"]
        made = [
            window
            for number, shot in enumerate(signals.shots)
            for window in self._windows(row["source_id"], signals, number, shot)
        ]
        if row["damage"] and all("fault" in window for window in made):
            return [{"siblings": 1, "fault": "damaged", "error": row["damage"]}]
        return [window | {"siblings": len(made)} for window in made]

    def _windows(self, source_id: str, signals: Signals, number: int, shot: Shot) -> list[Row]:
        first, last = shot.begin + self.trim_seconds * shot.cut_before, shot.end - self.trim_seconds * shot.cut_after
        needed = self.frames / self.fps
        about = {
            "shot": number,
            "shot_start": shot.begin,
            "shot_end": shot.end,
            "duration": rounded(max(0.0, last - first)),
        }
        starts = []
        if shot.end - shot.begin >= self.min_shot_seconds:
            starts = [start for start in starts_within(first, last, needed) if _one_shot(signals, start, needed)]
        if not starts:
            start = round(shot.begin, 3)
            fault = {"fault": "too_short", "error": self._why_short(last - first, needed)}
            return [{"clip_id": clip_id(source_id, start, 0, self.fps), **fault, **about}]
        return [
            {
                "clip_id": clip_id(source_id, start, self.frames, self.fps),
                "start": start,
                "frames": self.frames,
                "fps": self.fps,
                **about,
            }
            for start in liveliest(starts, needed, signals, (first + last - needed) / 2, self.candidates)
        ]

    def _why_short(self, usable: float, needed: float) -> str:
        needed = max(needed, self.min_shot_seconds)
        if usable >= needed:
            return f"{usable:.2f} s usable, but no {needed:.2f} s of it without a cut inside"
        return f"{usable:.2f} s usable, {needed:.2f} s needed"


def starts_within(first: float, last: float, needed: float) -> list[float]:
    """Whole milliseconds, GRID apart, the one in the middle among them, of windows that lie in first..last."""
    if last - first < needed:
        return []
    lowest, highest = math.ceil(round(first * 1000, 3)), max(0, math.floor(round((last - needed) * 1000, 3)))
    middle = max(lowest, math.floor((first + (last - first - needed) / 2) * 1000))
    step = round(GRID * 1000)
    highest = max(highest, middle)
    return [at / 1000 for at in range(middle - (middle - lowest) // step * step, highest + 1, step)]


def liveliest(starts: list[float], needed: float, signals: Signals, middle: float, count: int) -> list[float]:
    """Up to ``count`` of ``starts`` whose windows do not overlap: those with the most motion, then the nearest to
    ``middle``, then the first.
    """
    ends, total = signals.pair_ends, signals.motion_before
    motion = {
        start: rounded(total[np.searchsorted(ends, start + needed)] - total[np.searchsorted(ends, start)])
        for start in starts
    }
    chosen: list[float] = []
    for start in sorted(starts, key=lambda start: (-motion[start], rounded(abs(start - middle)), start)):
        if len(chosen) < count and all(abs(start - other) >= needed for other in chosen):
            chosen.append(start)
    return chosen


def _one_shot(signals: Signals, start: float, needed: float) -> bool:
    return signals.cut_sign(start, start + needed) < CLEAR_CUT
