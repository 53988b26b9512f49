"""The share of the bones asked for that are there and point the right way, at one tolerance and over all up to 60°."""

import numpy as np

from evaluation.metrics.bones import BODY, HANDS, BoneSet
from evaluation.metrics.driven_motion import Target, against_both, covered_motion, share_by_frame
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Measured, Metric

TOLERANCE_DEG = 30.0
WIDEST_DEG = 60.0


def _accuracy(evidence: Evidence, target: Target, bones: BoneSet = BODY) -> Measured:
    motion = covered_motion(evidence, target, bones)
    return share_by_frame(motion.shown & (motion.errors <= TOLERANCE_DEG), motion.asked)


def _area(evidence: Evidence) -> Measured:
    """A bone off by e is right at the tolerances from e to 60°, which is 1 - e/60 of them."""
    motion = covered_motion(evidence, "driving")
    right = np.clip(1 - motion.errors / WIDEST_DEG, 0, 1)
    return share_by_frame(np.where(motion.shown, right, 0), motion.asked)


def _hands(evidence: Evidence) -> Measured:
    return _accuracy(evidence, "driving", HANDS)


_ASKED = (
    "Bones asked for: those that {target} shows (confidence of both joints 0.5 or more, at least 0.15 {yardstick} "
    "long) and the reference or the video shows too. A missing one counts as wrong, as does one "
    "that is no longer than 0.05 {yardstick} in the video; where more than half are missing, there is no value: read "
    "missing_bones beside it."
)
_SOURCE = "this project; PCK's idea on angles, which hold across people of other proportions"

MOTION_DRIVING_ACCURACY, CONTROL_MOTION_DRIVING_ACCURACY = against_both(
    name="motion_driving_accuracy",
    version=2,
    preprocessing="bones12-seen0.5-long0.15-within30deg",
    definition="Share of the 12 body bones, over all frames, that point within 30° of those of {target}. "
    + _ASKED.format(target="{target}", yardstick="torsos")
    + " A frozen video can have 0.8: read motion_energy_ratio beside it.",
    source=_SOURCE,
    range=(0, 1),
    unit="",
    direction="higher",
    needs={"reference_pose"},
    compute=_accuracy,
)

MOTION_DRIVING_AREA = Metric(
    name="motion_driving_area",
    version=2,
    preprocessing="bones12-seen0.5-long0.15-area60deg",
    definition="Motion driving accuracy averaged over all tolerances from 0 to 60°, so that it does not hang on one. "
    + _ASKED.format(target="the driver", yardstick="torsos"),
    source=_SOURCE,
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"driving", "reference_pose", "pose"}),
    compute=_area,
)

HAND_MOTION_DRIVING_ACCURACY = Metric(
    name="hand_motion_driving_accuracy",
    version=2,
    preprocessing="bones40-seen0.5-long0.15-within30deg",
    definition="Share of the 2 x 20 bones of the hands, over all frames, that point within 30° of the driver's. "
    + _ASKED.format(target="the driver", yardstick="of the way from the wrist to the middle knuckle"),
    source=_SOURCE,
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"driving", "reference_pose", "pose"}),
    compute=_hands,
)
