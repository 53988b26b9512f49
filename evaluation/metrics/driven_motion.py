"""The generated person's bones beside those of the pose they should follow: the raw driver, or what was fed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from evaluation.metrics.bones import BODY, BoneSet, angle_difference, angle_steps
from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import Measured, Metric
from model.pose.tracks import PoseTrack

Target = Literal["driving", "control"]
COVERAGE = 0.5
STILL_DEG_S = 5.0  # below this a driver's movement is estimator noise
_TARGETS = {"driving": "the driver", "control": "the pose that was fed to the model"}


@dataclass(frozen=True, eq=False)
class DrivenMotion:
    """T frames of B bones, complex vectors in pixels each of its own picture."""

    wanted: np.ndarray
    """(T, B): of the target"""
    wanted_seen: np.ndarray
    """(T, B) bool: and long enough to have an angle"""
    made: np.ndarray
    """(T, B): of the generated person"""
    made_seen: np.ndarray
    """(T, B) bool: and of some length, so that joints on one point are no bone"""
    asked: np.ndarray
    """(T, B) bool: what the target shows and the video has to show, m of the definitions"""
    fps: float

    @property
    def shown(self) -> np.ndarray:
        """(T, B) bool: what was asked and is there, m n of the definitions."""
        return self.asked & self.made_seen

    @property
    def errors(self) -> np.ndarray:
        """(T, B) degrees, 0 to 180; without meaning where not ``shown``."""
        return angle_difference(self.wanted, self.made)

    def turns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Low-passed steps of the target and the video, (T-1, B) radians, and (T-1, B) bool where both show the bone.

        Raises NotComputable for less than two frames in which a bone can be followed, and for a target that stands
        still: there is no movement to be held against.
        """
        if len(self.wanted) < 2:
            raise NotComputable("a video of one frame has no motion")
        both = self.shown[1:] & self.shown[:-1]
        if not both.any():
            raise NotComputable("no bone of the driver is visible in two frames running")
        wanted = angle_steps(self.wanted, self.wanted_seen, self.fps)
        speed = np.degrees(np.abs(wanted[both]).mean()) * self.fps
        if speed < STILL_DEG_S:
            raise NotComputable(f"the driver hardly moves ({speed:.1f} degrees per second and bone)")
        return wanted, angle_steps(self.made, self.made_seen, self.fps), both


def target_pose(evidence: Evidence, target: Target) -> PoseTrack:
    """The pose to follow at the moments of the generated frames."""
    if target == "driving":
        return evidence.driver
    index = evidence.driver_frames(len(evidence.control))
    return PoseTrack(evidence.control.keypoints[index], evidence.control.scores[index])


def driven_motion(
    evidence: Evidence, target: Target, bones: BoneSet = BODY, made: PoseTrack | None = None
) -> DrivenMotion:
    """``made``: the generated person where it is not the evidence's own.

    A bone is asked for where the target shows it, long enough to have an angle; one that the reference hides (the legs
    of a half body) only where the video shows it. Raises NotComputable where nobody was found or nothing is asked for.
    """
    wanted, wanted_seen = bones.usable(target_pose(evidence, target))
    vectors, made_seen = bones.present(evidence.person if made is None else made)
    asked = wanted_seen
    if evidence.reference_pose is not None:
        asked = asked & (bones.vectors(evidence.reference_pose)[1][0] | made_seen)
    if not asked.any():
        raise NotComputable("no bone of the driver can be asked of the generated video")
    return DrivenMotion(wanted, wanted_seen, vectors, made_seen, asked, evidence.fps)


def require_coverage(shown: np.ndarray, asked: np.ndarray, parts: str = "bones") -> None:
    """Raises NotComputable where less than half of what is asked is shown: then the estimator is measured."""
    share = shown.sum() / asked.sum()
    if share < COVERAGE:
        raise NotComputable(f"only {share:.0%} of the driver's {parts} can be seen in the generated video")


def covered_motion(evidence: Evidence, target: Target, bones: BoneSet = BODY) -> DrivenMotion:
    """As :func:`driven_motion`, and refuses what :func:`require_coverage` refuses."""
    motion = driven_motion(evidence, target, bones)
    require_coverage(motion.shown, motion.asked)
    return motion


def share_by_frame(counted: np.ndarray, asked: np.ndarray) -> Measured:
    """Sum of ``counted`` over that of ``asked``, both (T, B), as the value and frame by frame as its curve."""
    total = asked.sum(axis=1)
    curve = np.where(total > 0, counted.sum(axis=1) / np.maximum(total, 1), np.nan)
    return Measured(float(counted.sum() / asked.sum()), curve)


def against_both(
    name: str, compute: Callable[[Evidence, Target], float | Measured], definition: str, needs=frozenset(), **fields
) -> tuple[Metric, Metric]:
    """One definition as two metrics: ``name`` against the raw driver, which is fair across methods, and
    ``control_<name>`` against the pose that was fed, which leaves out what its alignment got wrong.

    ``definition`` says {target} where it names what the video is held against.
    """
    return tuple(
        Metric(
            name=name if target == "driving" else f"control_{name}",
            definition=definition.format(target=words),
            needs=frozenset({target, "pose"} | needs),
            compute=partial(compute, target=target),
            **fields,
        )
        for target, words in _TARGETS.items()
    )
