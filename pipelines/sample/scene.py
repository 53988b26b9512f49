"""Where the dancers dance: painted backdrops with some structure, and cameras that stand, pan, zoom or shake."""

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 0.16
"""How much larger than the picture a backdrop is, on every side, as a share of the picture."""


def _gradient(height: int, width: int, top, bottom) -> np.ndarray:
    t = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to((1 - t) * np.asarray(top, float) + t * np.asarray(bottom, float), (height, width, 3)).copy()


def _grain(rng: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """(H, W, 1): blotches of several sizes."""
    out = np.zeros((height, width), np.float32)
    for cell, share in ((4, 0.5), (13, 0.8), (47, 1.0)):
        small = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        out += share * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return (strength * (out + 0.7 * rng.standard_normal((height, width))))[..., None]


def _floor(rng, picture: np.ndarray, horizon: int, colour, lines: int) -> None:
    """A floor of boards that meet far behind."""
    height, width = picture.shape[:2]
    colour = np.asarray(colour, float)
    shade = np.linspace(0.78, 1.08, height - horizon)[:, None, None]
    picture[horizon:] = colour * shade
    far, near = np.linspace(-0.1, 1.1, lines), np.linspace(-1.4, 2.4, lines)
    for a, b, tone in zip(far, near, rng.uniform(0.55, 0.85, lines), strict=True):
        ends = (round(a * width), horizon), (round(b * width), height)
        cv2.line(picture, *ends, tuple(colour * tone), 1, cv2.LINE_AA)
    cv2.line(picture, (0, horizon), (width, horizon), tuple(colour * 0.5), 2, cv2.LINE_AA)


def room(rng: np.random.Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """A bright room: wall with pictures, skirting board, wooden floor."""
    wall = rng.uniform(150, 215, 3)
    picture = _gradient(height, width, wall * 1.08, wall * 0.88)
    for _ in range(int(rng.integers(2, 5))):
        x, y = int(rng.uniform(0, 0.85) * width), int(rng.uniform(0.08, 0.42) * horizon)
        w, h = int(rng.uniform(0.10, 0.2) * width), int(rng.uniform(0.12, 0.26) * height)
        cv2.rectangle(picture, (x, y), (x + w, y + h), tuple(wall * 0.45), -1)
        inner = _gradient(max(h - 8, 1), max(w - 8, 1), rng.uniform(90, 230, 3), rng.uniform(60, 200, 3))
        view = picture[y + 4 : y + h - 4, x + 4 : x + w - 4]
        view[:] = inner[: view.shape[0], : view.shape[1]]
    _floor(rng, picture, horizon, rng.uniform((135, 95, 60), (190, 150, 110)), 13)
    picture[horizon - height // 60 : horizon] = 232
    return picture + _grain(rng, height, width, 2.5)


def stage(rng: np.random.Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """A stage: folds of a curtain, a light cone, a floor that shines."""
    colour = rng.permutation([rng.uniform(95, 130), rng.uniform(35, 65), rng.uniform(45, 85)])
    x = np.linspace(0, 1, width)
    folds = 1 + 0.28 * np.sin(2 * np.pi * x * rng.uniform(14, 22) + 2 * np.sin(9 * x))
    picture = _gradient(height, width, colour * 0.9, colour * 1.2) * folds[None, :, None]
    _floor(rng, picture, horizon, (128, 104, 88), 17)
    y, spot = np.mgrid[0:height, 0:width].astype(np.float32), 0.0
    for centre in (0.3, 0.7):
        beam = np.exp(-(((y[1] / width - centre) / (0.10 + 0.18 * y[0] / height)) ** 2))
        spot = spot + beam * 46
    return picture + np.asarray(spot)[..., None] + _grain(rng, height, width, 2.0)


def street(rng: np.random.Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """A brick wall with a door and windows over a pavement of slabs."""
    brick = rng.uniform((125, 70, 55), (185, 115, 95))
    picture = np.empty((height, width, 3))
    picture[:] = brick * 0.62
    tall, wide = max(height // 46, 5), max(height // 19, 12)
    for row, y in enumerate(range(0, horizon, tall)):
        for x in range(-(row % 2) * wide // 2, width, wide):
            tone = brick * rng.uniform(0.85, 1.12)
            cv2.rectangle(picture, (x, y), (x + wide - 2, y + tall - 2), tuple(tone), -1)
    for left in (0.06, 0.72):
        x, w = int(left * width), int(0.2 * width)
        cv2.rectangle(picture, (x, int(0.14 * height)), (x + w, int(0.44 * height)), (225, 222, 214), -1)
        cv2.rectangle(picture, (x + 5, int(0.14 * height) + 5), (x + w - 5, int(0.44 * height) - 5), (86, 108, 126), -1)
        cv2.line(picture, (x + w // 2, int(0.14 * height)), (x + w // 2, int(0.44 * height)), (225, 222, 214), 4)
    _floor(rng, picture, horizon, (148, 146, 142), 9)
    return picture + _grain(rng, height, width, 4.0)


def plaster(rng: np.random.Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """A rough painted wall with bands of colour."""
    colour = rng.uniform(120, 200, 3)
    picture = _gradient(height, width, colour, colour * 0.92)
    for _ in range(6):
        y, tall = int(rng.uniform(0, 0.9) * horizon), int(rng.uniform(0.02, 0.07) * height)
        a, b = rng.uniform(-0.1, 0.1, 2) * height
        band = np.array([(0, y + a), (width, y + b), (width, y + b + tall), (0, y + a + tall)])
        cv2.fillPoly(picture, [band.astype(np.int32)], tuple(rng.uniform(70, 225, 3)), cv2.LINE_AA)
    _floor(rng, picture, horizon, colour * 0.72, 7)
    return picture + _grain(rng, height, width, 5.0)


def park(rng: np.random.Generator, height: int, width: int, horizon: int) -> np.ndarray:
    """Sky, trees, grass."""
    picture = _gradient(height, width, (118, 168, 222), (214, 228, 236))
    for _ in range(16):
        centre = int(rng.uniform(0, 1) * width), horizon - int(rng.uniform(0.02, 0.22) * height)
        green = rng.uniform((48, 88, 40), (100, 148, 78))
        for _ in range(9):
            offset = rng.normal(0, 0.035 * height, 2)
            at = int(centre[0] + offset[0]), int(centre[1] + offset[1])
            radius = max(int(rng.uniform(0.015, 0.045) * height), 2)
            cv2.circle(picture, at, radius, tuple(green * rng.uniform(0.8, 1.2)), -1, cv2.LINE_AA)
        cv2.rectangle(picture, (centre[0] - 2, centre[1]), (centre[0] + 2, horizon), (82, 62, 46), -1)
    grass = _gradient(height - horizon, width, (98, 138, 72), (128, 168, 88))
    picture[horizon:] = grass + 2.5 * _grain(rng, height - horizon, width, 3.0)
    return picture + _grain(rng, height, width, 2.0)


BACKDROPS = {"room": room, "stage": stage, "street": street, "plaster": plaster, "park": park}


@dataclass(frozen=True)
class Camera:
    """Per frame: ``zoom`` (T,) and how far the view has moved, ``shift`` (T, 2), in shares of the picture's size."""

    zoom: np.ndarray
    shift: np.ndarray

    @classmethod
    def moving(cls, kind: str, times: np.ndarray, rng: np.random.Generator) -> "Camera":
        """``kind``: fixed, pan, zoom, or shaky (jumps of some percent of the picture from frame to frame)."""
        zoom, shift = np.ones_like(times), np.zeros((len(times), 2))
        phase = rng.uniform(0, 2 * np.pi)
        if kind == "pan":
            shift[:, 0] = 0.045 * np.sin(2 * np.pi * times / 9 + phase)
        elif kind == "zoom":
            zoom += 0.05 - 0.05 * np.cos(2 * np.pi * times / 12 + phase)
        elif kind == "shaky":
            steps = rng.normal(0, 0.03, (len(times), 2))
            shift = np.clip(0.6 * np.roll(steps, 1, axis=0) + steps, -0.075, 0.075)
        return cls(zoom, shift)


class Scene:
    """A backdrop seen by a camera. ``size`` is (height, width), ``floor`` the share of the height where the wall
    ends."""

    def __init__(self, kind: str, size: tuple[int, int], camera: Camera, rng: np.random.Generator, floor: float = 0.8):
        self.size, self.camera = size, camera
        height, width = size
        self.margin = (round(MARGIN * width), round(MARGIN * height))
        tall, wide = height + 2 * self.margin[1], width + 2 * self.margin[0]
        horizon = min(self.margin[1] + round(floor * height), tall)
        picture = BACKDROPS[kind](rng, tall, wide, min(horizon, tall - 2))
        self.backdrop = np.clip(picture, 0, 255).astype(np.uint8)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Where points (T, 2) of the unmoved picture, in pixels, are seen."""
        height, width = self.size
        middle = np.array([width / 2, height / 2])
        return (points - middle) * self.camera.zoom[:, None] + middle + self.camera.shift * (width, height)

    def background(self, frame: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        height, width = self.size
        zoom, (x, y) = self.camera.zoom[frame], self.camera.shift[frame] * (width, height)
        if zoom == 1 and x == 0 and y == 0:
            left, top = self.margin
            return np.ascontiguousarray(self.backdrop[top : top + height, left : left + width])
        middle = np.array([width / 2, height / 2])
        offset = middle + (x, y) - zoom * (middle + self.margin)
        matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
        return cv2.warpAffine(
            self.backdrop, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
