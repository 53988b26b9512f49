"""The stored clip of a survivor: decoded at full resolution, resampled in time, scaled to its bucket, encoded."""

from dataclasses import dataclass
from typing import ClassVar

from model.resolution import output_size
from pipelines.stage import Row, Stage


@dataclass(frozen=True)
class WriteClip(Stage):
    """``clip.mp4``, H.264, at the size that ``area`` and the source's aspect give (specification section 3.2)."""

    area: int
    crf: int

    reads: ClassVar = ("path", "start", "frames", "fps", "height", "width", "folder")
    writes: ClassVar = ("bucket", "stored_frames")
    memory: ClassVar = 1 * 2**30

    def __call__(self, row: Row) -> Row:
        from model import video

        size = output_size(self.area, row["height"], row["width"])
        images = video.read_at(row["path"], row["start"], row["frames"], row["fps"], size)
        path = video.write(row["folder"] / "clip.mp4", images, row["fps"], crf=self.crf)
        return {"bucket": f"{size[0]}x{size[1]}", "stored_frames": sum(1 for _ in video.frames(path))}


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
