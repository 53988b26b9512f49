"""The benchmark of a folder with a manifest."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from evaluation.benchmarks.benchmark import identify
from evaluation.benchmarks.manifest import FILE, Entry, Manifest, inside, read_manifest
from evaluation.benchmarks.poses import Poses
from evaluation.benchmarks.reading import LONGEST, content_of, pictures_of, read_driver
from evaluation.benchmarks.strata import measured, with_tertiles
from evaluation.pairs import DIFFERENT, SAME, Pair, PairInputs
from infra.commits import Commit
from infra.errors import SteadyDancerError
from model import video
from model.pose.reading import bounded, read_picture
from model.pose.tracks import InvalidPose, PoseTrack

Estimation = Callable[[Callable, Mapping[str, tuple]], None]
"""(function, arguments by pair) -> None: calls it for each of the pairs, side by side or one after the other."""


@dataclass(frozen=True)
class FolderBenchmark:
    """``contents``: hash of every file that a pair names, None where it is not there. ``as_stored``: a driver's frames
    are read as they come (:func:`evaluation.benchmarks.reading.read_driver`).
    """

    folder: Path
    name: str
    entries: dict[str, Entry]
    contents: dict[str, str | None]
    poses: Poses
    as_stored: bool
    by_index: bool
    pairs: list[Pair]
    parents: tuple[Commit, ...] = ()

    @cached_property
    def id(self) -> str:
        return identify(self.name, self.pairs, self.by_index)

    def open(self, pair: Pair) -> PairInputs:
        """Raises SteadyDancerError where a file is missing or damaged, or a pose does not belong to its frames."""
        entry = self.entries[pair.id]
        frames, fps = read_driver(inside(self.folder, entry.driving), entry.fps, self.as_stored)
        picture = frames[0] if entry.same_source else read_picture(inside(self.folder, entry.reference))
        reference_pose, driving = self.poses_of(entry)
        if driving is not None and len(driving) != len(frames):
            raise InvalidPose(
                f"{self.folder / (entry.driving_pose or entry.driving)}: {len(driving)} poses, {len(frames)} frames."
            )
        if entry.driving_pose and driving is not None:
            driving = self._in_pixels(entry, driving, frames)
        if entry.same_source and driving is not None:
            reference_pose = driving[:1]
        return PairInputs(
            reference=picture,
            reference_pose=reference_pose,
            driving=driving,
            driving_frames=frames,
            driving_fps=fps,
            prompt=pair.prompt,
            same_source=entry.same_source,
            by_index=self.by_index,
        )

    def poses_of(self, entry: Entry) -> tuple[PoseTrack | None, PoseTrack | None]:
        """Of reference and driver, as given or as estimated. Raises SteadyDancerError where a file cannot be read."""
        if entry.driving_pose is not None:
            driving = PoseTrack.load(inside(self.folder, entry.driving_pose))[:LONGEST]
        else:
            path = inside(self.folder, entry.driving)
            driving = self.poses.of_driver(path, self.contents[entry.driving], entry.fps, self.as_stored)
        if entry.same_source:
            return driving and driving[:1], driving
        if entry.reference_pose is not None:
            return PoseTrack.load(inside(self.folder, entry.reference_pose))[:1], driving
        path = inside(self.folder, entry.reference)
        return self.poses.of_reference(path, self.contents[entry.reference]), driving

    def _in_pixels(self, entry: Entry, driving: PoseTrack, frames: np.ndarray) -> PoseTrack:
        """A given pose is in pixels of the file, the frames of a large file are smaller."""
        path = self.folder / entry.driving
        if path.is_dir():
            size = read_picture(pictures_of(path)[0]).shape[:2]
        else:
            info = video.probe(path)
            size = info.height, info.width
        return driving if bounded(size) == size else driving.resized(size, frames.shape[1:3])


def folder_benchmark(
    folder: Path,
    poses: Poses,
    *,
    manifest: Manifest | None = None,
    compat: bool = False,
    parents: tuple[Commit, ...] = (),
    side_by_side: Estimation | None = None,
) -> FolderBenchmark:
    """The benchmark of ``folder`` by its own manifest or another, the poses that it does not bring estimated.

    ``compat`` plays drivers as the official release does, whatever the manifest says. A pair that cannot be opened
    stays in: opening it raises, and it has no measured strata. Raises InvalidManifest.
    """
    manifest = manifest or read_manifest(folder)
    as_stored = compat or manifest.time_map == "index"
    entries = {entry.id: entry for entry in manifest.pairs}
    contents = _contents(folder, manifest)
    bare = FolderBenchmark(folder, manifest.name, entries, contents, poses, as_stored, as_stored, [], parents)
    (side_by_side or one_by_one)(_keep_poses, {entry.id: (bare, entry) for entry in _files_once(manifest.pairs)})
    return replace(bare, pairs=with_tertiles([_pair(bare, entry) for entry in manifest.pairs]))


def digest(folder: Path) -> str:
    """Hash of the manifest and of every file it names, before any pose is looked at. Raises InvalidManifest."""
    told = [content_of(folder / FILE), _contents(folder, read_manifest(folder))]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def one_by_one(function: Callable, calls: Mapping[str, tuple]) -> None:
    for arguments in calls.values():
        function(*arguments)


def _files_once(entries: Iterable[Entry]) -> list[Entry]:
    """Entries that name every file at least once, so that no two tasks estimate the same driver."""
    seen: set[str] = set()
    kept = []
    for entry in entries:
        asked = {name for name in (entry.reference, entry.driving) if name is not None} - seen
        if asked:
            kept.append(entry)
            seen |= asked
    return kept


def _keep_poses(benchmark: FolderBenchmark, entry: Entry) -> None:
    with suppress(SteadyDancerError):  # told when the pair is opened, which costs its own rows only
        benchmark.poses_of(entry)


def _pair(benchmark: FolderBenchmark, entry: Entry) -> Pair:
    told = {name: benchmark.contents.get(getattr(entry, name)) for name in ("reference", "driving")}
    told |= {name: benchmark.contents.get(getattr(entry, name)) for name in ("reference_pose", "driving_pose")}
    told |= {"fps": entry.fps, "as_stored": benchmark.as_stored, "prompt": entry.prompt, "same": entry.same_source}
    return Pair(
        id=entry.id,
        kind=SAME if entry.same_source else DIFFERENT,
        reference=entry.reference or entry.driving,
        driving=entry.driving,
        prompt=entry.prompt,
        strata=_strata(benchmark, entry) | entry.strata,
        content=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
    )


def _strata(benchmark: FolderBenchmark, entry: Entry) -> dict[str, str | float]:
    try:
        fps = entry.fps or video.probe(inside(benchmark.folder, entry.driving)).fps
        return measured(*benchmark.poses_of(entry), fps)
    except SteadyDancerError:
        return {}  # told when the pair is opened


def _contents(folder: Path, manifest: Manifest) -> dict[str, str | None]:
    names = {getattr(entry, field) for entry in manifest.pairs for field in ("reference", "driving")}
    names |= {getattr(entry, field) for entry in manifest.pairs for field in ("reference_pose", "driving_pose")}
    return {name: _content(folder, name) for name in sorted(filter(None, names))}


def _content(folder: Path, name: str) -> str | None:
    try:
        return content_of(inside(folder, name))
    except (SteadyDancerError, OSError):
        return None
