"""Are the frames pretty, in the eyes of LAION's raters?"""

import numpy as np

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH

BACKBONE = "laion_aesthetic"


def _compute(evidence: Evidence) -> Measured:
    scores = evidence.embedded(BACKBONE, "generated").astype(np.float64) / 10
    return Measured(float(scores.mean()), scores)


AESTHETIC_QUALITY = Metric(
    name="aesthetic_quality",
    version=1,
    preprocessing=f"{VBENCH}-clipvitl14-short224-crop224-aa0",
    definition="Mean over frames of a linear map of CLIP ViT-L/14's image embedding of length 1, over 10, for the "
    "middle square of the frame. Meant for 0 to 1, but bounded by nothing. Looks at single frames.",
    source="VBench, aesthetic quality, with the linear head of LAION's aesthetic predictor; CLIP in fp32",
    range=(float("-inf"), float("inf")),
    unit="",
    direction="higher",
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
