"""How far an action network sees the generated video from its ground truth, clip by clip."""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric

BACKBONE, CLIP_FRAMES = "i3d_logits", 16


def _compute(evidence: Evidence) -> Measured:
    made, wanted = (evidence.embedded(BACKBONE, subject).astype(np.float64) for subject in ("generated", "truth"))
    if not len(made):
        raise NotComputable(f"the video has {len(evidence.generated)} frames, a clip {CLIP_FRAMES}")
    distances = np.square(made - wanted).sum(axis=1)
    curve = np.full(len(evidence.generated), np.nan)
    curve[: len(distances) * CLIP_FRAMES] = np.repeat(distances, CLIP_FRAMES)
    return Measured(float(distances.mean()), curve)


PAIRED_I3D = Metric(
    name="paired_i3d",
    version=2,
    preprocessing="i3d400-clips16-short224crop",
    definition="Mean over clips of 16 frames, one after the other, of the squared distance between the I3D logits (400 "
    "numbers) of the generated clip and of the ground truth's. A number per video, hence with intervals, where a "
    "Fréchet distance of so few clips would be bias.",
    source="the term of FVD that is left of one pair; HumanVid's published FVD is this with other clips",
    range=(0, float("inf")),
    unit="",
    direction="lower",
    needs=frozenset({"ground_truth"}),
    backbones=frozenset({BACKBONE}),
    compute=_compute,
)
