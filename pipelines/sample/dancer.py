"""A dressed dancer: places its joints in the picture, paints it, and tells where all 133 COCO-WholeBody points are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.sample import face
from pipelines.sample.canvas import Canvas, Surface
from pipelines.sample.ellipsoids import Ellipsoids
from pipelines.sample.skeleton import SIDES, Body, pose
from pipelines.sample.tubes import Tube, Tubes

BODY, FEET, FACE, LEFT_HAND, RIGHT_HAND = slice(0, 17), slice(17, 23), slice(23, 91), slice(91, 112), slice(112, 133)
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
# How far, in statures, the seen surface may lie before a joint that still counts as seen.
_FLESH = np.concatenate([np.full(17, 0.085), np.full(6, 0.05), np.full(68, 0.02), np.full(42, 0.03)])
_FLESH[:5] = 0.03


@dataclass(frozen=True)
class Outfit:
    """Colours are RGB arrays. ``sleeve`` is the covered share of the arm (0..2, elbow at 1), ``leg`` likewise."""

    complexion: face.Complexion
    hair_style: str
    shirt: np.ndarray
    stripe: np.ndarray
    sleeve: float
    bottom: np.ndarray
    leg: float
    skirt: bool
    shoes: np.ndarray


@dataclass(frozen=True)
class View:
    """The camera, per frame: pixels of a stature (T,), where the floor point (0, 0, 0) lies (T, 2), downward tilt."""

    scale: np.ndarray
    origin: np.ndarray
    tilt: float = 0.11

    @property
    def matrix(self) -> np.ndarray:
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[1.0, 0, 0], [0, c, s], [0, -s, c]])


class Dancer:
    """One dancer through a whole video. ``motion`` as :func:`pipelines.sample.choreography.dance` makes it."""

    def __init__(self, body: Body, outfit: Outfit, motion: dict[str, np.ndarray], view: View):
        self.body, self.outfit = body, outfit
        joints = pose(body, motion)
        self.scale = view.scale
        shift = np.concatenate([view.origin, np.zeros((len(view.scale), 1))], axis=1)
        self.joints: dict[str, np.ndarray] = {}
        for name, value in joints.items():
            if name.endswith("_axes"):
                self.joints[name] = view.matrix @ value
            else:
                spread = (slice(None),) + (None,) * (value.ndim - 2)
                self.joints[name] = value @ view.matrix.T * view.scale[spread + (None,)] + shift[spread]
        # An expression takes one of few states, so that a face is painted once for each.
        self.expression = np.stack([np.round(motion[key] * 8) / 8 for key in ("blink", "mouth", "smile")], axis=1)
        self.features = face.landmarks(*self.expression.T)
        tubes = [*self._trunk(), *self._head()]
        for name in SIDES:
            tubes += [*self._arm(name), *self._leg(name)]
        self.tubes = Tubes(tubes, self.scale * body.girth)
        self._faces: dict[tuple[float, ...], np.ndarray] = {}

    def _on_head(self, points: np.ndarray) -> np.ndarray:
        """Head units (..., N, 3) to picture space (T, N, 3)."""
        size = (self.body.head * self.scale)[:, None, None]
        return self.joints["head"][:, None] + size * (points @ self.joints["head_axes"].transpose(0, 2, 1))

    def points(self) -> np.ndarray:
        """(T, 133, 3) in COCO-WholeBody order: x, y in pixels and z towards the camera."""
        j = self.joints
        features = self._on_head(self.features)
        ears = self._on_head(np.array(face.EARS))
        out = np.empty((len(self.scale), 133, 3))
        out[:, 0] = features[:, 30]
        out[:, 1], out[:, 2] = features[:, 42:48].mean(1), features[:, 36:42].mean(1)
        out[:, 3], out[:, 4] = ears[:, 1], ears[:, 0]
        for k, limb in enumerate(_LIMBS):
            out[:, 5 + 2 * k], out[:, 6 + 2 * k] = j[f"left_{limb}"], j[f"right_{limb}"]
        for start, name in ((17, "left"), (20, "right")):
            for k, part in enumerate(("big_toe", "small_toe", "heel")):
                out[:, start + k] = j[f"{name}_{part}"]
        out[:, FACE] = features
        out[:, LEFT_HAND], out[:, RIGHT_HAND] = j["left_hand"], j["right_hand"]
        return out

    def scores(self, points: np.ndarray, depth: np.ndarray, frame: int) -> np.ndarray:
        """(133,): 1 where seen, 0.5 where something nearer hides it in ``depth`` (H, W), 0 outside of the picture."""
        height, width = depth.shape
        x, y = np.round(points[:, 0]).astype(int), np.round(points[:, 1]).astype(int)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        front = depth[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
        hidden = front > points[:, 2] + _FLESH * self.scale[frame]
        return np.where(inside, np.where(hidden, 0.5, 1.0), 0.0).astype(np.float32)

    def surfaces(self, canvas: Canvas, frame: int) -> list[Surface]:
        """What to paint on ``canvas`` for the dancer of ``frame``."""
        look = self.outfit.complexion
        head = self.joints["head"][frame], self.joints["head_axes"][frame], float(self.scale[frame] * self.body.head)
        return [
            self.tubes.surface(canvas, frame),
            Ellipsoids(*head, (face.CRANIUM, face.JAW), look.skin, self._face(frame)).surface(canvas),
            Ellipsoids(*head, (face.HAIR_CAP,), look.hair).surface(canvas),
        ]

    def _trunk(self) -> Iterator[Tube]:
        outfit, j, scale = self.outfit, self.joints, self.scale[:, None]
        pelvis, waist, neck = j["pelvis"], j["waist"], j["neck"]
        t = np.linspace(0, 1, 40)
        wide, deep = self.body.shoulders / 0.112, self.body.hips / 0.056
        levels, widths = (0, 0.10, 0.40, 0.72, 0.90, 1), (0.094, 0.096, 0.076, 0.098, 0.088, 0.05)
        half = np.interp(t, levels, np.array(widths) * (deep, deep, 1, wide, wide, 1))
        depth = np.interp(t, (0, 0.10, 0.40, 0.72, 1), (0.066, 0.070, 0.056, 0.072, 0.045))
        hips, ribs = j["pelvis_axes"][:, None, :, 0], j["chest_axes"][:, None, :, 0]
        across = hips + t[:, None] * (ribs - hips)
        turned = np.arctan2(across[..., 2], np.hypot(across[..., 0], across[..., 1]))
        seen = np.hypot(half * np.cos(turned), depth * np.sin(turned))
        axis = neck - pelvis
        sideways = np.stack([-axis[:, 1], axis[:, 0]], -1) / np.hypot(axis[:, 0], axis[:, 1])[:, None]
        sag = ((waist - pelvis)[:, :2] * sideways).sum(-1, keepdims=True) / scale / self.body.girth
        paint = np.repeat(outfit.shirt[None], len(t), axis=0)
        paint[(t > 0.55) & (t < 0.66)] = outfit.stripe
        paint[t < 0.26] = outfit.bottom
        paint[(t > 0.235) & (t < 0.26)] = outfit.bottom * 0.55
        yield Tube(pelvis - 0.10 * axis, neck, seen, paint, half * depth / seen, sag * np.sin(np.pi * t), cap=0.35)
        for name in SIDES:
            yield Tube(neck - 0.02 * axis, j[f"{name}_shoulder"], np.array([0.046, 0.040]), outfit.shirt)
        nape = self._on_head(np.array([[0, 0.3, -0.2]]))[:, 0]
        yield Tube(neck + 0.02 * axis, nape, np.array([0.036, 0.034]), outfit.complexion.skin * 0.93)
        if outfit.skirt:
            left, right = j["left_knee"], j["right_knee"]
            spread = np.abs(left - right)[:, :1] / scale / 2
            wide = np.maximum(0.155, spread + 0.07)
            opening = np.linspace(0, 1, 12)
            flare = np.interp(opening, (0, 0.2, 0.35, 1), (0.088, 0.112 * deep, 0.122 * deep, 0)) + opening**2 * wide
            flare = np.maximum(flare, 0.085 + opening * (wide - 0.085))
            hem = pelvis + 0.80 * ((left + right) / 2 - pelvis)
            yield Tube(pelvis + 0.10 * axis, hem, flare, outfit.bottom, 0.8 * flare, cap=0.12, pleats=22.0)

    def _head(self) -> Iterator[Tube]:
        look, unit = self.outfit.complexion, self.body.head / self.body.girth

        def tube(a, b, radii, paint) -> Tube:
            a, b = (self._on_head(np.array(p, float).reshape(-1, 1, 3))[:, 0] for p in (a, b))
            return Tube(a, b, np.array(radii) * unit, paint)

        for x, y, z in face.EARS:
            yield tube((x, y - 0.07, z), (x * 0.97, y + 0.09, z + 0.02), (0.085, 0.06), look.skin * 0.94)
        bridge, tip = self.features[:, 28], self.features[:, 30]
        yield tube(bridge - [0, 0, 0.05], tip - [0, 0.03, 0.11], (0.055, 0.10), look.skin * 1.01)
        yield tube(tip + [-0.075, 0.035, -0.13], tip + [0.075, 0.035, -0.13], (0.06, 0.06), look.skin * 1.01)
        style = self.outfit.hair_style
        if style == "long":
            for x in (-0.45, 0.0, 0.45):
                yield tube((x, -0.2, -0.45), (1.15 * x, 1.55, -0.55), (0.42, 0.30), look.hair * 0.93)
        elif style == "bob":
            for x in (-0.62, -0.3, 0.3, 0.62):
                yield tube((x, -0.2, -0.35), (1.12 * x, 0.72, -0.38), (0.30, 0.24), look.hair * 0.95)
        elif style == "bun":
            yield tube((0, -1.10, -0.35), (0, -1.22, -0.40), (0.30, 0.26), look.hair)

    def _face(self, frame: int) -> np.ndarray:
        state = tuple(self.expression[frame])
        if state not in self._faces:
            size = int(np.clip(np.ceil(2 * face.REACH * self.scale.max() * self.body.head), 48, 400))
            self._faces[state] = face.paint(self.features[frame], self.outfit.complexion, size)
        return self._faces[state]

    def _arm(self, name: str) -> Iterator[Tube]:
        outfit, skin, j = self.outfit, self.outfit.complexion.skin, self.joints
        shoulder, elbow, wrist = (j[f"{name}_{part}"] for part in ("shoulder", "elbow", "wrist"))
        yield _dressed(shoulder, elbow, (0.036, 0.034, 0.030, 0.027), outfit.sleeve, outfit.shirt * 0.97, skin)
        yield _dressed(elbow, wrist, (0.027, 0.0285, 0.024, 0.018), outfit.sleeve - 1, outfit.shirt * 0.97, skin)
        hand, size = j[f"{name}_hand"], self.body.hand / self.body.girth
        for root in (5, 9, 13, 17):
            yield Tube(hand[:, 0], hand[:, root], np.array([0.13, 0.10]) * size, skin)
        yield Tube(hand[:, 1], hand[:, 5], np.array([0.11, 0.09]) * size, skin)
        for first in range(1, 21, 4):
            thick = (0.092, 0.078, 0.072, 0.060) if first == 1 else (0.074, 0.068, 0.062, 0.052)
            tone = skin * (0.95 if (first // 4) % 2 else 1.02)
            for k in range(3):
                yield Tube(hand[:, first + k], hand[:, first + k + 1], np.array(thick[k : k + 2]) * size, tone)

    def _leg(self, name: str) -> Iterator[Tube]:
        outfit, skin = self.outfit, self.outfit.complexion.skin
        parts = ("hip", "knee", "ankle", "heel", "big_toe", "small_toe")
        hip, knee, ankle, heel, toe, small = (self.joints[f"{name}_{part}"] for part in parts)
        yield _dressed(hip, knee, (0.058, 0.058, 0.049, 0.039), outfit.leg, outfit.bottom, skin)
        yield _dressed(knee, ankle, (0.039, 0.042, 0.034, 0.024), outfit.leg - 1, outfit.bottom, skin)
        down = 0.008 * self.scale[:, None] * np.array([0, 1, 0])
        front = (toe + small) / 2
        yield Tube(heel - down, front - down, np.array([0.027, 0.030, 0.030, 0.026]), outfit.shoes)
        yield Tube(ankle, heel - down, np.array([0.026, 0.026]), outfit.shoes)
        yield Tube(heel + down, front + down, np.array([0.026, 0.029, 0.029, 0.024]), outfit.shoes * 0.4 + 120)


def _dressed(a, b, radii, covered: float, cloth: np.ndarray, skin: np.ndarray) -> Tube:
    """A limb whose first ``covered`` share is in cloth."""
    t = np.linspace(0, 1, 48)
    inside = t < covered
    wide = np.interp(t, np.linspace(0, 1, len(radii)), radii) + np.where(inside, 0.0065, 0)
    return Tube(a, b, wide, np.where(inside[:, None], cloth, skin))
