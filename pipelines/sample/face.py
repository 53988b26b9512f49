"""The head: its surface, its 68 landmarks (iBUG order) under an expression, and the painted face.

Head units: half the height of the head, origin in its middle, x to the picture's right when facing the camera, y down,
z out of the face.
"""

from dataclasses import dataclass

import cv2
import numpy as np

CRANIUM = ((0.0, -0.22, -0.12), (0.74, 0.78, 0.86))
JAW = ((0.0, 0.20, 0.06), (0.62, 0.80, 0.70))
HAIR_CAP = ((0.0, -0.37, -0.21), (0.83, 0.77, 0.88))
EARS = ((-0.73, 0.07, -0.10), (0.73, 0.07, -0.10))
REACH = 1.1
_JAW_HEIGHTS = (-0.02, 0.14, 0.30, 0.46, 0.61, 0.75, 0.87, 0.955, 0.995)
_RIGHT_BROW = ((-0.49, -0.15), (-0.41, -0.23), (-0.31, -0.255), (-0.21, -0.24), (-0.11, -0.19))
_RIGHT_EYE = ((-0.445, 0.01), (-0.35, -0.07), (-0.24, -0.07), (-0.145, 0.02), (-0.24, 0.055), (-0.35, 0.06))
_NOSE = (
    (0, -0.03),
    (0, 0.07),
    (0, 0.16),
    (0, 0.25),
    (-0.13, 0.32),
    (-0.07, 0.345),
    (0, 0.36),
    (0.07, 0.345),
    (0.13, 0.32),
)
_UPPER_LIP = ((-0.25, 0.60), (-0.16, 0.555), (-0.06, 0.53), (0, 0.54), (0.06, 0.53), (0.16, 0.555), (0.25, 0.60))
_LOWER_LIP = ((0.16, 0.66), (0.07, 0.695), (0, 0.70), (-0.07, 0.695), (-0.16, 0.66))
_INNER_LIPS = (
    (-0.21, 0.60),
    (-0.09, 0.585),
    (0, 0.59),
    (0.09, 0.585),
    (0.21, 0.60),
    (0.09, 0.612),
    (0, 0.615),
    (-0.09, 0.612),
)
_NOSE_RIDGE = np.array([0.0, 0.06, 0.12, 0.20, 0.06, 0.09, 0.13, 0.09, 0.06])


def _surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """z of the face at (x, y); at the silhouette where there is none."""
    best = np.full(np.broadcast(x, y).shape, -np.inf)
    for (cx, cy, cz), (rx, ry, rz) in (CRANIUM, JAW):
        inside = 1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2
        best = np.maximum(best, np.where(inside >= 0, cz + rz * np.sqrt(np.maximum(inside, 0)), cz))
    return best


def _silhouette(y: float) -> float:
    return max(rx * np.sqrt(max(1 - ((y - cy) / ry) ** 2, 0)) for (_, cy, _), (rx, ry, _) in (CRANIUM, JAW))


def landmarks(blink: np.ndarray, mouth: np.ndarray, smile: np.ndarray) -> np.ndarray:
    """(T, 68, 3) in head units; the arguments are (T,) between 0 and 1."""
    left_jaw = [(-0.97 * _silhouette(y), y) for y in _JAW_HEIGHTS]
    jaw = left_jaw + [(-x, y) for x, y in left_jaw[-2::-1]]
    left_brow = [(-x, y) for x, y in _RIGHT_BROW[::-1]]
    left_eye = [(-_RIGHT_EYE[k][0], _RIGHT_EYE[k][1]) for k in (3, 2, 1, 0, 5, 4)]
    rest = [*jaw, *_RIGHT_BROW, *left_brow, *_NOSE, *_RIGHT_EYE, *left_eye, *_UPPER_LIP, *_LOWER_LIP, *_INNER_LIPS]
    flat = np.repeat(np.array(rest, float)[None], len(blink), axis=0)
    upper, lower = [37, 38, 43, 44], [40, 41, 46, 47]
    flat[:, upper, 1] += (0.105 * blink)[:, None]
    flat[:, lower, 1] -= (0.010 * blink)[:, None]
    flat[:, 55:60, 1] += (0.09 * mouth)[:, None]
    flat[:, 65:68, 1] += (0.10 * mouth)[:, None]
    flat[:, 61:64, 1] -= (0.01 * mouth)[:, None]
    for corner, way in ((48, -1), (60, -1), (54, 1), (64, 1)):
        flat[:, corner, 0] += way * 0.045 * smile
        flat[:, corner, 1] += 0.04 * mouth - 0.045 * smile
    z = _surface(flat[..., 0], flat[..., 1])
    z[:, 27:36] += _NOSE_RIDGE
    return np.concatenate([flat, z[..., None]], axis=-1)


