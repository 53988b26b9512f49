"""Which frame of the driver belongs to a frame of the video: by the time on screen."""

import numpy as np

SAME_RATE = 0.005
"""Rates that differ by less are one rate: 23.976 and 24, or 30 and what a container makes of it."""
ROUNDING = 0.02
"""Of a frame of the driver, by which rounded rates may put it too late."""


def by_time(frames: int, fps: float, driving_fps: float) -> np.ndarray:
    """(frames,) int: what the driver shows while each frame of a video at ``fps`` is shown; may lead beyond its end."""
    ratio = driving_fps / fps
    if abs(ratio - 1) < SAME_RATE:
        return np.arange(frames)
    return np.floor(np.arange(frames) * ratio + ROUNDING).astype(int)
