"""What the camera does and what moves before it, from optical flow between small pictures."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

STEP = 8
"""Pixels between the flow vectors that are looked at."""
RING = 0.2
"""Share of each side that counts as the border of the picture, where the background shows most."""
ROUNDS = 4
LEAST_SPREAD = 0.25
"""Pixels: flow is no more exact than this."""
MOVING = 0.05
"""Picture heights per second: slower is still."""
LEAST_SECONDS = 1e-3
"""Times of frames are no more exact than this."""
SMOOTH_SECONDS = 0.5
"""A camera's intended motion changes more slowly than this (standard deviation of the smoothing)."""


def flow_between(before: np.ndarray, after: np.ndarray, dis) -> np.ndarray:
    """(h, w, 2) pixels, every STEP-th vector of the flow of two (H, W) uint8 pictures. ``dis``: of :func:`new_flow`."""
    return dis.calc(before, after, None)[STEP // 2 :: STEP, STEP // 2 :: STEP]


@dataclass(frozen=True)
class Moved:
    """Between two pictures, in picture heights and shares: the camera's shift (x, y) of the middle, its turn and zoom
    (at half a picture height from the middle), the mean length of its field; what is left of the flow without it.
    """

    shift: tuple[float, float]
    turn: float
    zoom: float
    camera: float
    content: float
    moving: float


def moved(flow: np.ndarray, seconds: float) -> Moved:
    """Of the flow (h, w, 2), in pixels of a picture STEP times as large, over ``seconds``.

    The camera's field is a similarity: u = tx + a x - b y, v = ty + b x + a y, x and y from the middle. Fitted by least
    squares, reweighted (Geman-McClure) so that what moves before the background counts little; from the median flow of
    the picture's border on.
    """
    height, width = flow.shape[:2]
    x, y, ring = _grid(height, width)
    u, v = flow[..., 0], flow[..., 1]
    tx, ty, a, b = float(np.median(u[ring])), float(np.median(v[ring])), 0.0, 0.0
    for _ in range(ROUNDS):
        apart = (u - tx - a * x + b * y) ** 2 + (v - ty - b * x - a * y) ** 2
        spread = max(LEAST_SPREAD**2, float(np.median(apart[ring])) * 2)
        weight = (spread / (spread + apart)) ** 2
        total = float(weight.sum())
        mx, my, mu, mv = (float((weight * of).sum()) / total for of in (x, y, u, v))
        size = float((weight * ((x - mx) ** 2 + (y - my) ** 2)).sum())
        if size > 0:
            a = float((weight * ((x - mx) * (u - mu) + (y - my) * (v - mv))).sum()) / size
            b = float((weight * ((x - mx) * (v - mv) - (y - my) * (u - mu))).sum()) / size
        tx, ty = mu - a * mx + b * my, mv - b * mx - a * my
    tall = height * STEP
    field_u, field_v = tx + a * x - b * y, ty + b * x + a * y
    left = np.hypot(u - field_u, v - field_v) / tall
    return Moved(
        shift=(tx / tall, ty / tall),
        turn=b / 2,
        zoom=a / 2,
        camera=float(np.hypot(field_u, field_v).mean()) / tall,
        content=float(left.mean()),
        moving=float((left > MOVING * seconds).mean()),
    )


@functools.lru_cache(8)
def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (x, y) of the vectors in pixels from the middle, and which of them are at the border."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) * STEP
    ring = np.ones((height, width), bool)
    down, across = max(1, round(RING * height)), max(1, round(RING * width))
    ring[down : height - down, across : width - across] = False
    return x - x.mean(), y - y.mean(), ring


def shake(steps: np.ndarray, seconds: np.ndarray) -> float:
    """Root mean square by which the camera's speed differs from its smoothed self, picture heights / s.

    ``steps`` (n, 4): shift in x and y, turn and zoom (:class:`Moved`) between following pictures; ``seconds`` (n,).
    """
    speed = steps / seconds[:, None]
    usual = max(LEAST_SECONDS, float(np.median(seconds)))
    smooth = gaussian_filter1d(speed, SMOOTH_SECONDS / usual, axis=0, mode="nearest")
    return float(np.sqrt(((speed - smooth) ** 2).sum(axis=1).mean()))


def new_flow():
    """The flow that is used: DIS (Kroeger 2016), its fastest preset, which 160-pixel pictures are large enough for."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
