"""Peak signal-to-noise ratio against the ground truth."""

import numpy as np

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Metric

LOSSLESS_DB = 100.0


def mean_squared_error(image: np.ndarray, truth: np.ndarray) -> float:
    """Of two uint8 pictures of one shape, in squared grey levels."""
    # float64 before the difference: in uint8 it would wrap around and flatter the score
    return float(np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2))


def peak_ratio(error: float) -> float:
    """10 log10(255² / error), in dB; ``error`` is above 0."""
    return float(10 * np.log10(255.0**2 / error))


def frame_psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """10 log10(255² / MSE) of two uint8 pictures of one shape, in dB; at most 100, which equal pictures have."""
    error = mean_squared_error(image, truth)
    return LOSSLESS_DB if error == 0 else min(LOSSLESS_DB, peak_ratio(error))


def _compute(evidence: Evidence) -> float:
    pairs = zip(evidence.generated, evidence.truth, strict=True)
    return float(np.mean([frame_psnr(image, truth) for image, truth in pairs]))


PSNR = Metric(
    name="psnr",
    version=2,
    preprocessing="rgb8-framemean-cap100",
    definition="Mean over frames of 10 log10(255²/MSE) between the generated frame and the driver's frame of the same "
    "moment, over all pixels and RGB channels; the ground truth is resized to the generated size.",
    source="per-frame mean as in DisCo and HumanVid (not the PSNR of the pooled error); equal frames count 100 dB",
    range=(0, LOSSLESS_DB),
    unit="dB",
    direction="higher",
    needs=frozenset({"ground_truth"}),
    compute=_compute,
)
