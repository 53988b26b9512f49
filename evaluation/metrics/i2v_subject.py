"""Is the reference image in the video, as VBench-I2V asks of its subject?"""

from evaluation.metrics.evidence import Evidence, require_same_aspect
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.similarity import VBENCH, image_to_video

FRAMES, REFERENCE = "dino_vitb16_crop224", "dino_vitb16_crop224_pil"


def _compute(evidence: Evidence) -> Measured:
    require_same_aspect(evidence.generated, evidence.reference, "the reference")
    return image_to_video(evidence.embedded(REFERENCE, "reference"), evidence.embedded(FRAMES, "generated"))


I2V_SUBJECT = Metric(
    name="i2v_subject",
    version=2,
    preprocessing=f"{VBENCH}-dinovitb16-short256-crop224-aa0",
    definition="0.4 max_t a_t + 0.3 mean_t c_t + 0.3 min_t c_t, a_t the cosine of frame and reference image, c_t that "
    "of a frame and the one before, none below 0; CLS of DINO ViT-B/16, middle square. Frames are resized without "
    "antialiasing, as with torchvision to 0.16, which made the leaderboard; the reference by Pillow; it is the image "
    "as the model was given it. A set's value is the mean over videos. Blind to drift: one frame like the reference is "
    "enough, so a copied first frame followed by another person loses little. The curve a_t shows it.",
    source="VBench-I2V, I2V subject",
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"reference"}),
    compute=_compute,
    backbones=frozenset({FRAMES, REFERENCE}),
)
