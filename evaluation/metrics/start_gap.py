"""How far the driver's first pose is from the reference's: a difficulty of the pair, whatever is generated."""

from evaluation.metrics.bones import BODY, angle_difference
from evaluation.metrics.evidence import NotComputable
from model.pose.tracks import PoseTrack


def start_gap(reference: PoseTrack, driving: PoseTrack) -> float:
    """Mean angle between the 12 body bones of the reference (one frame) and of the driver's first frame, 0..180°.

    Only bones that both show, long enough to have an angle. Raises NotComputable where there is none.
    """
    (standing, seen), (starting, seen_too) = BODY.usable(reference), BODY.usable(driving)
    both = seen[0] & seen_too[0]
    if not both.any():
        raise NotComputable("reference and driver show no bone in common at the start")
    return float(angle_difference(standing[0], starting[0])[both].mean())
