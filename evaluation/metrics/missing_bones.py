"""What the generated video lost of the body."""

import numpy as np

from evaluation.metrics.driven_motion import driven_motion, share_by_frame
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric
from model.pose.tracks import PoseTrack


def _compute(evidence: Evidence) -> Measured:
    made = None
    if not evidence.people:
        made = PoseTrack(np.zeros_like(evidence.driver.keypoints), np.zeros_like(evidence.driver.scores))
    motion = driven_motion(evidence, "driving", made=made)
    return share_by_frame(motion.asked & ~motion.made_seen, motion.asked)


MISSING_BONES = Metric(
    name="missing_bones",
    version=2,
    preprocessing="bones12-seen0.5-long0.15",
    definition="Share of the 12 body bones, over all frames, that the driver shows (confidence of both joints 0.5 or "
    "more, at least 0.15 torsos long), but not the generated video (there more than 0.05 torsos: joints on one point "
    "are no bone); a bone that the reference hides is asked for only in frames where the video shows it. 1 where "
    "nobody is found. It has a value however much is missing, unlike the metrics of how bones move.",
    source="missing keypoint rate of the first order motion model's pose evaluation, on bones and across people",
    range=(0, 1),
    unit="",
    direction="lower",
    needs=frozenset({"driving", "reference_pose", "pose"}),
    compute=_compute,
)
