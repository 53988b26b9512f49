"""People made of angles and lengths by forward kinematics, so that every metric of poses has a value in closed form.

Angles are radians in picture axes (x right, y down): 0 points right, pi/2 down. The person faces the camera: its left
is the picture's right.
"""

from collections.abc import Mapping

import numpy as np

from evaluation.metrics.evidence import Evidence
from evaluation.metrics.registry import METRICS
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack

DOWN, UP, LEFT, RIGHT = np.pi / 2, -np.pi / 2, np.pi, 0.0

REST = {"spine": UP, "shoulders": LEFT, "hips": LEFT, "left_hand": 0.0, "right_hand": 0.0}
LENGTHS = {"spine": 60.0, "shoulders": 40.0, "hips": 28.0, "head": 22.0, "foot": 10.0, "phalanx": 4.0}
for _side in ("left", "right"):
    REST |= {f"{_side}_{limb}": DOWN for limb in ("upper_arm", "lower_arm", "upper_leg", "lower_leg")}
    LENGTHS |= {f"{_side}_upper_arm": 32.0, f"{_side}_lower_arm": 28.0}
    LENGTHS |= {f"{_side}_upper_leg": 45.0, f"{_side}_lower_leg": 42.0}

ARM_AND_LEG = [f"{side}_{limb}" for side in ("left", "right") for limb in ("upper_arm", "lower_arm")]
ARM_AND_LEG += [f"{side}_{limb}" for side in ("left", "right") for limb in ("upper_leg", "lower_leg")]


def skeleton(
    angles: Mapping[str, np.ndarray | float] | None = None,
    lengths: Mapping[str, float] | None = None,
    *,
    root: np.ndarray | complex = 160 + 170j,
    frames: int = 1,
    unseen: tuple[int, ...] = (),
) -> PoseTrack:
    """``angles``: of some parts of REST, one for all frames or (T,); ``lengths``: of some of LENGTHS, in pixels.

    ``root``: the middle of the hips as x + iy, or (T,) of them. ``left_hand`` and ``right_hand`` turn against the lower
    arm. All joints have score 1 but the ``unseen``, which have 0.
    """
    angles, length = {**REST, **(angles or {})}, {**LENGTHS, **(lengths or {})}
    frames = max(frames, np.size(root), *(np.size(angle) for angle in angles.values()))
    turn = {part: np.broadcast_to(np.asarray(angle, float), (frames,)) for part, angle in angles.items()}
    bone = {part: length[part] * np.exp(1j * turn[part]) for part in turn if part in length}
    place = np.zeros((frames, 133), complex)

    hips = np.broadcast_to(np.asarray(root, complex), (frames,))
    neck = hips + bone["spine"]
    nose = neck + length["head"] * np.exp(1j * turn["spine"])
    place[:, joint.NOSE] = nose
    for number, side in enumerate(("left", "right")):
        half = number - 0.5
        shoulder, hip = neck + half * bone["shoulders"], hips + half * bone["hips"]
        elbow, knee = shoulder + bone[f"{side}_upper_arm"], hip + bone[f"{side}_upper_leg"]
        wrist, ankle = elbow + bone[f"{side}_lower_arm"], knee + bone[f"{side}_lower_leg"]
        for first, point in ((joint.LEFT_SHOULDER, shoulder), (joint.LEFT_ELBOW, elbow), (joint.LEFT_WRIST, wrist)):
            place[:, first + number] = point
        for first, point in ((joint.LEFT_HIP, hip), (joint.LEFT_KNEE, knee), (joint.LEFT_ANKLE, ankle)):
            place[:, first + number] = point
        across = bone["shoulders"] / length["shoulders"] * half
        place[:, joint.LEFT_EYE + number] = nose + across * 8 - 4j
        place[:, joint.LEFT_EAR + number] = nose + across * 18
        toes = ankle[:, None] + length["foot"] * np.exp(1j * np.array([0.9, 1.2, 2.0]))
        place[:, joint.LEFT_BIG_TOE + 3 * number : joint.LEFT_BIG_TOE + 3 * number + 3] = toes
        hand = (joint.LEFT_HAND, joint.RIGHT_HAND)[number]
        place[:, hand] = _hand(wrist, turn[f"{side}_lower_arm"] + turn[f"{side}_hand"], length["phalanx"])
    ring = np.exp(2j * np.pi * np.arange(68) / 68)
    place[:, joint.FACE] = nose[:, None] + 9 * ring.real + 12j * ring.imag

    scores = np.ones((frames, 133), np.float32)
    scores[:, list(unseen)] = 0
    return PoseTrack(np.stack([place.real, place.imag], axis=-1).astype(np.float32), scores)


