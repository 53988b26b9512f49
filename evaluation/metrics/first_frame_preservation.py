"""Does the video start from the picture it was given, as far as the latent codec lets anything through?"""

import cv2
import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Metric
from evaluation.metrics.psnr import LOSSLESS_DB, frame_psnr
from evaluation.metrics.ssim import WINDOW, frame_ssim

SHIFT = 2  # pixels
WITHIN_DB = 3.0
SHIFTS = sorted(
    ((down, right) for down in range(-SHIFT, SHIFT + 1) for right in range(-SHIFT, SHIFT + 1)),
    key=lambda shift: abs(shift[0]) + abs(shift[1]),
)
"""Nearest first, so that of equally good shifts the smallest is taken."""


def registered(image: np.ndarray, reference: np.ndarray, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The reference without its outer 2 pixels, and the part of ``image`` that differs least from it (squared error).

    (H, W, 3) uint8 both; ``image`` may be shifted by up to 2 pixels in any direction. Raises NotComputable for two
    sizes and where less than ``least`` pixels of a side are left.
    """
    if image.shape != reference.shape:
        raise NotComputable(
            f"the first frame is {image.shape[1]}x{image.shape[0]}, "
            f"the reference as given to a model {reference.shape[1]}x{reference.shape[0]} (by animate.area)"
        )
    height, width = (side - 2 * SHIFT for side in image.shape[:2])
    if min(height, width) < least:
        raise NotComputable(f"frames are smaller than {least + 2 * SHIFT} x {least + 2 * SHIFT}")
    wanted = reference[SHIFT : SHIFT + height, SHIFT : SHIFT + width]
    shifted = (image[SHIFT + y : SHIFT + y + height, SHIFT + x : SHIFT + x + width] for y, x in SHIFTS)
    return min(shifted, key=lambda part: cv2.norm(part, wanted, cv2.NORM_L2SQR)), wanted


def _psnr(evidence: Evidence) -> float:
    return frame_psnr(*registered(evidence.generated[0], evidence.reference))


def _ssim(evidence: Evidence) -> float:
    return frame_ssim(*registered(evidence.generated[0], evidence.reference, least=WINDOW))


def _gap(evidence: Evidence) -> float:
    return frame_psnr(*registered(evidence.ceiling, evidence.reference)) - _psnr(evidence)


def _kept(evidence: Evidence) -> float:
    return float(_gap(evidence) <= WITHIN_DB)


SOURCE = "first-frame preservation of image-to-video models (paper section 3.1), measured directly"

FIRST_FRAME_PSNR = Metric(
    name="first_frame_psnr",
    version=2,
    preprocessing="rgb8-shift2-cap100",
    definition="10 log10(255²/MSE) between the first generated frame and the reference image as preprocessed for the "
    "model, at the best of all shifts by up to 2 pixels; the reference's outer 2 pixels are left out. Bounded by what "
    "the latent codec and the video file let through.",
    source=SOURCE,
    range=(0, LOSSLESS_DB),
    unit="dB",
    direction="higher",
    needs=frozenset({"reference"}),
    compute=_psnr,
)

FIRST_FRAME_SSIM = Metric(
    name="first_frame_ssim",
    version=1,
    preprocessing="rgb8-shift2-gauss11-valid",
    definition="SSIM (as in the metric ssim) between the first generated frame and the reference image as preprocessed "
    "for the model, at the shift by up to 2 pixels that has the best PSNR.",
    source=SOURCE,
    range=(-1, 1),
    unit="",
    direction="higher",
    needs=frozenset({"reference"}),
    compute=_ssim,
)

FIRST_FRAME_GAP = Metric(
    name="first_frame_gap",
    version=1,
    preprocessing="rgb8-shift2-cap100",
    definition="first_frame_psnr of the reference after a round trip through the latent codec, less that of the first "
    "generated frame: what the model loses beyond its codec. Below 0 where the frame is better than the round trip.",
    source=SOURCE,
    range=(-LOSSLESS_DB, LOSSLESS_DB),
    unit="dB",
    direction="lower",
    needs=frozenset({"reference", "ceiling"}),
    compute=_gap,
)

FIRST_FRAME_KEPT = Metric(
    name="first_frame_kept",
    version=1,
    preprocessing="rgb8-shift2-cap100-within3db",
    definition="1 where first_frame_gap is at most 3 dB, else 0: its mean is the share of videos that start from their "
    "reference. A model that only takes the look of a reference has 0.",
    source=SOURCE,
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"reference", "ceiling"}),
    compute=_kept,
)
