"""A strip of pictures of a candidate window, for the report."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.scan.signals import Sample
from pipelines.work.stage import Row, Stage

PICTURES = 4


@dataclass(frozen=True)
class SaveStrip(Stage):
    """``preview-<clip_id>.jpg``: four upright pictures without bars, spread over the window (or the short shot)."""

    reads: ClassVar = ("signals", "folder")

    def __call__(self, row: Row) -> Row:
        if row["signals"] is None or "clip_id" not in row:
            return {}
        begin = row["shot_start"] if row.get("start") is None else row["start"]
        end = row["shot_end"] if row.get("start") is None else begin + row["frames"] / row["fps"]
        if samples := row["signals"].samples_in(begin, end):
            (row["folder"] / f"preview-{row['clip_id']}.jpg").write_bytes(strip(samples))
        return {}


def strip(samples: list[Sample]) -> bytes:
    import cv2

    places = np.linspace(0, len(samples) - 1, PICTURES).round().astype(int)
    pictures = [
        cv2.imdecode(np.frombuffer(samples[place].thumbnail, np.uint8), cv2.IMREAD_COLOR) for place in sorted(places)
    ]
    return cv2.imencode(".jpg", np.concatenate(pictures, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
