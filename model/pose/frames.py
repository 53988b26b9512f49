"""The frames an estimator takes."""

import numpy as np

from infra.errors import SteadyDancerError


def check_frames(frames: np.ndarray) -> None:
    """Raises SteadyDancerError unless ``frames`` is (T, H, W, 3) uint8 with nothing of size zero."""
    ok = isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3
    if not ok or 0 in frames.shape:
        given = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise SteadyDancerError(
            f"pose: {given} given as frames, uint8 RGB (T, H, W, 3) with at least one frame expected."
        )
