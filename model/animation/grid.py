"""Several videos side by side in one, to compare them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from model import video

LONGEST_SIDE = 3840
"""Of the grid, in pixels."""

Panel = Iterable[np.ndarray] | None
"""Frames (H, W, 3) uint8 RGB, a single one for a picture; the last stays when others are longer. None: black."""


def write_grid(
    path: Path, rows: list[list[Panel]], fps: float, panel: tuple[int, int], metadata: dict[str, str]
) -> Path:
    """An mp4 of panels in ``rows`` of one length, each fitted into ``panel`` (height, width) without distortion.

    The panels are made smaller where the grid would be longer than LONGEST_SIDE. As long as the longest panel.
    """
    factor = min(1.0, LONGEST_SIDE / (panel[0] * len(rows)), LONGEST_SIDE / (panel[1] * len(rows[0])))
    box = tuple(max(2, int(side * factor) // 2 * 2) for side in panel)
    return video.write(path, _frames(rows, box), fps, metadata=metadata)


def _frames(rows: list[list[Panel]], box: tuple[int, int]) -> Iterator[np.ndarray]:
    running = [[iter(panel or ()) for panel in row] for row in rows]
    shown = [[np.zeros((*box, 3), np.uint8)] * len(row) for row in rows]
    while True:
        moved = False
        for row, panels in zip(shown, running, strict=True):
            for column, frames in enumerate(panels):
                if (image := next(frames, None)) is not None:
                    row[column], moved = fitted(image, box), True
        if not moved:
            return
        yield np.concatenate([np.concatenate(row, axis=1) for row in shown])


def fitted(image: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 scaled into the middle of a black ``box`` (height, width), its aspect kept."""
    factor = min(box[0] / image.shape[0], box[1] / image.shape[1])
    height, width = (max(1, min(side, round(length * factor))) for side, length in zip(box, image.shape, strict=False))
    top, left = (box[0] - height) // 2, (box[1] - width) // 2
    out = np.zeros((*box, 3), np.uint8)
    out[top : top + height, left : left + width] = video.resize(image, (height, width))
    return out
