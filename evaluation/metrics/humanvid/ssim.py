"""SSIM as HumanVid's published evaluation computes it."""

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.humanvid.protocol import SEED, drawn_frame
from evaluation.metrics.metric import Metric
from evaluation.metrics.ssim import ssim_map


def _compute(evidence: Evidence) -> float:
    return float(ssim_map(*drawn_frame(evidence)).mean())


HUMANVID_SSIM = Metric(
    name="humanvid_ssim",
    version=1,
    preprocessing=f"rgb8-gauss11-zeropad-1of24frames-stride3-seed{SEED}-pilbilinear",
    definition="SSIM (K1=0.01, K2=0.03, 11x11 Gaussian window, sigma 1.5, mean over RGB channels) of one frame per "
    "video, drawn of 24, against every third of the ground truth's first 72, resized by Pillow's bilinear filter. As "
    "published, quirks included: windows reach over the edge into black, which both pictures share and which lifts "
    f"the value; a single random frame stands for the video (there without a seed, here by seed {SEED}).",
    source="HumanVid, metrics/metrics.py, setting sample-once",
    range=(-1, 1),
    unit="",
    direction="higher",
    needs=frozenset({"ground_truth"}),
    compute=_compute,
)
