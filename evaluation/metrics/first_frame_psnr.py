"""Does the video start from the picture it was given?"""

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Metric
from evaluation.metrics.psnr import LOSSLESS_DB, frame_psnr


def _compute(evidence: Evidence) -> float:
    first = evidence.generated[0]
    if first.shape != evidence.reference.shape:
        raise NotComputable(
            f"the first frame is {first.shape[1]}x{first.shape[0]}, "
            f"the reference as given to the model {evidence.reference.shape[1]}x{evidence.reference.shape[0]}"
        )
    return frame_psnr(first, evidence.reference)


FIRST_FRAME_PSNR = Metric(
    name="first_frame_psnr",
    version=1,
    preprocessing="rgb8-noshift-cap100",
    definition="10 log10(255²/MSE) between the first generated frame and the reference image as preprocessed for the "
    "model. Bounded by what the latent codec and the video file let through.",
    source="first-frame preservation of image-to-video models (paper section 3.1), measured directly",
    range=(0, LOSSLESS_DB),
    unit="dB",
    direction="higher",
    needs=frozenset({"reference"}),
    compute=_compute,
)
