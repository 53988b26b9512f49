"""Can every second frame be told from its neighbours?"""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH

BACKBONE = "amt_s"


def _compute(evidence: Evidence) -> Measured:
    if len(evidence.generated) < 3:
        raise NotComputable("a video of less than three frames has none between two others")
    scores = (255 - evidence.embedded(BACKBONE, "generated").astype(np.float64)) / 255
    return Measured(float(np.nanmean(scores)), scores)


MOTION_SMOOTHNESS = Metric(
    name="motion_smoothness",
    version=1,
    preprocessing=f"{VBENCH}-amts-rgb8-pad16-truncated",
    definition="(255 - mean over odd frames t and pixels of |x_t - p_t|) / 255, p_t what AMT-S makes of frames t-1 and "
    "t+1, its values cut to whole levels. 81 frames give 40 comparisons; the last frame of an even number has none. "
    "Always at full size, where VBench may shrink frames to fit a GPU. Rewards stillness: a frozen video has nearly "
    "1, so it says nothing without motion_energy_ratio beside it; and a flicker of every second frame is all it sees.",
    source="VBench, motion smoothness",
    range=(0, 1),
    unit="",
    direction="higher",
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
