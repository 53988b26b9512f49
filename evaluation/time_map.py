"""Which frame of the driver belongs to a frame of the video: by the time on screen."""

import numpy as np


def by_time(frames: int, fps: float, driving_fps: float) -> np.ndarray:
    """(frames,) int: what the driver shows while each frame of a video at ``fps`` is shown; may lead beyond its end."""
    return np.floor(np.arange(frames) / fps * driving_fps + 1e-6).astype(int)
