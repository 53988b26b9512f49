"""Structural similarity against the ground truth, in the convention of the original paper, per RGB channel."""

import cv2
import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Metric

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """SSIM about every pixel and channel of two (H, W, 3) uint8 pictures, (H, W, 3) float64.

    Windows that reach over the edge see zeros there.
    """
    x, y = image.astype(np.float64), truth.astype(np.float64)

    def local_mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_CONSTANT)

    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x, variance_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance * (2 * covariance + C2) / (variance_x + variance_y + C2)


def frame_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean SSIM of two (H, W, 3) uint8 pictures of at least 11 x 11: Gaussian window, no padding."""
    edge = WINDOW // 2
    return float(ssim_map(image, truth)[edge:-edge, edge:-edge].mean())


def _compute(evidence: Evidence) -> float:
    if min(evidence.generated.shape[1:3]) < WINDOW:
        raise NotComputable(f"frames are smaller than the {WINDOW} x {WINDOW} window")
    pairs = zip(evidence.generated, evidence.truth, strict=True)
    return float(np.mean([frame_ssim(image, truth) for image, truth in pairs]))


SSIM = Metric(
    name="ssim",
    version=2,
    preprocessing="rgb8-gauss11-valid",
    definition="Mean over frames, channels and window positions of SSIM (K1=0.01, K2=0.03, L=255; 11x11 Gaussian "
    "window, sigma 1.5, positions that lie wholly inside the frame) against the driver's frame of the same moment.",
    source="Wang et al. 2004, applied to each RGB channel; other conventions differ by up to 0.1 on the same pair",
    range=(-1, 1),
    unit="",
    direction="higher",
    needs=frozenset({"ground_truth"}),
    compute=_compute,
)