def _hand(wrist: np.ndarray, direction: np.ndarray, phalanx: float) -> np.ndarray:
    """(T, 21): five straight fingers, spread like a fan; the way from the wrist to the knuckles is two phalanges."""
    points = np.repeat(wrist[:, None], 21, axis=1)
    for finger, spread in enumerate((-0.8, -0.3, 0.0, 0.3, 0.6)):
        along = phalanx * np.exp(1j * (direction + spread))
        for bone in range(4):
            points[:, 1 + 4 * finger + bone] += (2 + bone) * along
    return points


def dance(frames: int = 49, fps: float = 16.0, amplitude: float = 1.0, delay: float = 0.0) -> dict[str, np.ndarray]:
    """Angles (T,) of arms and legs: two slow sines (0.4 to 1.6 Hz) each, of their own, about the rest pose.

    ``delay`` in frames: frame t shows what frame t - delay would have.
    """
    time = (np.arange(frames) - delay) / fps
    angles = {}
    for number, limb in enumerate(ARM_AND_LEG):
        first, second = 0.4 + 0.1 * number, 0.95 + 0.09 * number
        swing = 0.55 * np.sin(2 * np.pi * first * time + number) + 0.25 * np.sin(2 * np.pi * second * time + 2 * number)
        angles[limb] = REST[limb] + amplitude * swing
    return angles


def changed(track: PoseTrack, *, scale: float = 1.0, turn: float = 0.0, shift: complex = 0.0) -> PoseTrack:
    """The track scaled and turned (radians) about the picture's corner, then moved by ``shift`` pixels."""
    place = (track.keypoints[..., 0] + 1j * track.keypoints[..., 1].astype(float)) * scale * np.exp(1j * turn) + shift
    return PoseTrack(np.stack([place.real, place.imag], axis=-1).astype(np.float32), track.scores)


def hidden(track: PoseTrack, *joints: int, frames: slice = slice(None), place: float | None = None) -> PoseTrack:
    """The track with ``joints`` unseen in some frames, and moved to ``place`` in both axes there."""
    keypoints, scores = track.keypoints.copy(), track.scores.copy()
    scores[frames, list(joints)] = 0
    if place is not None:
        keypoints[frames, list(joints)] = place
    return PoseTrack(keypoints, scores)


class Finds:
    """An estimator that finds these people, most prominent first, in every video."""

    def __init__(self, *tracks: PoseTrack):
        self.tracks = list(tracks)

    def estimate(self, frames: np.ndarray) -> list[PoseTrack]:
        return self.tracks


def seen(made: PoseTrack, driving: PoseTrack, fps: float = 16.0, size=(320, 320), **more) -> Evidence:
    """What is known of a video of ``size`` in which the estimator sees ``made``, driven by ``driving``."""
    video = np.broadcast_to(np.uint8(0), (len(made), *size, 3))
    return Evidence(video, fps, driving=driving, driving_fps=fps, estimator=Finds(made), **more)


def value(metric: str, evidence: Evidence) -> float:
    score = METRICS[metric].score(evidence)
    assert score.status == "ok", score.reason
    return score.value


def reason(metric: str, evidence: Evidence) -> str:
    score = METRICS[metric].score(evidence)
    assert (score.status, score.value) == ("not_computable", None), score
    return score.reason
