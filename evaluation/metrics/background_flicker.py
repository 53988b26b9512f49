"""What changes from frame to frame beyond what motion explains: behind the person, and in the whole frame."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from evaluation.metrics.background_fidelity import LEAST_BACKGROUND, mean_of_known
from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.person import masks
from model.video import resize

SMALLEST = 32  # pixels; below it the flow has no pyramid
LONGER_SIDE = 448  # pixels: the flow of larger frames is that of their reduced copies


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread, so that no number depends on how many there are, whatever its release."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def residuals(video: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For frames 1 to T-1 of (T, H, W, 3) uint8: |frame - the one before, moved along the flow|, (H, W, 3) uint8, and
    where the flow comes from inside the picture, (H, W) bool.
    """
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    height, width = video.shape[1:3]
    scale = min(1.0, LONGER_SIDE / max(height, width))
    reduced = max(SMALLEST, round(scale * height)), max(SMALLEST, round(scale * width))
    stretch = np.float32([width / reduced[1], height / reduced[0]])
    place = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    grey = [cv2.cvtColor(resize(image, reduced), cv2.COLOR_RGB2GRAY) for image in video]
    for t in range(1, len(video)):
        flow = flow_of.calc(grey[t], grey[t - 1], None) * stretch
        source = place + cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        moved = cv2.remap(video[t - 1], source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x, y = source[..., 0], source[..., 1]
        yield cv2.absdiff(video[t], moved), (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def _flow_possible(evidence: Evidence) -> None:
    frames, height, width = evidence.generated.shape[:3]
    if frames < 2:
        raise NotComputable("a video of one frame has no change over time")
    if min(height, width) < SMALLEST:
        raise NotComputable(f"frames of {width}x{height} are too small for optical flow ({SMALLEST} pixels)")


def _mean(residual: np.ndarray, where: np.ndarray) -> float:
    """nan where less than 5 % of the picture are left."""
    if where.mean() < LEAST_BACKGROUND:
        return np.nan
    return float(np.mean(cv2.mean(residual, where.astype(np.uint8))[:3]))


def _measured(steps: list[float]) -> Measured:
    return Measured(mean_of_known(np.array(steps)), np.array([np.nan, *steps]))


@_one_thread()
def _everywhere(evidence: Evidence) -> Measured:
    _flow_possible(evidence)
    return _measured([_mean(residual, inside) for residual, inside in residuals(evidence.generated)])


@_one_thread()
def _background(evidence: Evidence) -> Measured:
    _flow_possible(evidence)
    hidden = masks(evidence.person, evidence.generated.shape[1:3])
    frames = zip(residuals(evidence.generated), hidden[:-1], hidden[1:], strict=True)
    return _measured([_mean(residual, inside & ~before & ~now) for (residual, inside), before, now in frames])


_STEP = (
    "mean absolute difference between a frame and the one before it moved along the optical flow (DIS, fast preset, "
    "longer side at most 448), in levels of 255, over the pixels whose flow starts inside the picture{where}"
)
_STILL = (
    "A frozen video has 0, but so has any motion that the flow follows: stillness gains little, unlike in "
    "temporal_flickering. Read motion_energy_ratio beside it."
)
_SOURCE = "warping error of video stylisation (Lai et al. 2018), by DIS flow (Kroeger et al. 2016) and without its mask"

FLOW_FLICKER = Metric(
    name="flow_flicker",
    version=1,
    preprocessing="rgb8-disfast448",
    definition=f"Over frame pairs, {_STEP.format(where='')}. {_STILL} What comes out from behind something counts as "
    "change.",
    source=_SOURCE,
    range=(0, 255),
    unit="levels",
    direction="lower",
    compute=_everywhere,
)

BACKGROUND_FLICKER = Metric(
    name="background_flicker",
    version=1,
    preprocessing="rgb8-disfast448-capsules0.35",
    definition=f"Over frame pairs, {_STEP.format(where=' and where neither frame shows the person')} (the pose's bones "
    f"and trunk, widened by 0.35 torso lengths). {_STILL}",
    source=_SOURCE,
    range=(0, 255),
    unit="levels",
    direction="lower",
    needs=frozenset({"pose"}),
    compute=_background,
)
