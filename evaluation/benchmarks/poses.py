"""Poses of references and drivers, estimated once: kept by the file's content, the settings and the weights."""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.backbones.weights import hashes_of
from evaluation.benchmarks.reading import read_driver
from evaluation.metrics.evidence import Estimator
from infra.config import identity
from infra.schema import Pose
from model import video
from model.pose.reading import bounded, read_picture
from model.pose.tracks import JOINTS, InvalidPose, PoseTrack

VERSION = 1
"""Of how a pose comes about here. Another one estimates everything anew."""

EstimatorBuilder = Callable[[Pose], Estimator]


def own_estimator(settings: Pose) -> Estimator:
    """The config's."""
    from model.pose.estimator import build_estimator

    return build_estimator(settings)


@dataclass(frozen=True)
class Poses:
    """``folder`` may be deleted at any time."""

    folder: Path
    settings: Pose
    build: EstimatorBuilder = own_estimator

    def of_reference(self, path: Path, content: str) -> PoseTrack | None:
        """The most prominent person's, of one frame in pixels of the picture; None where nobody is found."""

        def estimate() -> PoseTrack | None:
            picture = read_picture(path)
            small = video.resize(picture, bounded(picture.shape[:2]))
            found = self.build(self.settings).estimate(small[None])
            return found[0].resized(small.shape[:2], picture.shape[:2]) if found else None

        return self._kept(("reference", content), estimate)

    def of_driver(self, path: Path, content: str, fps: float | None, by_index: bool) -> PoseTrack | None:
        """The most prominent person's through the frames of :func:`read_driver`, cleaned as the config says."""

        def estimate() -> PoseTrack | None:
            frames, rate = read_driver(path, fps, by_index)
            found = self.build(self.settings).estimate(frames)
            return self._cleaned(found[0], rate) if found else None

        return self._kept(("driving", content, fps, by_index), estimate)

    def _cleaned(self, track: PoseTrack, fps: float) -> PoseTrack:
        from model.pose.cleaning import clean

        if self.settings.clean == "never" or self.settings.compat:
            return track
        spans = {"fill_seconds": self.settings.fill_seconds, "smooth_seconds": self.settings.smooth_seconds}
        return clean(track, fps, **spans).track

    def _kept(self, what: tuple, estimate: Callable[[], PoseTrack | None]) -> PoseTrack | None:
        files = hashes_of(self.settings.detector, self.settings.weights)
        told = json.dumps([VERSION, identity(self.settings), files, *what], sort_keys=True)
        path = self.folder / f"{hashlib.sha256(told.encode()).hexdigest()}.npz"
        try:
            track = PoseTrack.load(path)
        except InvalidPose:  # not there, or cut short by a full disk: made again
            track = estimate() or _NOBODY
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{uuid.uuid4().hex}")
            track.save(draft)
            draft.replace(path)
        return track if track.scores.any() else None


_NOBODY = PoseTrack(np.zeros((1, JOINTS, 2), np.float32), np.zeros((1, JOINTS), np.float32))
