"""Cuts and flashes, from small colour pictures of every frame."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

CLEAR_CUT = 5.0
"""A moment whose cut sign is higher lies in no window, whatever the detector said."""
FLASH_SECONDS = 0.3
"""What lasts no longer is a flash, and no cut."""
FLASH_LUMA = 12
"""Luma by which a flash changes the picture's mean brightness."""
USUAL_SECONDS = 1.0
LEAST_CHANGE = 3.0
"""0..255: colour changes by this much from frame to frame without meaning anything."""


@dataclass(frozen=True)
class Shot:
    """From ``begin`` up to ``end``, in seconds; ``cut_before``, ``cut_after``: does a cut, or damage, make that end."""

    begin: float
    end: float
    cut_before: bool
    cut_after: bool


class CutDetector:
    """PySceneDetect's AdaptiveDetector over the frames of one span, by number: variable frame rates do no harm."""

    def __init__(self):
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(min_scene_len=1)  # no cut may stay inside a shot, however short its neighbour
        self._count = 0
        self._found: list = []

    def add(self, picture: np.ndarray) -> None:
        """The next frame, (h, w, 3) uint8 BGR."""
        from scenedetect import FrameTimecode

        self._found += self._detector.process_frame(FrameTimecode(self._count, 30.0), picture)
        self._count += 1

    def cuts(self) -> list[int]:
        """Numbers of the frames that begin a shot, without the first frame."""
        from scenedetect import FrameTimecode

        if self._count:
            self._found += self._detector.post_process(FrameTimecode(self._count - 1, 30.0))
            self._count = 0
        return sorted({cut.frame_num for cut in self._found} - {0})


def cut_signs(tiny: np.ndarray, fps: float) -> np.ndarray:
    """(n,): how much frame k looks like the first of a shot, of (n, ...) uint8 tiny colour pictures.

    The mean absolute change of colour from the frame before, over what is usual about it (median within a second,
    at least LEAST_CHANGE). A change that is taken back within FLASH_SECONDS does not count.
    """
    count = len(tiny)
    if count < 2:
        return np.zeros(count, np.float32)
    lasting = max(1, round(FLASH_SECONDS * fps))
    before = np.arange(count - 1)
    change = _apart(tiny, before, before + 1)
    later = _apart(tiny, before, np.minimum(before + 1 + lasting, count - 1))
    earlier = _apart(tiny, np.maximum(before - lasting, 0), before + 1)
    usual = median_filter(change, 2 * max(1, round(USUAL_SECONDS * fps)) + 1, mode="nearest")
    sign = np.minimum(np.minimum(change, later), earlier) / np.maximum(usual, LEAST_CHANGE)
    return np.concatenate([[0], sign]).astype(np.float32)


def _apart(tiny: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute differences, a part of the frames at a time: an hour of frames is large."""
    flat = tiny.reshape(len(tiny), -1)
    found = np.empty(len(one), np.float32)
    for first in range(0, len(one), 4096):
        part = np.s_[first : first + 4096]
        found[part] = np.abs(flat[one[part]].astype(np.int16) - flat[other[part]]).mean(axis=1)
    return found


def flashes(brightness: np.ndarray, times: np.ndarray) -> list[tuple[int, int]]:
    """First frame of each flash and of what follows it: the picture's mean luma leaves its median (over twice
    FLASH_SECONDS) by FLASH_LUMA or more and comes back within FLASH_SECONDS. ``brightness`` and ``times`` are (n,).
    """
    if len(times) < 3:
        return []
    step = float(np.median(np.diff(times)))
    size = 2 * max(1, round(FLASH_SECONDS / max(step, 1e-3))) + 1
    usual = median_filter(brightness.astype(np.float32), size, mode="nearest")
    away = np.concatenate([[False], np.abs(brightness - usual) >= FLASH_LUMA, [False]])
    begins, ends = np.flatnonzero(~away[:-1] & away[1:]), np.flatnonzero(away[:-1] & ~away[1:])
    ends = np.minimum(ends, len(times) - 1)
    return [(int(a), int(b)) for a, b in zip(begins, ends, strict=True) if times[b] - times[a] <= FLASH_SECONDS]


def without_flashes(cuts: list[int], signs: np.ndarray, flashed: list[tuple[int, int]]) -> list[int]:
    """``cuts`` without those that a flash made: the picture after it is the one before it."""
    edges = {edge for flash in flashed for edge in flash}
    return [cut for cut in cuts if not (cut in edges and signs[cut] < CLEAR_CUT)]
