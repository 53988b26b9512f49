"""How clearly the generated hands can be made out, in proportion to the driver's."""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Metric
from model.pose.tracks import PoseTrack
from model.pose.wholebody import LEFT_HAND, RIGHT_HAND

LEAST_CONFIDENCE = 0.3


def _confidence(track: PoseTrack) -> float:
    return float(track.scores[:, LEFT_HAND.start : RIGHT_HAND.stop].astype(np.float64).mean())


def _compute(evidence: Evidence) -> float:
    driver = _confidence(evidence.driver)
    if driver < LEAST_CONFIDENCE:
        raise NotComputable(f"the driver's hands can hardly be made out (mean confidence {driver:.2f})")
    return _confidence(evidence.person) / driver


HAND_CONFIDENCE_RATIO = Metric(
    name="hand_confidence_ratio",
    version=1,
    preprocessing="joints42",
    definition="Mean confidence of the 2 x 21 joints of the hands in the generated video over that in the driver, "
    "whose motion blur lowers both. No value where the driver's is below 0.3. Says whether there are hands that look "
    "like hands, not whether they do the right thing: read hand_motion_driving_accuracy beside it.",
    source="hand keypoint confidence (HKC), made relative to the driver",
    range=(0, float("inf")),
    unit="",
    direction="higher",
    needs=frozenset({"driving", "pose"}),
    compute=_compute,
)
