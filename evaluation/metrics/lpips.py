"""How far frames look from the ground truth."""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric

BACKBONE = "lpips_alex"
SMALLEST = 32
"""Pixels of a side; below, AlexNet's last features are none."""


def _compute(evidence: Evidence) -> Measured:
    if min(evidence.generated.shape[1:3]) < SMALLEST:
        raise NotComputable(f"frames are smaller than {SMALLEST} x {SMALLEST}")
    distances = evidence.embedded(BACKBONE, "generated", "truth").astype(np.float64)
    return Measured(float(distances.mean()), distances)


LPIPS = Metric(
    name="lpips",
    version=2,
    preprocessing="lpips0.1-alexnet-range-1to1",
    definition="Mean over frames of the LPIPS distance (AlexNet, linear heads 0.1, pictures in -1..1 at full size) of "
    "the generated frame and the driver's frame of the same moment, the ground truth resized to the generated size.",
    source="Zhang et al. 2018, arXiv 1801.03924; the package's defaults. VGG16, or pictures in 0..1 as in DisCo and "
    "HumanVid, give other numbers",
    range=(0, float("inf")),
    unit="",
    direction="lower",
    needs=frozenset({"ground_truth"}),
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
