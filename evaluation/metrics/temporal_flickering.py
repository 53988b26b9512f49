"""Mean change from frame to frame, as VBench counts it."""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric


def _compute(evidence: Evidence) -> Measured:
    video = evidence.generated
    if len(video) < 2:
        raise NotComputable("a video of one frame has no change over time")
    steps = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(video[:-1], video[1:], strict=True)]
    return Measured((255.0 - float(np.mean(steps))) / 255.0, (255.0 - np.array([np.nan, *steps])) / 255.0)


TEMPORAL_FLICKERING = Metric(
    name="temporal_flickering",
    version=1,
    preprocessing="rgb8-nofilter",
    definition="(255 - mean over frame pairs and pixels of |x_t - x_t+1|) / 255. It rewards stillness: a frozen video "
    "has 1.0, so it says nothing without motion_energy_ratio beside it.",
    source="VBench, temporal flickering, without its filter for static videos",
    range=(0, 1),
    unit="",
    direction="higher",
    compute=_compute,
)
