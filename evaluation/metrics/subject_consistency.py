"""Does everything in the picture keep its look, as VBench asks of the subject?"""

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH, consistency

BACKBONE = "dino_vitb16_short224"


def _compute(evidence: Evidence) -> Measured:
    return consistency(evidence.embedded(BACKBONE, "generated"))


SUBJECT_CONSISTENCY = Metric(
    name="subject_consistency",
    version=1,
    preprocessing=f"{VBENCH}-dinovitb16-short224-aa0",
    definition="Mean over frames t >= 1 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_0))) / 2, f the CLS token of "
    "DINO ViT-B/16 for the whole frame, shorter side 224. A set's value is the mean over videos, as VBench on several "
    "GPUs; on one it weights videos by their frames. Rewards stillness: a frozen video has 1, a dancer who turns has "
    "less. Compares with the first frame made, not with the reference.",
    source="VBench, subject consistency",
    range=(0, 1),
    unit="",
    direction="higher",
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
