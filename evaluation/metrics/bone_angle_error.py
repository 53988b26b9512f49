"""By how many degrees the bones of the generated person point elsewhere than those they should follow."""

import numpy as np

from evaluation.metrics.driven_motion import Target, against_both, covered_motion, share_by_frame
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured


def _compute(evidence: Evidence, target: Target) -> Measured:
    motion = covered_motion(evidence, target)
    return share_by_frame(np.where(motion.shown, motion.errors, 0), motion.shown)


BONE_ANGLE_ERROR, CONTROL_BONE_ANGLE_ERROR = against_both(
    name="bone_angle_error",
    version=2,
    preprocessing="bones12-seen0.5-long0.15",
    definition="Mean angle between the 12 body bones of the generated person and those of {target}, over the bones and "
    "frames that both show (confidence of both joints 0.5 or more; at least 0.15 torsos long in {target}, more than "
    "0.05 in the video). Does not depend on place, size and the lengths of limbs. A missing bone costs nothing: read "
    "missing_bones beside it. A frozen video can be near: read motion_energy_ratio too.",
    source="this project: angles instead of positions, since positions differ between people even where the motion is "
    "the same",
    range=(0, 180),
    unit="°",
    direction="lower",
    compute=_compute,
)
