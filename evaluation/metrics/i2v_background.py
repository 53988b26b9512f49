"""Is the reference image in the video, as VBench-I2V asks of its background?"""

from evaluation.metrics.evidence import Evidence, require_same_aspect
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH, image_to_video

FRAMES, REFERENCE = "dreamsim", "dreamsim_pil"


def _compute(evidence: Evidence) -> Measured:
    require_same_aspect(evidence.generated, evidence.reference, "the reference")
    return image_to_video(evidence.embedded(REFERENCE, "reference"), evidence.embedded(FRAMES, "generated"))


I2V_BACKGROUND = Metric(
    name="i2v_background",
    version=2,
    preprocessing=f"{VBENCH}-dreamsim-squash224-aa0",
    definition="As i2v_subject, with DreamSim's ensemble on pictures squashed to 224 x 224: similarity of whole "
    "images, of which the person is a part. A set's value is the mean over videos. As blind to drift as i2v_subject.",
    source="VBench-I2V, I2V background",
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"reference"}),
    compute=_compute,
    backbones=frozenset({FRAMES, REFERENCE}),
)
