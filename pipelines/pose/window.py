"""Reading a window once, at analysis size: all that is measured in the unit `pose` is measured on these frames.

Columns are defined in :mod:`pipelines.columns`; what measures them is in `people.py`, `bodies.py` and `appearance.py`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.ingest import fetching
from pipelines.work.stage import Row, Stage

ANALYSIS_AREA = 640 * 640
"""Pixels: larger frames are scored at this area, in their aspect."""


def analysis_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which a picture of that size is scored."""
    scale = min(1.0, math.sqrt(ANALYSIS_AREA / (height * width)))
    return max(2, round(height * scale)), max(2, round(width * scale))


@dataclass(frozen=True)
class ReadWindow(Stage):
    """The window's frames (T, H, W, 3) uint8 RGB, cut to ``crop``, at the analysis size of what is left."""

    area: int = ANALYSIS_AREA

    reads: ClassVar = ("path", "start", "frames", "fps", "crop")
    local: ClassVar = ("images",)
    memory: ClassVar = 1 * 2**30
    version: ClassVar = 2

    def seconds_allowed(self, row: Row) -> float:
        return self.deadline + fetching.seconds(row)

    def __call__(self, row: Row) -> Row:
        from model import video

        size = analysis_size(*row["crop"][2:])
        return {
            "images": video.read_at(fetching.local(row), row["start"], row["frames"], row["fps"], size, row["crop"])
        }


def sampled(images: np.ndarray, samples: int) -> np.ndarray:
    """At most ``samples`` of the frames, spread evenly: the middles of as many equal parts of the window."""
    samples = min(samples, len(images))
    return images[((np.arange(samples) + 0.5) * len(images) / samples).astype(int)]
