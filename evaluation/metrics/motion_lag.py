"""By how many frames the generated motion comes after what it should follow."""

import numpy as np

from evaluation.metrics.driven_motion import Target, against_both, covered_motion
from evaluation.metrics.evidence import Evidence, NotComputable

WIDEST_S = 1.0
SHORTEST_S = 1.0
LEAST_CORRELATION = 0.5  # other dances reach 0.4 at some shift


def _compute(evidence: Evidence, target: Target) -> float:
    motion = covered_motion(evidence, target)
    wanted, made, _ = motion.turns()
    if (seconds := len(evidence.generated) / evidence.fps) < SHORTEST_S:
        raise NotComputable(f"{seconds:.2f} s are too short to find a shift in; {SHORTEST_S:g} s are needed")
    wanted_seen = motion.asked[1:] & motion.asked[:-1]
    made_seen = motion.made_seen[1:] & motion.made_seen[:-1]
    widest = min(int(WIDEST_S * evidence.fps), len(wanted) // 2)
    shifts = sorted(range(-widest, widest + 1), key=abs)  # of equals the smallest
    found = [_correlation(wanted, wanted_seen, made, made_seen, shift) for shift in shifts]
    best = int(np.argmax(found))
    if found[best] < LEAST_CORRELATION:
        raise NotComputable(
            f"the video follows the driver at no shift up to {widest} frames (best correlation {found[best]:.2f})"
        )
    ours, theirs = _overlap(len(wanted), shifts[best])
    together = (wanted_seen[ours] & made_seen[theirs]).any(axis=1).sum() / evidence.fps
    if together < SHORTEST_S / 2:
        raise NotComputable(f"video and driver show a bone together for {together:.2f} s only, shifted as they agree")
    return float(shifts[best])


def _overlap(steps: int, shift: int) -> tuple[slice, slice]:
    """Of the target's steps and the video's, which is ``shift`` frames late."""
    early, late = slice(0, steps - abs(shift)), slice(abs(shift), None)
    return (early, late) if shift >= 0 else (late, early)


def _correlation(
    wanted: np.ndarray, wanted_seen: np.ndarray, made: np.ndarray, made_seen: np.ndarray, shift: int
) -> float:
    """Of the target's steps (T-1, B) with those of the video ``shift`` frames later, all bones in one."""
    ours, theirs = _overlap(len(wanted), shift)
    both = wanted_seen[ours] & made_seen[theirs]
    a, b = wanted[ours][both], made[theirs][both]
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


MOTION_LAG, CONTROL_MOTION_LAG = against_both(
    name="motion_lag",
    version=2,
    preprocessing="bones12-seen0.5-lowpass4hz-within1s",
    definition="The shift in frames at which the angular velocities of the generated person's 12 body bones agree best "
    "with those of {target} (normalised cross-correlation, all bones in one; angles low-passed at 4 Hz; up to one "
    "second and half the video). Positive: the video is late; negative: it is early. No value for less "
    "than 1 s of video, where both show a bone together for less than 0.5 s, shifted so, or where the best correlation "
    "is below 0.5. A mean over videos lets late and early cancel.",
    source="this project; argument of the maximum of the cross-correlation",
    range=(-float("inf"), float("inf")),
    unit="frames",
    direction="target",
    target=0.0,
    compute=_compute,
)
