"""A dancer's body and its forward kinematics: motion curves to joints in space, for all frames at once.

Space: x to the right of the picture, y down (the floor is 0, the standing crown -1), z towards the camera, in statures.
Positions are (T, 3). ``side`` is +1 for the dancer's left (the right of the picture when facing the camera), -1 for the
right. Lengths are fractions of the stature as in anthropometric tables (Winter 2009, figure 4.1), heads and hands a
little larger.
"""

from dataclasses import dataclass

import numpy as np

SIDES = {"left": 1.0, "right": -1.0}
# Wrist at (0, 0); (along the fingers, towards the thumb), in hand lengths.
THUMB = ((0.17, 0.17), (0.34, 0.31), (0.51, 0.40), (0.66, 0.46))
KNUCKLES = ((0.50, 0.18), (0.53, 0.03), (0.50, -0.11), (0.44, -0.23))
PHALANGES = ((0.22, 0.14, 0.11), (0.25, 0.15, 0.12), (0.23, 0.14, 0.11), (0.17, 0.11, 0.10))
SPREAD = (0.16, 0.02, -0.13, -0.32)


@dataclass(frozen=True)
class Body:
    """Lengths in statures; ``girth`` multiplies every radius."""

    legs: float = 1.0
    arms: float = 1.0
    shoulders: float = 0.112
    hips: float = 0.056
    head: float = 0.072
    hand: float = 0.112
    girth: float = 1.0

    @property
    def thigh(self) -> float:
        return 0.245 * self.legs

    @property
    def shin(self) -> float:
        return 0.240 * self.legs

    @property
    def spine(self) -> float:
        return 0.815 - 0.53 * self.legs

    @property
    def upper_arm(self) -> float:
        return 0.168 * self.arms

    @property
    def forearm(self) -> float:
        return 0.142 * self.arms


ANKLE = 0.045


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def rotation(yaw, pitch, roll) -> np.ndarray:
    """(T, 3, 3), columns are the turned axes. Positive yaw turns to the picture's right, positive pitch leans forward,
    positive roll leans to the picture's right. Radians."""
    yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
    zero, one = np.zeros_like(yaw, dtype=float), np.ones_like(yaw, dtype=float)

    def matrix(*rows):
        return np.stack([np.stack(row, -1) for row in rows], -2)

    c, s = np.cos(yaw), np.sin(yaw)
    turn = matrix((c, zero, s), (zero, one, zero), (-s, zero, c))
    c, s = np.cos(pitch), np.sin(pitch)
    lean = matrix((one, zero, zero), (zero, c, s), (zero, -s, c))
    c, s = np.cos(roll), np.sin(roll)
    tilt = matrix((c, -s, zero), (s, c, zero), (zero, zero, one))
    return turn @ lean @ tilt


def _local(frame: np.ndarray, x=0.0, y=0.0, z=0.0) -> np.ndarray:
    """A (T, 3) vector given in the axes of ``frame`` (T, 3, 3)."""
    x, y, z = (np.broadcast_to(np.asarray(v, float), frame.shape[:1])[:, None] for v in (x, y, z))
    return frame[:, :, 0] * x + frame[:, :, 1] * y + frame[:, :, 2] * z


