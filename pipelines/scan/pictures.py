"""Small upright pictures of frames as the decoder leaves them: no conversion ever touches the full-size picture."""

from dataclasses import dataclass

import av
import cv2
import numpy as np

from model.video import RawFrame

PLANAR = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuvj440p", "yuv411p"}
GRAY = {"gray", "gray8"}
FULL_RANGE, BT709, BT2020 = 2, 1, (9, 10)
"""FFmpeg's AVCOL_RANGE_JPEG, AVCOL_SPC_BT709, AVCOL_SPC_BT2020_NCL and _CL."""
LUMA_WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
"""Of red and of blue (ITU-R BT.601, BT.709, BT.2020)."""

Crop = tuple[int, int, int, int]
"""Top, left, height, width."""


@dataclass(frozen=True)
class Planes:
    """Views of a frame's 8-bit planes, as stored: ``luma`` (H, W), ``chroma`` two smaller ones or None (no colour)."""

    luma: np.ndarray
    chroma: tuple[np.ndarray, np.ndarray] | None
    full_range: bool
    matrix: str

    def to_full_range(self, luma: np.ndarray) -> np.ndarray:
        return luma if self.full_range else cv2.LUT(luma, _EXPANDED)


_EXPANDED = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)


def planes(frame: av.VideoFrame) -> Planes:
    """Valid as long as ``frame`` is. What is neither 8-bit planar YUV nor gray is converted (swscale) first."""
    name, full_range = frame.format.name, frame.color_range == FULL_RANGE
    bottom_up = any(plane.line_size <= 0 for plane in frame.planes)
    if name not in PLANAR | GRAY or bottom_up:
        frame = frame.reformat(format="yuv444p", dst_color_range="MPEG")
        name, full_range = "yuv444p", False
    matrix = "709" if frame.colorspace == BT709 else "2020" if frame.colorspace in BT2020 else "601"
    views = [_view(frame.planes[index]) for index in range(1 if name in GRAY else 3)]
    full_range = full_range or name in GRAY or name.startswith("yuvj")
    return Planes(views[0], tuple(views[1:]) if len(views) == 3 else None, full_range, matrix)


def _view(plane) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


@dataclass(frozen=True)
class Geometry:
    """How the stored frames of a source stand and where their picture is. ``height`` and ``width`` are as stored,
    ``crop`` too.
    """

    height: int
    width: int
    rotation: int
    pixel_aspect: float
    crop: Crop

    @classmethod
    def of(cls, raw: RawFrame) -> "Geometry":
        height, width = raw.picture.height, raw.picture.width
        return cls(height, width, raw.rotation, raw.pixel_aspect, (0, 0, height, width))

    @property
    def whole(self) -> bool:
        return self.crop == (0, 0, self.height, self.width)

    def upright(self, crop: Crop | None = None) -> Crop:
        """``crop`` (by default its own) in the upright picture with square pixels: even numbers, inside it."""
        top, left, height, width = self.crop if crop is None else crop
        whole_height, whole_width = self.height, max(1, round(self.width * self.pixel_aspect))
        left, right = left * whole_width / self.width, (left + width) * whole_width / self.width
        bottom = top + height
        for _ in range(self.rotation // 90):  # as np.rot90 turns: what was right comes up
            top, bottom, left, right = whole_width - right, whole_width - left, top, bottom
            whole_height, whole_width = whole_width, whole_height
        top, left = _even_up(top), _even_up(left)
        return top, left, max(2, _even_down(bottom - top)), max(2, _even_down(right - left))

    def size(self, short_side: int) -> tuple[int, int]:
        """(height, width), as stored, of the cropped picture with square pixels; smaller ones are not enlarged."""
        height, width = self.crop[2], self.crop[3] * self.pixel_aspect
        scale = min(1.0, short_side / min(height, width))
        return max(2, round(height * scale)), max(2, round(width * scale))

    def cut(self, plane: np.ndarray) -> np.ndarray:
        """A plane (of any subsampling) without the bars."""
        if self.whole:
            return plane
        down, across = plane.shape[0] / self.height, plane.shape[1] / self.width
        top, left, height, width = self.crop
        return plane[
            round(top * down) : round((top + height) * down), round(left * across) : round((left + width) * across)
        ]

    def turn(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, self.rotation // 90)) if self.rotation else image


def shrink(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To ``size`` (height, width): halved while more than twice as large, which is fast, then bilinear."""
    height, width = size
    while plane.shape[0] >= 2 * height and plane.shape[1] >= 2 * width:
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        plane = cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if plane.shape == size:
        return np.ascontiguousarray(plane)  # a decoder pads its lines, and optical flow takes none that are
    larger = plane.shape[0] >= 2 * height or plane.shape[1] >= 2 * width  # one side only: pixels far from square
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)


def small_luma(of: Planes, geometry: Geometry, short_side: int) -> np.ndarray:
    """(h, w) uint8: luma at full range, cropped, upright."""
    return geometry.turn(of.to_full_range(shrink(geometry.cut(of.luma), geometry.size(short_side))))


def small_colour(of: Planes, geometry: Geometry, short_side: int) -> np.ndarray:
    """(h, w, 3) uint8 BGR, cropped, upright."""
    size = geometry.size(short_side)
    luma = shrink(geometry.cut(of.luma), size)
    if of.chroma is None:
        return geometry.turn(cv2.cvtColor(of.to_full_range(luma), cv2.COLOR_GRAY2BGR))
    parts = cv2.merge([luma, *(shrink(geometry.cut(plane), size) for plane in of.chroma)])
    return geometry.turn(cv2.transform(parts, _TO_BGR[of.matrix, of.full_range]))


def _to_bgr(matrix: str, full_range: bool) -> np.ndarray:
    """(3, 4): what (Y, Cb, Cr, 1) is multiplied by (ITU-R BT.601 and the like, section on digital coding)."""
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    from_blue, from_red = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
    rows = np.array(
        [
            [luma, from_blue, 0],
            [luma, -from_blue * blue / green, -from_red * red / green],
            [luma, 0, from_red],
        ]
    )
    return np.column_stack([rows, -rows @ (black, 128, 128)]).astype(np.float32)


_TO_BGR = {(matrix, full): _to_bgr(matrix, full) for matrix in LUMA_WEIGHTS for full in (False, True)}


def _even_up(value: float) -> int:
    return int(np.ceil((value - 1e-6) / 2)) * 2


def _even_down(value: float) -> int:
    return int(np.floor((value + 1e-6) / 2)) * 2
