"""Black bars beside a picture: letterbox, pillarbox."""

import numpy as np

BLACK = 20
"""Luma (full range) that compressed black stays under."""
STEP = 10
"""Luma by which the picture must be brighter than black where its bar ends."""
SMALLEST = 0.02
"""Share of a side: narrower ones are no bars."""
BRIGHTEST, TYPICAL = 0.98, 0.40
"""Quantiles of a line: nothing in a bar is bright; beside it, at some moment, 0.6 of the picture's line is."""


def profiles(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of an (H, W) full-range luma picture: rows (2, H) and columns (2, W), uint8. First what hardly a pixel of a line
    exceeds, then what most of its pixels exceed. Those of several pictures join by their maximum.
    """
    return _lines(luma), _lines(luma.T)


def _lines(picture: np.ndarray) -> np.ndarray:
    places = [int(quantile * (picture.shape[1] - 1)) for quantile in (TYPICAL, BRIGHTEST)]
    typical, brightest = np.partition(picture, places, axis=1)[:, places].T
    return np.stack([brightest, typical])


def bars(lines: np.ndarray) -> tuple[int, int]:
    """How many lines at the begin and at the end are bars, of (2, n) ``lines`` as :func:`profiles` gives.

    A bar is black at all moments and ends at a straight edge. The dark part of a stage is not one: what is seen first
    beside it is a head or a lamp, not most of a line.
    """
    first, last = _bar(lines), _bar(lines[:, ::-1])
    return (first, last) if first + last < lines.shape[1] else (0, 0)


def _bar(lines: np.ndarray) -> int:
    brightest, typical = lines
    count = len(brightest)
    seen = np.flatnonzero(brightest >= BLACK)
    if not len(seen) or seen[0] < SMALLEST * count:
        return 0
    # the edge may be blurred over a few lines
    edge = np.flatnonzero(typical[seen[0] : seen[0] + max(2, round(SMALLEST * count))] >= BLACK + STEP)
    return int(seen[0] + edge[0]) if len(edge) else 0


def picture_inside(rows: np.ndarray, columns: np.ndarray) -> tuple[float, float, float, float]:
    """What is left of a picture without its bars: top, bottom, left, right as shares of its sides."""
    (above, below), (left, right) = bars(rows), bars(columns)
    height, width = rows.shape[1], columns.shape[1]
    return above / height, 1 - below / height, left / width, 1 - right / width
