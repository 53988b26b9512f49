"""Rounded bodies of varying, round or elliptic thickness along an axis: limbs, fingers, trunks, skirts."""

from dataclasses import dataclass

import numpy as np

from pipelines.sample.canvas import HALF, ONE, Canvas, Surface

KNOTS = 64


@dataclass(frozen=True)
class Tube:
    """A round body along ``a`` to ``b`` (T, 3). ``radius`` holds the half-widths at equal steps from a to b, (K,) in
    units of ``scale`` (T,) or (T, K); an elliptic body has ``thick``, its half-depths, and ``curve``, the sideways
    offset of its middle line, both (T, K). ``paint`` is (3,) or one colour (K, 3) for each of K equal pieces. ``cap``
    is how far the rounded ends reach, as a share of the end radius; ``pleats`` folds across (a skirt's), in radians
    per half-width."""

    a: np.ndarray
    b: np.ndarray
    radius: np.ndarray
    paint: np.ndarray
    thick: np.ndarray | None = None
    curve: np.ndarray | None = None
    cap: float = 1.0
    pleats: float = 0.0


def _resampled(values: np.ndarray) -> np.ndarray:
    """(..., K) to (..., KNOTS), linearly."""
    place = np.linspace(0, values.shape[-1] - 1, KNOTS)
    low = np.minimum(place.astype(int), values.shape[-1] - 2)
    return values[..., low] + (place - low) * (values[..., low + 1] - values[..., low])


class Tubes:
    """The tubes of a figure for all frames, drawn frame by frame. ``scale`` (T,) is pixels per unit of the radii."""

    def __init__(self, tubes: list[Tube], scale: np.ndarray):
        frames, parts = len(scale), len(tubes)
        self.a = np.stack([tube.a for tube in tubes], 1).astype(np.float32)
        self.b = np.stack([tube.b for tube in tubes], 1).astype(np.float32)
        size = np.asarray(scale)[:, None]
        self.radius = np.empty((frames, parts, KNOTS), np.float32)
        self.thick = np.empty_like(self.radius)
        self.curve = np.zeros_like(self.radius)
        self.paint = np.empty((3, parts * KNOTS), np.float32)
        for k, tube in enumerate(tubes):
            self.radius[:, k] = _resampled(np.asarray(tube.radius, float)) * size
            self.thick[:, k] = self.radius[:, k] if tube.thick is None else _resampled(tube.thick) * size
            if tube.curve is not None:
                self.curve[:, k] = _resampled(tube.curve) * size
            paint = np.atleast_2d(tube.paint)
            self.paint[:, k * KNOTS : (k + 1) * KNOTS] = paint[np.arange(KNOTS) * len(paint) // KNOTS].T
        self.cap = np.array([tube.cap for tube in tubes], np.float32)
        self.pleats = np.array([tube.pleats for tube in tubes], np.float32)
        step = self.b - self.a
        self.length = np.maximum(np.hypot(step[..., 0], step[..., 1]), np.float32(1e-3))
        self.along = step[..., :2] / self.length[..., None]
        self.outline = self._outlines()

    def _outlines(self) -> np.ndarray:
        """(T, P, 4, 2): the corners of a rectangle around every tube."""
        across = np.stack([-self.along[..., 1], self.along[..., 0]], -1)
        wide = ((self.radius + np.abs(self.curve)).max(-1) + 1)[..., None] * across
        start = self.a[..., :2] - self.along * (self.radius[..., 0] * self.cap + 1)[..., None]
        stop = self.b[..., :2] + self.along * (self.radius[..., -1] * self.cap + 1)[..., None]
        return np.stack([start - wide, start + wide, stop + wide, stop - wide], -2)

    def surface(self, canvas: Canvas, frame: int) -> Surface:
        a, b, along = self.a[frame], self.b[frame], self.along[frame]
        row, row_owner, left, right = _rows(self.outline[frame], canvas.height)
        index, x, y, widths = canvas.spans(row, left, right)
        counts = np.bincount(row_owner, widths, minlength=len(a)).astype(np.intp)

        def each(values: np.ndarray) -> np.ndarray:
            return np.repeat(np.asarray(values, np.float32), counts)

        x -= each(a[:, 0])
        y -= each(a[:, 1])
        ex, ey, length = each(along[:, 0]), each(along[:, 1]), self.length[frame]
        forward = x * ex + y * ey
        t = np.clip(forward * each(1 / length), 0, 1)
        forward -= t * each(length)
        step = (t * np.float32(KNOTS - 1) + HALF).astype(np.int32)
        step += np.repeat(np.arange(0, len(a) * KNOTS, KNOTS, dtype=np.int32), counts)
        radius = self.radius[frame].ravel()[step]
        inverse = ONE / radius
        side = (y * ex - x * ey - self.curve[frame].ravel()[step]) * inverse
        end = forward * inverse * each(1 / self.cap)
        squared = side * side + end * end
        cover = np.clip((ONE - np.sqrt(squared)) * radius + HALF, 0, 1)
        bulge = np.sqrt(np.maximum(ONE - squared, 0))
        z = each(a[:, 2]) + t * each(b[:, 2] - a[:, 2]) + self.thick[frame].ravel()[step] * bulge
        owner = np.repeat(np.arange(len(a)), counts)
        lx, ly, lz = canvas.light
        side_light = along[:, 0] * ly - along[:, 1] * lx
        end_light = along[:, 0] * lx + along[:, 1] * ly

        def colour(chosen: np.ndarray) -> np.ndarray:
            part, s, up = owner[chosen], side[chosen], bulge[chosen]
            lit = canvas.shade(s * side_light[part] + end[chosen] * end_light[part] + up * lz, up)
            if self.pleats.any():
                lit *= ONE + np.float32(0.12) * np.sin(s * self.pleats[part])
            return lit * self.paint[:, step[chosen]]

        return Surface(index, z, cover, colour)


def _rows(outline: np.ndarray, height: int):
    """Rows that convex ``outline`` (P, 4, 2) covers within ``height``: y (R,), whose (R,), leftmost and rightmost x
    (R,)."""
    low = np.maximum(np.ceil(outline[..., 1].min(1)), 0).astype(np.intp)
    high = np.minimum(np.floor(outline[..., 1].max(1)), height - 1).astype(np.intp)
    counts = np.maximum(high - low + 1, 0)
    owner = np.repeat(np.arange(len(outline)), counts)
    y = np.arange(len(owner)) + np.repeat(low - (np.cumsum(counts) - counts), counts)
    start, stop = outline, np.roll(outline, -1, axis=1)
    rise = stop[..., 1] - start[..., 1]
    slope = (stop[..., 0] - start[..., 0]) / np.where(np.abs(rise) < 1e-3, np.float32(1e-3), rise)
    along = y[:, None] - start[owner, :, 1]
    crossing = start[owner, :, 0] + along * slope[owner]
    met = (along * rise[owner] >= 0) & (np.abs(along) <= np.abs(rise[owner]))
    return y, owner, np.where(met, crossing, np.inf).min(1), np.where(met, crossing, -np.inf).max(1)
