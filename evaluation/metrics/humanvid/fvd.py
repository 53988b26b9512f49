"""What HumanVid's published evaluation calls FVD: per video, and no Fréchet distance."""

import numpy as np

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.humanvid.protocol import compared_frames, video_stride
from evaluation.metrics.metric import Metric

BACKBONE = "i3d_logits_prefixes"


def _compute(evidence: Evidence) -> float:
    from PIL import Image

    generated, truth = compared_frames(evidence, video_stride)
    size = generated.shape[2], generated.shape[1]
    truth = np.stack([Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR) for frame in truth])
    made, wanted = (evidence.embedder(BACKBONE, video, None).astype(np.float64) for video in (generated, truth))
    return float(np.square(made - wanted).sum(axis=1).mean())


HUMANVID_FVD = Metric(
    name="humanvid_fvd",
    version=1,
    preprocessing="i3d400-first10to24-stride3-pilbilinear-short224crop",
    definition="Squared distance between the I3D logits (400) of the generated video and its ground truth, mean over "
    "their first 10, 11, ... 24 frames; 24 frames are compared, in the ground truth every third of the first 72. As "
    'published, quirks included: the code is called "FVD", but sees one video at a time, whose covariance it leaves '
    "out, so that nothing of a Fréchet distance is left. Comparable with no other FVD; the mean over videos is the "
    "published number.",
    source="HumanVid, metrics/eval_fvd.py and utils/fvd.py",
    range=(0, float("inf")),
    unit="",
    direction="lower",
    needs=frozenset({"ground_truth"}),
    backbones=frozenset({BACKBONE}),
    compute=_compute,
)
