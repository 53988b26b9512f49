"""A small depth-buffered painter of lit bodies.

Everything is projected without perspective: x right and y down in pixels (the centre of pixel (0, 0) is (0, 0)), z
towards the camera in pixels. Edges are anti-aliased by coverage, and what is nearer hides what is farther. All bodies
of a frame are computed in one go, on the pixels around them only: a frame takes a few milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

HALF, ONE = np.float32(0.5), np.float32(1)
_SAMPLE_BITS = 24
_NOTHING = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Surface:
    """Samples of bodies on pixels: flat indices (N,), z (N,), coverage (N,). ``colour(chosen)`` gives the lit colours
    (3, n) of some of the samples, by their positions."""

    index: np.ndarray
    z: np.ndarray
    cover: np.ndarray
    colour: Callable[[np.ndarray], np.ndarray]


class Canvas:
    """A picture under way, lit from ``light`` (x, y, z). One serves for all frames of a video: :meth:`begin` each."""

    def __init__(self, height: int, width: int, light=(-0.45, -0.55, 0.70), ambient: float = 0.52):
        self.height, self.width = height, width
        self.light = np.asarray(light, np.float32) / np.float32(np.linalg.norm(light))
        self.ambient = np.float32(ambient)
        self._planes = np.zeros((3, height * width), np.uint8)
        self.depth = np.full((height, width), -np.inf, np.float32)
        self._nearest = np.zeros(height * width, np.int64)

    def begin(self, background: np.ndarray) -> None:
        """Start a frame over ``background`` (H, W, 3) uint8; ``depth`` (H, W) is -inf where nothing is."""
        for k, plane in enumerate(self._planes.reshape(3, self.height, self.width)):
            cv2.extractChannel(background, k, plane)
        self.depth.fill(-np.inf)
        self._nearest.fill(_NOTHING)

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, a copy."""
        return cv2.merge(list(self._planes.reshape(3, self.height, self.width)))

    def spans(self, y: np.ndarray, left: np.ndarray, right: np.ndarray):
        """The pixels of rows ``y`` (R,) int from ``left`` to ``right`` (R,) float: flat indices (N,) int32, x and y
        (N,) float32, and how many there are in each row (R,)."""
        first = np.clip(np.floor(left), 0, self.width).astype(np.int32)
        last = np.clip(np.ceil(right) + 1, 0, self.width).astype(np.int32)
        counts = np.where((y >= 0) & (y < self.height), np.maximum(last - first, 0), 0).astype(np.int32)
        before = np.cumsum(counts, dtype=np.int32) - counts
        steps = np.arange(int(counts.sum()), dtype=np.int32)
        x = steps + np.repeat(first - before, counts)
        y = np.repeat(y.astype(np.int32), counts)
        return y * np.int32(self.width) + x, x.astype(np.float32), y.astype(np.float32), counts

    def shade(self, towards_light: np.ndarray, towards_camera: np.ndarray) -> np.ndarray:
        """Brightness of a surface: ambient and diffuse light, darker where it turns away at the rim."""
        lit = self.ambient + (np.float32(1.12) - self.ambient) * np.maximum(towards_light, 0)
        return lit * (np.float32(0.62) + np.float32(0.38) * np.minimum(towards_camera * np.float32(2.2), ONE))

    def paint(self, surfaces: list[Surface]) -> None:
        """Lay all surfaces on: on every pixel the nearest solid sample, and over it the edges that lie in front of
        it."""
        index = np.concatenate([surface.index for surface in surfaces])
        z = np.concatenate([surface.z for surface in surfaces])
        cover = np.concatenate([surface.cover for surface in surfaces])
        solid = np.flatnonzero(cover >= ONE)
        # z in 1/64 pixel above, the sample's position below: the largest key of a pixel names its nearest sample.
        keys = ((z[solid] * np.float32(64)).astype(np.int64) << _SAMPLE_BITS) | solid
        np.maximum.at(self._nearest, index[solid], keys)
        pixels = np.flatnonzero(self._nearest != _NOTHING)
        winners = self._nearest[pixels] & ((1 << _SAMPLE_BITS) - 1)
        depth = self.depth.reshape(-1)
        depth[pixels] = z[winners]
        edges = np.flatnonzero((cover > 0) & (cover < ONE))
        edges = edges[z[edges] > depth[index[edges]]]
        start = 0
        solids, rims = np.empty((3, len(winners)), np.float32), np.empty((3, len(edges)), np.float32)
        for surface in surfaces:
            stop = start + len(surface.index)
            for chosen, colours in ((winners, solids), (edges, rims)):
                ours = np.flatnonzero((chosen >= start) & (chosen < stop))
                if len(ours):
                    colours[:, ours] = surface.colour(chosen[ours] - start)
            start = stop
        at, cover = index[edges], cover[edges]
        for plane, solid, rim in zip(self._planes, np.minimum(solids, 255), np.minimum(rims, 255), strict=True):
            plane[pixels] = solid.astype(np.uint8)
            behind = plane[at].astype(np.float32)
            plane[at] = (behind + cover * (rim - behind)).astype(np.uint8)
