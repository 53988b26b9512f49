"""Ellipsoids with a texture: heads and hair."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.sample.canvas import HALF, ONE, Canvas, Surface


@dataclass(frozen=True)
class Ellipsoids:
    """Ellipsoids (centre, radii) in a turned frame, drawn as one surface.

    ``axes`` (3, 3) are the frame's axes in the picture, ``centre`` (x, y, z) its origin, ``scale`` the pixels of one
    unit. ``texture`` (H, W, 3) is laid on along the frame's z axis and spans [-1.1, 1.1] both ways; without it
    ``paint`` (3,).
    """

    centre: np.ndarray
    axes: np.ndarray
    scale: float
    parts: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]
    paint: np.ndarray
    texture: np.ndarray | None = None

    def surface(self, canvas: Canvas) -> Surface:
        scale = np.float32(self.scale)
        axes = self.axes.astype(np.float32)
        cx, cy = float(self.centre[0]), float(self.centre[1])
        reach = 1.03 * max(np.linalg.norm(centre) + max(radii) for centre, radii in self.parts) * self.scale + 2
        rows = np.arange(int(np.ceil(cy - reach)), int(cy + reach) + 1)
        half = np.sqrt(np.maximum(reach**2 - (rows - cy) ** 2, 0))
        index, x, y, _ = canvas.spans(rows, cx - half, cx + half)
        x = (x - np.float32(self.centre[0])) / scale
        y = (y - np.float32(self.centre[1])) / scale
        origin = [x * axes[0, k] + y * axes[1, k] for k in range(3)]
        best = np.full(x.shape, -9, np.float32)
        cover = np.zeros_like(x)
        for centre, radii in self.parts:
            o = [(origin[k] - np.float32(centre[k])) * np.float32(1 / radii[k]) for k in range(3)]
            d = [axes[2, k] / np.float32(radii[k]) for k in range(3)]
            a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
            c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - ONE
            inside = (b * b - a * c) / a
            hit = (np.sqrt(np.maximum(inside, 0) * a) - b) / a
            edge = (ONE - np.sqrt(np.maximum(ONE - inside, 0))) * np.float32(min(radii) * self.scale) + HALF
            np.maximum(best, hit, out=best, where=edge > 0)
            np.maximum(cover, np.minimum(edge, ONE), out=cover)
        # Lit as one ellipsoid around all parts, so that no crease shows where two meet.
        low = np.min([np.subtract(centre, radii) for centre, radii in self.parts], axis=0)
        high = np.max([np.add(centre, radii) for centre, radii in self.parts], axis=0)
        middle, around = (high + low) / 2, ((high - low) / 2) ** 2
        n = [(origin[k] + best * axes[2, k] - np.float32(middle[k])) * np.float32(1 / around[k]) for k in range(3)]
        size = ONE / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        light = axes.T @ canvas.light
        lit = (n[0] * light[0] + n[1] * light[1] + n[2] * light[2]) * size
        facing = np.maximum((n[0] * axes[2, 0] + n[1] * axes[2, 1] + n[2] * axes[2, 2]) * size, 0)
        paint = self.paint.astype(np.float32)[:, None]
        if self.texture is not None:
            front = origin[2] + best * axes[2, 2] > np.float32(-0.35)
            at = origin[0] + best * axes[2, 0], origin[1] + best * axes[2, 1]
            paint = np.where(front, _looked_up(self.texture, *at), paint)
        lit = canvas.shade(lit, facing)
        z = np.float32(self.centre[2]) + best * scale
        colour = lit * paint
        return Surface(index, z, cover, lambda chosen: colour[:, chosen])


def _looked_up(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(3, N) float32: the texture at (u, v), each (N,) in [-1.1, 1.1]."""
    height, width = texture.shape[:2]
    fold = 4096  # remap takes no row longer than 32767
    rows = -(-len(u) // fold)
    at = np.zeros((2, rows * fold), np.float32)
    at[0, : len(u)] = (u + np.float32(1.1)) * np.float32(width / 2.2) - HALF
    at[1, : len(v)] = (v + np.float32(1.1)) * np.float32(height / 2.2) - HALF
    picked = cv2.remap(texture, *at.reshape(2, rows, fold), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.stack([plane.reshape(-1)[: len(u)] for plane in cv2.split(picked)]).astype(np.float32)
