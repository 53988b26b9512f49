"""Are the joints where they belong? Held against the driver on the reference's body, or against the pose as fed."""

import numpy as np

from evaluation.metrics.bones import SEEN, torso_length
from evaluation.metrics.driven_motion import require_coverage, share_by_frame, target_pose
from evaluation.metrics.evidence import Evidence, NotComputable, require_same_aspect
from evaluation.metrics.metric import Measured, Metric
from evaluation.metrics.retargeting import JOINTS, retarget

NEAR = 0.2  # of the torso


def _places(keypoints: np.ndarray) -> np.ndarray:
    return keypoints[:, JOINTS, 0].astype(np.float64) + 1j * keypoints[:, JOINTS, 1]


def _share_near(evidence: Evidence, wanted: np.ndarray, known: np.ndarray, torso: float) -> Measured:
    """``wanted`` (T, 12) in pixels of the video, of which ``known`` (T, 12) can be asked; ``torso`` in its pixels."""
    if not torso > 0:
        raise NotComputable("neither hips nor shoulders are seen, so there is no torso to measure distances by")
    height, width = evidence.generated.shape[1:3]
    inside = (wanted.real >= 0) & (wanted.real < width) & (wanted.imag >= 0) & (wanted.imag < height)
    asked = known & inside
    if not asked.any():
        raise NotComputable("no joint of the driver falls into the picture")
    shown = asked & (evidence.person.scores[:, JOINTS] >= SEEN)
    require_coverage(shown, asked, "joints")
    near = np.abs(_places(evidence.person.keypoints) - wanted) <= NEAR * torso
    return share_by_frame(shown & near, asked)


def _retargeted(evidence: Evidence) -> Measured:
    wanted, known = retarget(evidence.driver, evidence.reference_pose)
    zoom = _zoom(evidence)
    return _share_near(evidence, zoom * wanted, known, zoom * torso_length(evidence.reference_pose))


def _zoom(evidence: Evidence) -> float:
    """From pixels of the reference to those of the video."""
    require_same_aspect(evidence.generated, evidence.reference, "the reference")
    (height, width), (from_height, from_width) = evidence.generated.shape[1:3], evidence.reference.shape[:2]
    return (height / from_height + width / from_width) / 2


def _fed(evidence: Evidence) -> Measured:
    control = target_pose(evidence, "control")
    known = control.scores[:, JOINTS] >= SEEN
    return _share_near(evidence, _places(control.keypoints), known, torso_length(control))


_COUNTED = (
    " Asked for are joints that {} (confidence 0.5 or more) and whose place lies within the picture; one that the "
    "video does not show counts as wrong; where more than half are missing, there is no value."
)

RETARGETED_PCK = Metric(
    name="retargeted_pck",
    version=2,
    preprocessing="joints12-seen0.5-fk-within0.2torso",
    definition="Share of shoulders, elbows, wrists, hips, knees and ankles, over all frames, within 0.2 of the "
    "reference's torso from where they would be if the reference's body moved as the driver: the driver's directions, "
    "each part's length scaled to the reference's (0.5 to 2, measured in the driver's frame nearest to its pose), from "
    "the reference's neck along the driver's way." + _COUNTED.format("the driver shows"),
    source="PCK (Yang and Ramanan 2013) after retargeting; plain PCK is 0 for a perfect transfer to other proportions",
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"driving", "reference", "reference_pose", "pose"}),
    compute=_retargeted,
)

CONTROL_PCK = Metric(
    name="control_pck",
    version=1,
    preprocessing="joints12-seen0.5-within0.2torso",
    definition="Share of shoulders, elbows, wrists, hips, knees and ankles, over all frames, within 0.2 torsos (of the "
    "pose that was fed) from where the pose that was fed to the model has them." + _COUNTED.format("it shows"),
    source="PCK (Yang and Ramanan 2013); the pose that was fed is on the reference's body already",
    range=(0, 1),
    unit="",
    direction="higher",
    needs=frozenset({"control", "pose"}),
    compute=_fed,
)
