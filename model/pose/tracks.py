"""One person through one clip: 133 keypoints and their confidence, frame by frame."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from infra.errors import SteadyDancerError

JOINTS = 133


class InvalidPose(SteadyDancerError):
    """An array or file that is no pose track."""


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """``keypoints`` float32 (T, 133, 2), x and y in pixels of their frame; ``scores`` float32 (T, 133), 0..1.

    COCO-WholeBody order (:mod:`model.pose.wholebody`). A joint that was not found has score 0 and finite coordinates.
    Raises InvalidPose for other shapes, other types, NaN, infinities, and scores outside 0..1.
    """

    keypoints: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        for name, tail in (("keypoints", (JOINTS, 2)), ("scores", (JOINTS,))):
            array = getattr(self, name)
            wanted = f"float32 (T, {', '.join(map(str, tail))})"
            if not isinstance(array, np.ndarray):
                raise InvalidPose(f"pose {name}: {type(array).__name__} given, {wanted} expected.")
            if array.dtype != np.float32 or array.ndim != len(tail) + 1 or array.shape[1:] != tail or not len(array):
                raise InvalidPose(f"pose {name}: {array.dtype} {array.shape} given, {wanted} with T >= 1 expected.")
            if not np.isfinite(array).all():
                frame = int(np.argwhere(~np.isfinite(array))[0][0])
                raise InvalidPose(f"pose {name}: NaN or infinite from frame {frame} on; unseen joints need score 0.")
        if len(self.keypoints) != len(self.scores):
            raise InvalidPose(f"pose: {len(self.keypoints)} frames of keypoints, {len(self.scores)} of scores.")
        if self.scores.min() < 0 or self.scores.max() > 1:
            raise InvalidPose(f"pose scores: {self.scores.min():g} to {self.scores.max():g} given, 0..1 expected.")

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, frames: slice) -> "PoseTrack":
        """The track of some of the frames; ``track[:1]`` is what alignment takes as reference."""
        if not isinstance(frames, slice):
            raise TypeError("a pose track is cut by a slice")
        return PoseTrack(self.keypoints[frames], self.scores[frames])

    def resized(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> "PoseTrack":
        """The same pose in a frame resized from one (height, width) to another."""
        if min(*from_size, *to_size) <= 0:
            raise InvalidPose(f"pose: frames of {from_size} and {to_size} given, positive (height, width) expected.")
        factor = np.array([to_size[1] / from_size[1], to_size[0] / from_size[0]])
        return PoseTrack((self.keypoints * factor).astype(np.float32), self.scores)

    def save(
        self,
        target: Path | str | BinaryIO,
        *,
        confidence: np.ndarray | None = None,
        about: dict[str, Any] | None = None,
    ) -> Path | str | BinaryIO:
        """Write an npz with the keys ``keypoints`` and ``scores``; the same track gives the same bytes.

        ``confidence`` (T, 133): the estimator's own scores, of a track whose gaps were filled. ``about``: plain data,
        kept as JSON text; it holds at least ``fps`` and the ``size`` [height, width] that the pixels belong to.
        """
        arrays = {"keypoints": self.keypoints, "scores": self.scores}
        if confidence is not None:
            arrays["confidence"] = PoseTrack(self.keypoints, confidence).scores
        if about is not None:
            arrays["about"] = np.array(json.dumps(about, sort_keys=True))
        if isinstance(target, Path | str):
            with Path(target).open("wb") as file:
                np.savez(file, **arrays)
        else:
            np.savez(target, **arrays)
        return target

    @classmethod
    def load(cls, source: Path | str | BinaryIO) -> "PoseTrack":
        """The track of a pose file. Raises InvalidPose naming the file."""
        return read_pose_file(source).track


class PoseFile(NamedTuple):
    """What :meth:`PoseTrack.save` wrote."""

    track: PoseTrack
    confidence: np.ndarray | None
    about: dict[str, Any]
    """empty where the file says nothing of itself"""


def read_pose_file(source: Path | str | BinaryIO) -> PoseFile:
    """All of a pose file; nothing in it is executed. Raises InvalidPose naming the file."""
    with _opened(source) as arrays:
        track = PoseTrack(arrays["keypoints"], arrays["scores"])
        confidence = arrays.get("confidence")
        if confidence is not None:
            PoseTrack(track.keypoints, confidence)
        about = json.loads(str(arrays["about"])) if "about" in arrays else {}
        if not isinstance(about, dict):
            raise InvalidPose(f"its about is a {type(about).__name__}, a mapping expected.")
        return PoseFile(track, confidence, about)


@contextmanager
def _opened(path: Path | str | BinaryIO) -> Iterator[Any]:
    """The arrays of an npz, nothing in it executed; what is wrong with it is an InvalidPose that names the file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InvalidPose("a single array, not a pose npz.")
            yield arrays
    except InvalidPose as error:
        raise InvalidPose(f"{path}: {error}") from error
    except KeyError as error:
        raise InvalidPose(
            f"{path}: no pose file, it lacks an array ({error}); keypoints and scores expected."
        ) from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidPose(f"{path}: cannot be read as a pose npz ({error}).") from error
