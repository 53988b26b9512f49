"""Is what surrounds the person still what the reference shows there?"""

from collections.abc import Callable

import cv2
import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.person import masks
from evaluation.metrics.psnr import LOSSLESS_DB, frame_psnr
from evaluation.metrics.ssim import WINDOW, ssim_map

LEAST_BACKGROUND = 0.05  # of the picture
COVERAGE = 0.5
SSIM_EVERY = 4  # frames: it costs more than all else here, and PSNR looks at every frame


def masked_ssim(image: np.ndarray, reference: np.ndarray, hidden: np.ndarray) -> float:
    """Mean SSIM over the windows that hold no pixel of ``hidden`` (H, W) bool; nan where there is none."""
    edge = WINDOW // 2
    free = cv2.dilate(hidden.astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8)) == 0
    free = free[edge:-edge, edge:-edge]
    return float(ssim_map(image, reference)[edge:-edge, edge:-edge][free].mean()) if free.any() else np.nan


def mean_of_known(curve: np.ndarray) -> float:
    """Raises NotComputable where less than half of the frames (or steps) have a background."""
    known = np.isfinite(curve)
    if known.mean() < COVERAGE:
        raise NotComputable(
            f"only {known.mean():.0%} of the frames have a background: "
            "the person fills the picture, or is not found in it"
        )
    return float(curve[known].mean())


def _measure(
    evidence: Evidence, compare: Callable[[np.ndarray, np.ndarray, np.ndarray], float], every: int = 1
) -> Measured:
    video, reference = evidence.generated, evidence.reference
    size = reference.shape[:2]
    if video.shape[1:] != reference.shape:
        raise NotComputable(
            f"frames are {video.shape[2]}x{video.shape[1]}, "
            f"the reference as given to a model {size[1]}x{size[0]} (by animate.area)"
        )
    hidden = masks(evidence.person, size) | masks(evidence.reference_pose, size)
    enough = 1 - hidden.mean(axis=(1, 2)) >= LEAST_BACKGROUND
    curve = np.full(len(video), np.nan)
    for t in range(0, len(video), every):
        if enough[t]:
            curve[t] = compare(video[t], reference, hidden[t])
    return Measured(mean_of_known(curve[::every]), curve)


def _psnr(evidence: Evidence) -> Measured:
    return _measure(evidence, lambda image, reference, hidden: frame_psnr(image[~hidden], reference[~hidden]))


def _ssim(evidence: Evidence) -> Measured:
    if min(evidence.generated.shape[1:3]) < WINDOW:
        raise NotComputable(f"frames are smaller than the {WINDOW} x {WINDOW} window")
    return _measure(evidence, masked_ssim, every=SSIM_EVERY)


_WHERE = (
    "the reference, where neither shows the person (the pose's bones and trunk, widened by 0.35 torso lengths); mean "
    "over the frames with at least 5 % of background. For a camera that stands still; a frozen video is perfect."
)
_NEEDS = frozenset({"reference", "reference_pose", "pose"})
_SOURCE = "this project: VBench's background metrics look at the whole frame, person and all"

BACKGROUND_PSNR = Metric(
    name="background_psnr",
    version=1,
    preprocessing="rgb8-cap100-capsules0.35",
    definition=f"10 log10(255²/MSE) of the generated frame to {_WHERE}",
    source=_SOURCE,
    range=(0, LOSSLESS_DB),
    unit="dB",
    direction="higher",
    needs=_NEEDS,
    compute=_psnr,
)

BACKGROUND_SSIM = Metric(
    name="background_ssim",
    version=1,
    preprocessing="rgb8-gauss11-valid-every4-capsules0.35",
    definition=f"SSIM (as in the metric ssim, windows of only background) of every 4th frame to {_WHERE}",
    source=_SOURCE,
    range=(-1, 1),
    unit="",
    direction="higher",
    needs=_NEEDS,
    compute=_ssim,
)
