"""How sharp a picture is."""

import cv2
import numpy as np

TAPS = 9
"""Pixels of the mean filter (the paper's)."""
FLAT = 6
"""Luma: neighbours that differ less are no edge. Without this, which is ours, a smooth wall counts as blur."""


def blur(luma: np.ndarray) -> float:
    """Perceptual blur of (H, W) uint8: 0 sharp, 1 blurred. A picture without edges shows nothing sharp: 1.

    Crete, Dolmiere, Ladret, Nicolas 2007, The Blur Effect: how much of the variation between neighbours is still there
    after a mean filter along them, for the worse of both directions.
    """
    worst = 0.0
    for across in (True, False):
        filtered = cv2.blur(luma, (TAPS, 1) if across else (1, TAPS))
        before, after = _variation(luma, across), _variation(filtered, across)
        edges = cv2.threshold(before, FLAT, 0, cv2.THRESH_TOZERO)[1]
        total = cv2.sumElems(edges)[0]
        lost = cv2.sumElems(cv2.min(cv2.subtract(before, after), edges))[0]
        worst = max(worst, 1 - lost / total if total else 1.0)
    return worst


def _variation(picture: np.ndarray, across: bool) -> np.ndarray:
    return cv2.absdiff(picture[:, 1:], picture[:, :-1]) if across else cv2.absdiff(picture[1:], picture[:-1])
