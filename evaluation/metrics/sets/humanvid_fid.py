"""FID as HumanVid's published evaluation computes it."""

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.humanvid.protocol import compared_frames, images_stride
from evaluation.metrics.sets.frechet import frechet_distance
from evaluation.metrics.sets.set_metric import Rows, SetMetric, joined

BACKBONE = "inception_fid_humanvid"


def _rows(evidence: Evidence) -> Rows:
    if evidence.ground_truth is None:
        raise NotComputable("no ground truth: reference and driver are different people")
    if evidence.embedder is None:
        raise NotComputable(f"no backbone: {BACKBONE}")
    generated, truth = compared_frames(evidence, images_stride)
    return evidence.embedder(BACKBONE, truth, None), evidence.embedder(BACKBONE, generated, None)


HUMANVID_FID = SetMetric(
    name="humanvid_fid",
    version=1,
    preprocessing="inception2015pool3-24frames-stride3-squash768-noaa299",
    definition="Fréchet distance of Inception features of 24 frames per video and of the ground truth's 24 (every "
    "third of the first 72). As published, quirks included: pictures are squashed to 768 x 768 whatever their shape, "
    "then shrunk to 299 without antialiasing; the ten test videos give 240 rows for 2048 dimensions, so that most of "
    "the value is bias.",
    source="HumanVid, metrics/video2jpg.py and eval_fid.py; the distance without SciPy's sqrtm, which it equals where "
    "that one succeeds",
    range=(0, float("inf")),
    unit="",
    direction="lower",
    backbone=BACKBONE,
    rows=_rows,
    distance=joined(frechet_distance),
    facts=frozenset({"n"}),
)