def _perpendicular(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return unit(vectors - (vectors * axis).sum(-1, keepdims=True) * axis)


def _hand(wrist, along, palm_normal, side: float, size: float, curl, spread) -> np.ndarray:
    """(T, 21, 3) in the order of COCO-WholeBody: wrist, then thumb to little finger from the root to the tip."""
    thumbward = np.cross(along, palm_normal) * side
    curl, spread = np.asarray(curl)[:, None], np.asarray(spread)[:, None]
    points = [wrist]
    for k, (a, t) in enumerate(THUMB):
        points.append(wrist + size * (along * a + thumbward * t + palm_normal * curl * 0.10 * k))
    for (a, t), lengths, fan in zip(KNUCKLES, PHALANGES, SPREAD, strict=True):
        joint = wrist + size * (along * a + thumbward * t)
        points.append(joint)
        straight = np.cos(fan * spread) * along + np.sin(fan * spread) * thumbward
        bend = np.zeros_like(curl)
        for length, share in zip(lengths, (0.7, 1.0, 0.7), strict=True):
            bend = bend + curl * share
            joint = joint + size * length * (np.cos(bend) * straight + np.sin(bend) * palm_normal)
            points.append(joint)
    return np.stack(points, axis=1)


def _arm(joints: dict, motion: dict, body: Body, name: str, chest: np.ndarray) -> None:
    side = SIDES[name]
    m = {
        key: motion[f"{name}_{key}"]
        for key in ("raise", "forward", "elbow", "twist", "palm", "wrist", "curl", "spread")
    }
    shrug = 0.035 * np.clip(m["raise"] - 1.2, 0, 2)
    shoulder = joints["neck"] + _local(chest, side * (body.shoulders - 0.3 * shrug), 0.012 - shrug)
    up, out = m["raise"], m["forward"]
    upper = _local(chest, side * np.sin(up) * np.cos(out), np.cos(up), np.sin(up) * np.sin(out) + 0.06)
    upper = unit(upper)
    forward = _perpendicular(chest[:, :, 2], upper)
    twist, bend = m["twist"][:, None], m["elbow"][:, None]
    hinge = np.cos(twist) * forward + side * np.sin(twist) * np.cross(upper, forward)
    lower = np.cos(bend) * upper + np.sin(bend) * hinge
    elbow = shoulder + body.upper_arm * upper
    wrist = elbow + body.forearm * lower
    camera = np.broadcast_to([0.0, 0.0, 1.0], lower.shape)
    facing = unit(_perpendicular(camera, lower) + 1e-3 * forward)
    palm = m["palm"][:, None]
    normal = np.cos(palm) * facing + np.sin(palm) * np.cross(lower, facing) * side
    across = np.cross(lower, normal)
    tilt = m["wrist"][:, None]
    along = np.cos(tilt) * lower + np.sin(tilt) * across
    joints[f"{name}_shoulder"], joints[f"{name}_elbow"], joints[f"{name}_wrist"] = shoulder, elbow, wrist
    joints[f"{name}_hand"] = _hand(wrist, along, normal, side, body.hand, m["curl"], m["spread"])


def _leg(joints: dict, ankle: np.ndarray, hip: np.ndarray, heading, lift, body: Body, name: str) -> None:
    """Two-bone inverse kinematics: the knee bends over the foot."""
    side = SIDES[name]
    foot = rotation(heading, 4.0 * lift, 0.0)
    reach = ankle - hip
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    span = np.clip(distance, 0.3 * body.thigh, (body.thigh + body.shin) * 0.9999)
    axis = reach / distance
    along = (body.thigh**2 - body.shin**2 + span**2) / (2 * span)
    out = np.sqrt(np.maximum(body.thigh**2 - along**2, 0))
    pole = foot[:, :, 2] * 1.0 + np.array([0.35 * side, 0.0, 0.0])
    joints[f"{name}_hip"] = hip
    joints[f"{name}_knee"] = hip + axis * along + _perpendicular(pole, axis) * out
    joints[f"{name}_ankle"] = ankle
    joints[f"{name}_heel"] = ankle + _local(foot, 0.0, 0.036, -0.034)
    joints[f"{name}_big_toe"] = ankle + _local(foot, -0.012 * side, 0.038, 0.112)
    joints[f"{name}_small_toe"] = ankle + _local(foot, 0.030 * side, 0.038, 0.095)


def pose(body: Body, motion: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joints (T, 3) by name, hands (T, 21, 3), and the frames "pelvis_axes", "chest_axes", "head_axes" (T, 3, 3).

    ``motion`` holds the curves of :mod:`pipelines.sample.choreography`, each (T,). Feet are planted: their targets
    lead, the pelvis sinks as far as the legs need.
    """
    joints: dict[str, np.ndarray] = {}
    pelvis = rotation(motion["hips_turn"], 0.0, motion["hips_tilt"])
    chest = rotation(motion["hips_turn"] + motion["twist"], motion["bow"], motion["lean"])
    ankles = {
        name: np.stack([motion[f"{name}_foot_x"], -ANKLE - motion[f"{name}_foot_lift"], motion[f"{name}_foot_z"]], -1)
        for name in SIDES
    }
    ground = np.stack([motion["x"], np.zeros_like(motion["x"]), motion["z"]], -1)
    offsets = {name: _local(pelvis, side * body.hips) for name, side in SIDES.items()}
    length = (body.thigh + body.shin) * 0.997
    wanted = -(ANKLE + length) + motion["sink"]
    floors = [wanted]
    for name in SIDES:
        gap = ankles[name] - ground - offsets[name]
        flat = np.minimum(gap[:, 0] ** 2 + gap[:, 2] ** 2, (0.95 * length) ** 2)
        floors.append(gap[:, 1] - np.sqrt(length**2 - flat))
    sharpness = 0.004
    stacked = np.stack(floors)
    peak = stacked.max(0)
    ground[:, 1] = peak + sharpness * np.log(np.exp((stacked - peak) / sharpness).sum(0))
    joints["pelvis"] = ground
    for name in SIDES:
        heading = 0.6 * motion["hips_turn"] + SIDES[name] * motion["turnout"]
        _leg(joints, ankles[name], ground + offsets[name], heading, motion[f"{name}_foot_lift"], body, name)
    joints["waist"] = ground + _local(pelvis, 0.0, -0.42 * body.spine)
    joints["neck"] = joints["waist"] + _local(chest, 0.0, -0.58 * body.spine)
    head = rotation(
        motion["hips_turn"] * 0.6 + motion["twist"] * 0.6 + motion["head_turn"], motion["nod"], motion["head_tilt"]
    )
    joints["head"] = joints["neck"] + _local(chest, 0.0, -0.045, 0.008) + _local(head, 0.0, -body.head * 1.02, 0.012)
    for name in SIDES:
        _arm(joints, motion, body, name, chest)
    joints["pelvis_axes"], joints["chest_axes"], joints["head_axes"] = pelvis, chest, head
    return joints
