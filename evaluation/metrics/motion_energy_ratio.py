"""How much the generated body moves, in proportion to what it should follow."""

import numpy as np

from evaluation.metrics.driven_motion import Target, against_both, covered_motion
from evaluation.metrics.evidence import Evidence


def _compute(evidence: Evidence, target: Target) -> float:
    wanted, made, both = covered_motion(evidence, target).turns()
    return float(np.abs(made[both]).sum() / np.abs(wanted[both]).sum())


MOTION_ENERGY_RATIO, CONTROL_MOTION_ENERGY_RATIO = against_both(
    name="motion_energy_ratio",
    version=2,
    preprocessing="bones12-seen0.5-lowpass4hz",
    definition="Total change of the 12 body bones' angles in the generated video over that of {target}, on steps where "
    "both show the bone, of angles low-passed at 4 Hz. A frozen video has 0, half the amplitude 0.5. Half and "
    "twice are equally far from 1; below 0.05 all is as far. Says how much moves, not whether it is right: noise of "
    "the estimator adds to it.",
    source="bone angles do not depend on place, size or proportions, so the ratio holds across identities",
    range=(0, float("inf")),
    unit="",
    direction="target",
    target=1.0,
    scale="log",
    compute=_compute,
)
