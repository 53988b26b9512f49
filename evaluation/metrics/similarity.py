"""How VBench sums up the cosines of a video's frames: with each other, and with a reference image.

Features are (T, D), of any length. Cosines below 0 count 0.
"""

import numpy as np

from evaluation.metrics.evidence import NotComputable
from evaluation.metrics.metric import Measured

VBENCH = "vbench45e79ec"
"""The commit whose definitions these are; part of the metrics' ids."""
TO_REFERENCE, MEAN_STEP, WORST_STEP = 0.4, 0.3, 0.3


def consistency(features: np.ndarray) -> Measured:
    """Mean over t >= 1 of (cos(f_t, f_t-1) + cos(f_t, f_0)) / 2; the curve has those. Needs two frames."""
    units = _units(features)
    scores = (_cosines(units[1:], units[:-1]) + _cosines(units[1:], units[:1])) / 2
    return Measured(float(scores.mean()), np.concatenate([[np.nan], scores]))


def image_to_video(reference: np.ndarray, features: np.ndarray) -> Measured:
    """0.4 max_t cos(r, f_t) + 0.3 mean_t cos(f_t-1, f_t) + 0.3 min_t of the same, for ``reference`` r (1, D).

    The curve is cos(r, f_t), in which a drift shows that the value does not have. Needs two frames.
    """
    units = _units(features)
    kept, steps = _cosines(units, _units(reference, least=1)), _cosines(units[1:], units[:-1])
    value = TO_REFERENCE * kept.max() + MEAN_STEP * steps.mean() + WORST_STEP * steps.min()
    return Measured(float(value), kept)


def _units(features: np.ndarray, least: int = 2) -> np.ndarray:
    if len(features) < least:
        raise NotComputable("a video of one frame has no change over time")
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _cosines(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.clip((ours * others).sum(axis=1), 0, 1)
