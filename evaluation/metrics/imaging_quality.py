"""Are the frames sharp, well exposed and clean, in the eyes of those who rated smartphone photographs?"""

import numpy as np

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH

BACKBONE = "musiq_spaq"


def _compute(evidence: Evidence) -> Measured:
    scores = evidence.embedded(BACKBONE, "generated").astype(np.float64) / 100
    return Measured(float(scores.mean()), scores)


IMAGING_QUALITY = Metric(
    name="imaging_quality",
    version=1,
    preprocessing=f"{VBENCH}-musiqspaq-longer512-aa0",
    definition="Mean over frames of MUSIQ's score (fitted to SPAQ, nominally 0 to 100), over 100, for the frame with "
    "its longer side at most 512. VBench writes a video's value as 0 to 100 and a set's as 0 to 1; this is the latter. "
    "Depends on the frame's size, and looks at single frames.",
    source="VBench, imaging quality, mode 'longer'; own MUSIQ, see the backbone for what was not checked",
    range=(float("-inf"), float("inf")),
    unit="",
    direction="higher",
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
