"""Whether bones turn when, and the way, they should."""

import numpy as np

from evaluation.metrics.driven_motion import Target, against_both, covered_motion
from evaluation.metrics.evidence import Evidence, NotComputable

FLOOR_DEG_S = 10.0
SHORTEST_S = 0.5


def _compute(evidence: Evidence, target: Target) -> float:
    wanted, made, both = covered_motion(evidence, target).turns()
    steps = both.sum(axis=0)
    wanted, made = (np.where(both, turn - _mean(turn, both), 0) for turn in (wanted, made))
    wanted_size, made_size = (np.sqrt(_mean(turn**2, both)) for turn in (wanted, made))

    floor = np.radians(FLOOR_DEG_S) / evidence.fps
    counted = (steps >= max(3, SHORTEST_S * evidence.fps)) & (wanted_size >= floor)
    if not counted.any():
        raise NotComputable(
            f"no bone of the driver is seen for {SHORTEST_S:g} s with its speed changing by {FLOOR_DEG_S:g} °/s"
        )
    correlation = _mean(wanted * made, both)[counted] / (wanted_size * np.maximum(made_size, floor))[counted]
    return float(correlation.mean())


def _mean(values: np.ndarray, both: np.ndarray) -> np.ndarray:
    """(T-1, B) -> (B,), over the steps of ``both``."""
    return np.where(both, values, 0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)


VELOCITY_CORRELATION, CONTROL_VELOCITY_CORRELATION = against_both(
    name="velocity_correlation",
    version=2,
    preprocessing="bones12-seen0.5-lowpass4hz-floor10deg/s",
    definition="Mean over the 12 body bones of the Pearson correlation between the bone's angular velocity in the "
    "generated video and in {target}, of angles low-passed at 4 Hz, on steps where both show the bone. Counted are "
    "bones seen for half a second whose velocity in {target} has a standard deviation of 10 °/s or more; a smaller one "
    "in the video is taken as 10 °/s, so that a frozen video has 0 and noise does not correlate. 1: in step; -1: the "
    "opposite way. Says nothing of amplitude.",
    source="this project; what bone_angle_error cannot see in a frozen or mirrored video",
    range=(-1, 1),
    unit="",
    direction="higher",
    compute=_compute,
)