@dataclass(frozen=True)
class Complexion:
    """Colours (RGB) of a head."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray


def paint(points: np.ndarray, look: Complexion, size: int) -> np.ndarray:
    """The face (size, size, 3) uint8 laid out over [-1.1, 1.1] both ways, with its landmarks at ``points`` (68, 2 or
    3)."""
    side = 2 * size
    unit = side / (2 * REACH)
    skin = look.skin
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = skin.astype(np.uint8)

    def at(xy) -> np.ndarray:
        return np.round(((np.asarray(xy, float)[..., :2] + REACH) * unit - 0.5) * 16).astype(np.int32)

    def fill(polygon, colour):
        cv2.fillPoly(picture, [at(polygon)], tuple(float(c) for c in colour), cv2.LINE_AA, 4)

    def stroke(line, colour, width):
        pixels = max(1, round(width * unit))
        cv2.polylines(picture, [at(line)], False, tuple(float(c) for c in colour), pixels, cv2.LINE_AA, 4)

    def disc(centre, radii, colour):
        x, y = at(centre)
        axes = (max(int(radii[0] * unit * 16), 8), max(int(radii[1] * unit * 16), 8))
        cv2.ellipse(picture, (int(x), int(y)), axes, 0, 0, 360, tuple(float(c) for c in colour), -1, cv2.LINE_AA, 4)

    rosy = np.clip(skin * 0.82 + np.array([225, 95, 85]) * 0.18, 0, 255)
    for x in (-0.40, 0.40):
        disc((x, 0.30), (0.19, 0.13), rosy)
        disc((x * 0.73, -0.01), (0.21, 0.13), skin * 0.90)
    disc((0, 0.80), (0.20, 0.05), skin * 0.95)
    picture = cv2.blur(picture, (max(side // 24, 1),) * 2)
    fill(
        [points[27] + [-0.05, 0, 0], points[27] + [0.03, 0, 0], points[30] + [0.02, 0, 0], points[31] + [-0.03, 0, 0]],
        skin * 0.93,
    )
    for eye in (points[36:42], points[42:48]):
        lid = eye[:4]
        stroke(lid + [0, -0.055, 0], skin * 0.78, 0.02)
        openness = float(eye[[4, 5], 1].mean() - eye[[1, 2], 1].mean())
        if openness > 0.045:
            eye_only = np.zeros((side, side), np.uint8)
            cv2.fillPoly(eye_only, [at(eye)], 255, cv2.LINE_AA, 4)
            before = picture.copy()
            fill(eye, (246, 244, 240))
            centre = [eye[:, 0].mean(), eye[:, 1].mean() - 0.004]
            disc(centre, (0.066, 0.066), look.iris * 0.55)
            disc(centre, (0.055, 0.055), look.iris)
            disc(centre, (0.028, 0.028), (16, 13, 13))
            disc((centre[0] - 0.02, centre[1] - 0.022), (0.014, 0.014), (255, 255, 255))
            inside = eye_only[..., None].astype(np.uint16)
            picture[:] = ((picture * inside + before * (255 - inside)) // 255).astype(np.uint8)
            stroke(eye[[3, 4, 5, 0]], skin * 0.62, 0.012)
        stroke(lid, (38, 26, 24), 0.032)
    for brow in (points[17:22], points[22:27]):
        width = np.array([0.012, 0.030, 0.034, 0.034, 0.030])
        width = width if brow[0, 0] < 0 else width[::-1]
        down = np.stack([np.zeros(5), width], -1)
        fill(np.concatenate([brow[:, :2] - down, (brow[:, :2] + down)[::-1]]), look.hair * 0.55 + np.array([14, 8, 6]))
    stroke(points[[31, 32, 33, 34, 35]], skin * 0.62, 0.022)
    for nostril in (32, 34):
        disc(points[nostril] + [0, -0.012, 0], (0.028, 0.016), skin * 0.40)
    fill(np.concatenate([points[48:55], points[64:59:-1]]), look.lips * 0.88)
    fill(np.concatenate([points[[48]], points[[60]], points[67:64:-1], points[[64, 54]], points[55:60]]), look.lips)
    fill(points[60:68], (70, 22, 24))
    gap = float(points[66, 1] - points[62, 1])
    if gap > 0.05:
        teeth = np.array([points[61], points[62], points[63], points[63], points[62], points[61]])
        teeth[3:, 1] += 0.035
        fill(teeth, (240, 236, 228))
    stroke(points[60:65], (92, 34, 34), 0.014)
    for way in (-1, 1):
        stroke([(way * 0.19, 0.36), (way * 0.27, 0.45), (way * 0.31, 0.55)], skin * 0.86, 0.014)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
