"""Does the picture keep its look in CLIP's eyes, as VBench asks of the background?"""

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH, consistency

BACKBONE = "clip_vitb32"


def _compute(evidence: Evidence) -> Measured:
    return consistency(evidence.embedded(BACKBONE, "generated"))


BACKGROUND_CONSISTENCY = Metric(
    name="background_consistency",
    version=1,
    preprocessing=f"{VBENCH}-clipvitb32-short224-crop224-aa0",
    definition="As subject_consistency, with the image embedding of CLIP ViT-B/32 for the middle square of the frame. "
    "A set's value is the mean over videos; VBench weights them by their frames. Nothing in it is about the "
    "background: the person counts as much, and of an upright frame the crop drops top and bottom. Rewards stillness.",
    source="VBench, background consistency; CLIP in fp32",
    range=(0, 1),
    unit="",
    direction="higher",
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
