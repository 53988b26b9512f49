"""The stored clip of a survivor: decoded at full resolution, resampled in time, scaled to its bucket, encoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from model.resolution import output_size
from pipelines.ingest import fetching
from pipelines.work.stage import Row, Stage


@dataclass(frozen=True)
class WriteClip(Stage):
    """``clip.mp4``, H.264, without black bars, at the size that ``area`` and the picture's aspect give (specification
    section 3.2).
    """

    area: int
    crf: int

    reads: ClassVar = ("path", "start", "frames", "fps", "crop", "folder")
    writes: ClassVar = ("bucket", "stored_frames")
    memory: ClassVar = 2 * 2**30
    deadline: ClassVar = 300.0

    def seconds_allowed(self, row: Row) -> float:
        return self.deadline + fetching.seconds(row)

    def __call__(self, row: Row) -> Row:
        from model import video

        size = output_size(self.area, *row["crop"][2:])
        images = video.read_at(fetching.local(row), row["start"], row["frames"], row["fps"], size, row["crop"])
        path = video.write(row["folder"] / "clip.mp4", images, row["fps"], crf=self.crf)
        return {"bucket": f"{size[0]}x{size[1]}", "stored_frames": sum(1 for _ in video.frames(path))}


@dataclass(frozen=True)
class FitAspect(Stage):
    """Narrows ``crop`` about its middle to the nearest of ``aspects`` (WIDTH:HEIGHT), so that few buckets hold all
    clips and batches of one size can be made. Without aspects every clip keeps its own.
    """

    aspects: tuple[str, ...]

    reads: ClassVar = ("crop",)
    writes: ClassVar = ("crop",)

    def __call__(self, row: Row) -> Row:
        if not self.aspects or row.get("crop") is None:
            return {}
        return {"crop": fitted(row["crop"], self.aspects)}


def fitted(crop: Sequence[int], aspects: Sequence[str]) -> list[int]:
    """The largest [top, left, height, width] within ``crop``, about its middle, of the nearest aspect; even sizes."""
    top, left, height, width = crop
    ratios = [int(w) / int(h) for w, h in (aspect.split(":") for aspect in aspects)]
    ratio = min(ratios, key=lambda ratio: (abs(math.log(width / height / ratio)), ratio))
    new_height, new_width = min(height, width / ratio), min(width, height * ratio)
    new_height, new_width = (max(2, 2 * round(side / 2 - 1e-9)) for side in (new_height, new_width))
    return [top + (height - new_height) // 4 * 2, left + (width - new_width) // 4 * 2, new_height, new_width]


def bucket_size(bucket: str) -> tuple[int, int]:
    """(height, width) of ``HEIGHTxWIDTH``."""
    height, width = bucket.split("x")
    return int(height), int(width)


PACES = ((0.06, "hardly moving"), (0.13, "moving gently"), (0.3, "moving at a steady pace"), (0.6, "moving fast"))
"""Upper bounds of body_speed, in body heights per second."""


def motion_caption(row: Row) -> str:
    """What the scores say of the motion, and nothing of looks: used where a source has no text of its own."""
    pace = next((words for bound, words in PACES if row["body_speed"] < bound), "moving very fast")
    return f"One person, {pace}, in a single uncut shot."
