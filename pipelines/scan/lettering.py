"""Where a picture looks like text: without weights, by the shape of letters and how they stand in lines."""

import cv2
import numpy as np

STROKE = 13
"""Pixels: strokes thinner than this stand out; thicker ones do at half the size."""
CONTRAST = 45
"""Luma between a letter and what is about it."""
LOWEST, HIGHEST = 6, 60
"""Pixels: height of a letter."""
LETTERS = 4
"""A line of fewer is none."""
SAME_INK = 20
"""Luma by which the letters of a line differ (standard deviation)."""
CELLS = 32
"""Lines of a text map's grid: how finely text is told to stay in its place."""


def text_map(luma: np.ndarray) -> np.ndarray:
    """(CELLS, n) share of each cell, 0..1, that lies in boxes of lines of letters, of an (H, W) uint8 picture whose
    shorter side is some 480 pixels: at that size and at its half.
    """
    found = np.zeros(luma.shape, np.uint8)
    half = cv2.resize(luma, (luma.shape[1] // 2, luma.shape[0] // 2), interpolation=cv2.INTER_AREA)
    for picture, scale in ((luma, 1), (half, 2)):
        if min(picture.shape) < 4 * LOWEST:
            continue
        for left, top, right, bottom in lines_of_letters(picture):
            found[top * scale : bottom * scale, left * scale : right * scale] = 255
    height, width = luma.shape
    cells = cv2.resize(found, (max(1, round(CELLS * width / height)), CELLS), interpolation=cv2.INTER_AREA)
    return cells.astype(np.float32) / 255


def lines_of_letters(luma: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of lines of bright letters on darker ground, or of dark ones on brighter."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (STROKE, STROKE))
    found = []
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        strokes = (cv2.morphologyEx(luma, operation, kernel) > CONTRAST).astype(np.uint8)
        for line in _lines(*_letters(strokes)):
            if np.std([_ink(luma, strokes, box) for box in line]) < SAME_INK:
                left, top, width, height = line.T
                right, bottom = left + width, top + height
                found.append((int(left.min()), int(top.min()), int(right.max()), int(bottom.max())))
    return found


def _ink(luma: np.ndarray, strokes: np.ndarray, box: np.ndarray) -> float:
    left, top, width, height = box
    inside = np.s_[top : top + height, left : left + width]
    return float(np.median(luma[inside][strokes[inside] > 0]))


def _letters(strokes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of blobs that may be letters: boxes (n, 4) left, top, width, height, and their areas (n,)."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8, ltype=cv2.CV_32S)
    left, top, width, height, area = stats[1:].T
    filled = area / (width * height)
    alike = (
        (height >= LOWEST)
        & (height <= HIGHEST)
        & (width <= 2.5 * height)
        & (width >= 0.08 * height)
        & (filled > 0.15)
        & (filled < 0.95)
        & (left > 0)
        & (top > 0)
    )
    order = np.argsort(left[alike], kind="stable")
    return np.stack([left, top, width, height], axis=1)[alike][order], area[alike][order]


def _lines(boxes: np.ndarray, areas: np.ndarray) -> list[np.ndarray]:
    """Boxes (n, 4) of letters that follow each other closely, of about one height, on one base."""
    followers = _followers(boxes)
    lines, used = [], np.zeros(len(boxes), bool)
    for first in range(len(boxes)):
        if used[first]:
            continue
        line, at = [first], first
        while (at := followers[at]) >= 0 and not used[at]:
            line.append(at)
        used[line] = True
        if len(line) >= LETTERS and _written(boxes[line], areas[line]):
            lines.append(boxes[line])
    return lines


def _followers(boxes: np.ndarray) -> list[int]:
    """Of each letter the index of the next one on its line, or -1."""
    if len(boxes) == 0:
        return []
    left, top, width, height = boxes.T.astype(np.float32)
    right, bottom = left + width, top + height
    found = []
    for at in range(len(boxes)):
        tall = np.maximum(height, height[at])
        near = (
            (left > left[at] + 0.3 * width[at])
            & (left - right[at] < 0.7 * tall)
            & (np.abs(bottom - bottom[at]) < 0.3 * tall)
            & (np.minimum(height, height[at]) > 0.5 * tall)
        )
        near[: at + 1] = False
        places = np.flatnonzero(near)
        found.append(int(places[np.argmin(left[places])]) if len(places) else -1)
    return found


def _written(boxes: np.ndarray, areas: np.ndarray) -> bool:
    """Letters differ in width, not much in height, and stand evenly; bricks, tiles and stripes are all the same."""
    _, _, width, height = boxes.T.astype(np.float64)
    filled = areas / (width * height)
    long = width.sum() / height.mean() > 1.6
    differ = width.std() / width.mean() > 0.05 or filled.std() / filled.mean() > 0.08
    return bool(long and differ and height.std() / height.mean() < 0.3)
