"""How much the generated body moves, in proportion to its driver."""

import numpy as np

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Metric
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

BONES = np.array(
    [
        (joint.LEFT_SHOULDER, joint.LEFT_ELBOW),
        (joint.LEFT_ELBOW, joint.LEFT_WRIST),
        (joint.RIGHT_SHOULDER, joint.RIGHT_ELBOW),
        (joint.RIGHT_ELBOW, joint.RIGHT_WRIST),
        (joint.LEFT_HIP, joint.LEFT_KNEE),
        (joint.LEFT_KNEE, joint.LEFT_ANKLE),
        (joint.RIGHT_HIP, joint.RIGHT_KNEE),
        (joint.RIGHT_KNEE, joint.RIGHT_ANKLE),
        (joint.LEFT_SHOULDER, joint.RIGHT_SHOULDER),
        (joint.LEFT_HIP, joint.RIGHT_HIP),
        (joint.LEFT_SHOULDER, joint.LEFT_HIP),
        (joint.RIGHT_SHOULDER, joint.RIGHT_HIP),
    ]
)
SEEN = 0.5
SHORTEST_BONE = 0.15  # of the torso; a bone that points at the camera has no usable angle
CUTOFF_HZ = 4.0
STILL_DEG_S = 5.0  # below this a driver's movement is estimator noise
COVERAGE = 0.5


def bone_vectors(track: PoseTrack) -> tuple[np.ndarray, np.ndarray]:
    """The 12 body bones as complex numbers in pixels, (T, 12), and whether both their ends are seen, (T, 12) bool."""
    points = track.keypoints[..., 0].astype(np.float64) + 1j * track.keypoints[..., 1]
    seen = track.scores >= SEEN
    return points[:, BONES[:, 1]] - points[:, BONES[:, 0]], seen[:, BONES].all(axis=2)


def _long_enough(bones: np.ndarray, seen: np.ndarray) -> np.ndarray:
    torso = np.abs(bones[:, 10:12])[seen[:, 10:12]]
    if not len(torso):  # half body: no hips in the picture
        torso = 1.5 * np.abs(bones[:, 8])[seen[:, 8]]
    return np.abs(bones) >= SHORTEST_BONE * np.median(torso) if len(torso) else np.ones_like(seen)


def angle_steps(bones: np.ndarray, seen: np.ndarray, fps: float) -> np.ndarray:
    """|change of angle| from frame to frame, radians, (T-1, 12), of directions low-passed at 4 Hz over seen frames.

    Directions are averaged as unit vectors under a Gaussian whose gain is 1/sqrt(2) at the cut-off; unseen frames weigh
    nothing.
    """
    sigma = np.sqrt(np.log(2)) / (2 * np.pi * CUTOFF_HZ) * fps
    frame = np.arange(len(bones))
    weights = np.exp(-0.5 * ((frame[:, None] - frame) / sigma) ** 2)
    length = np.abs(bones)
    direction = np.where(seen & (length > 0), bones / np.where(length > 0, length, 1), 0)
    smooth = weights @ direction
    return np.abs(np.angle(smooth[1:] * smooth[:-1].conj()))


def _compute(evidence: Evidence) -> float:
    if len(evidence.generated) < 2:
        raise NotComputable("a video of one frame has no motion")
    driver = evidence.driver
    if not evidence.people:
        raise NotComputable("nobody was found in the generated video")
    wanted, wanted_seen = bone_vectors(driver)
    made, made_seen = bone_vectors(evidence.people[0])
    wanted_seen &= _long_enough(wanted, wanted_seen)

    steps_wanted = wanted_seen[1:] & wanted_seen[:-1]
    steps = steps_wanted & made_seen[1:] & made_seen[:-1]
    if not steps_wanted.any():
        raise NotComputable("no bone of the driver is visible in two frames running")
    if steps.sum() < COVERAGE * steps_wanted.sum():
        share = steps.sum() / steps_wanted.sum()
        raise NotComputable(f"only {share:.0%} of the driver's bones can be seen in the generated video")

    energy_wanted = angle_steps(wanted, wanted_seen, evidence.fps)[steps].sum()
    energy_made = angle_steps(made, made_seen, evidence.fps)[steps].sum()
    speed = np.degrees(energy_wanted) / steps.sum() * evidence.fps
    if speed < STILL_DEG_S:
        raise NotComputable(f"the driver hardly moves ({speed:.1f} degrees per second and bone)")
    return energy_made / energy_wanted


MOTION_ENERGY_RATIO = Metric(
    name="motion_energy_ratio",
    version=1,
    preprocessing="bones12-seen0.5-lowpass4hz",
    definition="Total change of the 12 body bones' angles in the generated video over that of the driver, on "
    "steps where both show the bone. A frozen video has 0, half the amplitude 0.5. Says how much moves, not whether "
    "it is right.",
    source="bone angles do not depend on place, size or proportions, so the ratio holds across identities",
    range=(0, float("inf")),
    unit="",
    direction="target",
    target=1.0,
    needs=frozenset({"driving", "pose"}),
    compute=_compute,
)
