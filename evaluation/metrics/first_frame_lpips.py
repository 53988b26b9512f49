"""How far the first frame looks from the picture the video should start from."""

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.first_frame_preservation import SOURCE, registered
from evaluation.metrics.lpips import BACKBONE, SMALLEST
from evaluation.metrics.metric import Metric


def _compute(evidence: Evidence) -> float:
    first, reference = registered(evidence.generated[0], evidence.reference, least=SMALLEST)
    return float(evidence.embedder(BACKBONE, first[None], reference[None]).item())


FIRST_FRAME_LPIPS = Metric(
    name="first_frame_lpips",
    version=1,
    preprocessing="lpips0.1-alexnet-range-1to1-shift2",
    definition="LPIPS (as in the metric lpips) of the first generated frame and the reference image as preprocessed "
    "for the model, at the shift by up to 2 pixels that has the best PSNR.",
    source=SOURCE,
    range=(0, float("inf")),
    unit="",
    direction="lower",
    needs=frozenset({"reference"}),
    compute=_compute,
    backbones=frozenset({BACKBONE}),
)
