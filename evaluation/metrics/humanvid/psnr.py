"""PSNR as HumanVid's published evaluation computes it."""

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.humanvid.protocol import SEED, drawn_frame
from evaluation.metrics.metric import Metric
from evaluation.metrics.psnr import mean_squared_error, peak_ratio


def _compute(evidence: Evidence) -> float:
    error = mean_squared_error(*drawn_frame(evidence))
    if error == 0:
        raise NotComputable("the drawn frame equals the ground truth, for which the published PSNR is infinite")
    return peak_ratio(error)


HUMANVID_PSNR = Metric(
    name="humanvid_psnr",
    version=1,
    preprocessing=f"rgb8-1of24frames-stride3-seed{SEED}-pilbilinear",
    definition="10 log10(255²/MSE) of one frame per video, drawn of 24, against every third of the ground truth's "
    "first 72, resized by Pillow's bilinear filter. As published, quirks included: a single random frame stands for "
    f"the video (there without a seed, here by seed {SEED}); equal frames are infinite and have no value here.",
    source="HumanVid, metrics/metrics.py, setting sample-once",
    range=(0, float("inf")),
    unit="dB",
    direction="higher",
    needs=frozenset({"ground_truth"}),
    compute=_compute,
)
