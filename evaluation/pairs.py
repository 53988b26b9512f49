"""Which reference is animated by which driver, and what of both is opened. Pairs are data: chosen once, then read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.time_map import by_time
from infra.errors import SteadyDancerError
from infra.schema import Config
from model.pose.tracks import PoseTrack

SAME, DIFFERENT = "same_source", "different_source"

SCHEMA = pa.schema(
    [
        ("pair", pa.string()),
        ("kind", pa.string()),
        ("reference", pa.string()),
        ("driving", pa.string()),
        ("prompt", pa.string()),
        ("strata", pa.string()),
        ("content", pa.string()),
        ("cluster", pa.string()),
    ]
)


@dataclass(frozen=True)
class Pair:
    """The picture ``reference``, moved by the pose of the video ``driving`` under ``prompt``.

    In a same-source pair the reference is the driver's first frame, whose frames are the ground truth. ``strata``
    describe the inputs only. ``content`` hashes all that decides the inputs: pairs of one id are one pair only if this
    is the same too. Pairs of one ``cluster`` are one observation of the statistics: by default those of one driver.
    """

    id: str
    kind: Literal["same_source", "different_source"]
    reference: str
    driving: str
    prompt: str
    strata: dict[str, str | float]
    content: str = ""
    cluster: str = ""

    def __post_init__(self):
        object.__setattr__(self, "cluster", self.cluster or self.driving)


@dataclass(frozen=True, eq=False)
class PairInputs:
    """A pair opened: ``reference`` (H, W, 3) uint8 RGB with its own pose, of one frame; the frames of the driver
    (F, h, w, 3) with their poses, F of them, at ``driving_fps``. A pose is None where nobody was found.

    ``by_index``: frame i of a video is driven by the driver's frame i, as the official release plays drivers; else by
    the frame that the driver shows at the same second.
    """

    reference: np.ndarray
    reference_pose: PoseTrack | None
    driving: PoseTrack | None
    driving_frames: np.ndarray
    driving_fps: float
    prompt: str
    same_source: bool
    by_index: bool = False

    @property
    def driving_size(self) -> tuple[int, int]:
        return self.driving_frames.shape[1:3]

    def time_map(self, frames: int, fps: float) -> np.ndarray:
        """(frames,) int: the driver's frame of each frame of a video at ``fps``; may lead beyond the driver's end."""
        if self.by_index:
            return np.arange(frames)
        return by_time(frames, fps, self.driving_fps)

    def longest(self, frames: int, fps: float) -> int:
        """How many of so many frames the driver has a pose for."""
        return 0 if self.driving is None else int((self.time_map(frames, fps) < len(self.driving)).sum())

    def driven(self, frames: int, fps: float) -> PoseTrack:
        """The driving pose at the moments of a video, in pixels of the driver.

        Raises SteadyDancerError where nobody was found in the driver, or it ends before the video.
        """
        if self.driving is None:
            raise SteadyDancerError("Nobody was found in the driving video.", "Use one that shows one person.")
        index = self.time_map(frames, fps)
        if index[-1] >= len(self.driving):
            rule = "one for one" if self.by_index else f"at {fps:g} fps"
            raise SteadyDancerError(
                f"The driver has {len(self.driving)} frames at {self.driving_fps:g} fps; "
                f"{frames} frames {rule} need {index[-1] + 1}.",
                "Use a longer driving video, or fewer frames (clip.frames).",
            )
        return PoseTrack(self.driving.keypoints[index], self.driving.scores[index])

    def condition_pose(self, config: Config) -> PoseTrack:
        """What our model is fed: clip.frames driving poses at clip.fps, on the body and in pixels of the reference.

        Raises SteadyDancerError where the driver is too short, or nobody was found in it or in the reference.
        """
        from model.pose.alignment import align

        track, size = self.driven(config.clip.frames, config.clip.fps), self.reference.shape[:2]
        if self.same_source:
            return track
        if self.reference_pose is None:
            raise SteadyDancerError("Nobody was found in the reference.", "Use a picture that shows one person.")
        mode = "official" if config.pose.compat else "robust"
        return align(track, self.driving_size, self.reference_pose, size, mode)

    def fed_pose(self, config: Config) -> PoseTrack:
        """The same at the moments of the driver's frames, as far as they were used; each keeps the pose fed last."""
        fed = self.condition_pose(config)
        index = self.time_map(config.clip.frames, config.clip.fps)
        last = np.searchsorted(index, np.arange(index[-1] + 1), side="right") - 1
        return PoseTrack(fed.keypoints[last], fed.scores[last])


def write_pairs(path: Path, pairs: list[Pair]) -> None:
    """One row per pair; ``strata`` is JSON."""
    rows = [
        {
            "pair": p.id,
            "kind": p.kind,
            "reference": p.reference,
            "driving": p.driving,
            "prompt": p.prompt,
            "strata": json.dumps(p.strata, sort_keys=True),
            "content": p.content,
            "cluster": p.cluster,
        }
        for p in pairs
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


def read_pairs(file) -> list[Pair]:
    """What :func:`write_pairs` wrote, from a path or an open file."""
    rows = pq.read_table(file).to_pylist()
    return [Pair(row.pop("pair"), strata=json.loads(row.pop("strata")), **row) for row in rows]
