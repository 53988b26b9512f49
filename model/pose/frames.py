"""The frames an estimator takes."""

from collections.abc import Iterable, Iterator

import numpy as np

from infra.errors import SteadyDancerError

EXPECTED = "uint8 RGB frames of one size, (H, W, 3), are expected."


def checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames of an array (T, H, W, 3) or of a stream, each looked at as it passes.

    Raises SteadyDancerError, naming its index, for a frame that is not uint8 (H, W, 3), has size zero or differs in
    size from the first, and for a stream without a frame.
    """
    first = None
    for index, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray):
            raise SteadyDancerError(f"pose: frame {index} is a {type(frame).__name__}; {EXPECTED}")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise SteadyDancerError(f"pose: frame {index} is {frame.dtype} {frame.shape}; {EXPECTED}")
        first = frame.shape if first is None else first
        if frame.shape != first:
            raise SteadyDancerError(
                f"pose: frame {index} is {frame.shape[1]}x{frame.shape[0]}, the first {first[1]}x{first[0]}; {EXPECTED}"
            )
        yield frame
    if first is None:
        raise SteadyDancerError(f"pose: no frame was given; {EXPECTED}")
