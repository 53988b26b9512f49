"""LPIPS as HumanVid's published evaluation computes it."""

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.humanvid.protocol import SEED, drawn_frame
from evaluation.metrics.metric import Metric

BACKBONE = "lpips_vgg_01"
SMALLEST = 16
"""Pixels of a side; below, VGG's last features are none."""


def _compute(evidence: Evidence) -> float:
    if min(evidence.generated.shape[1:3]) < SMALLEST:
        raise NotComputable(f"frames are smaller than {SMALLEST} x {SMALLEST}")
    generated, truth = drawn_frame(evidence)
    return float(evidence.embedder(BACKBONE, generated[None], truth[None]).item())


HUMANVID_LPIPS = Metric(
    name="humanvid_lpips",
    version=1,
    preprocessing=f"vgg-range01-1of24frames-stride3-seed{SEED}-pilbilinear",
    definition="LPIPS (VGG-16, v0.1) of one frame per video, drawn of 24, against every third of the ground truth's "
    "first 72, resized by Pillow's bilinear filter. As published, quirks included: the network is shown 0..1, "
    "but was fitted to -1..1, so that the value is none of LPIPS; a single random frame stands for the video (there "
    f"without a seed, here by seed {SEED}).",
    source="HumanVid, metrics/metrics.py, setting sample-once; Zhang et al. 2018 for LPIPS",
    range=(0, float("inf")),
    unit="",
    direction="lower",
    needs=frozenset({"ground_truth"}),
    backbones=frozenset({BACKBONE}),
    compute=_compute,
)
