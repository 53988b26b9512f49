"""Whether all files of a benchmark are there and can be read: everything that is wrong, at once."""

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from evaluation.benchmarks.layouts import LAYOUTS, Problem
from evaluation.benchmarks.manifest import FILE, Entry, Manifest, checked, inside, read_manifest
from evaluation.benchmarks.reading import LONGEST, read_driver
from infra.errors import SteadyDancerError, UsageError
from model.pose.reading import read_picture
from model.pose.tracks import PoseTrack

ITS_OWN = "manifest"
"""The name of what has a benchmark.yaml and no layout that is known here."""


def read_benchmark(name: str, folder: Path) -> tuple[Manifest | None, list[Problem]]:
    """The manifest of ``folder``, its own or that of the layout ``name``, and what is missing or cannot be read.

    The manifest is None where so much is missing that there is no pair. Raises UsageError for a layout that is not
    known and a folder that is not there, InvalidManifest for a benchmark.yaml that is not valid.
    """
    if name not in (*LAYOUTS, ITS_OWN):
        raise UsageError(f"There is no layout {name!r}.", f"Known: {', '.join(LAYOUTS)}; with a {FILE}: {ITS_OWN}.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    if (folder / FILE).exists() or name == ITS_OWN:
        manifest, problems = read_manifest(folder), []
    else:
        layout = LAYOUTS[name](folder)
        problems = layout.problems
        manifest = checked(layout.manifest, folder) if layout.pairs else None
    known = {problem.path for problem in problems}
    return manifest, problems + [p for p in check(folder, manifest) if p.path not in known] if manifest else problems


def check(folder: Path, manifest: Manifest) -> list[Problem]:
    """Every file that a pair names, read to its end once; what is wrong with it, in the order of the pairs."""
    problems: dict[str, Problem] = {}
    read: dict[tuple, int] = {}
    for entry in manifest.pairs:
        for path, expected, reader in _readers(folder, entry, manifest.time_map == "index"):
            key = path, expected
            if path in problems or key in read:
                continue
            try:
                read[key] = reader(inside(folder, path))
            except SteadyDancerError as error:
                problems[path] = Problem(path, expected, str(error).splitlines()[0].removeprefix(f"{folder / path}"))
        frames, poses = read.get((entry.driving, "a driving video")), read.get((entry.driving_pose, "a pose per frame"))
        if frames is not None and poses is not None and frames != poses:
            told = f"{poses} poses; {entry.driving} has {frames} frames"
            problems.setdefault(entry.driving_pose, Problem(entry.driving_pose, "a pose per frame", told))
    return list(problems.values())


def _readers(folder: Path, entry: Entry, by_index: bool) -> list[tuple[str, str, Callable[[Path], int]]]:
    """(path, what is expected there, how it is read: gives the number of frames)"""
    readers = [(entry.driving, "a driving video", lambda path: len(read_driver(path, entry.fps, by_index)[0]))]
    if entry.reference is not None:
        readers.append((entry.reference, "a picture", lambda path: len(read_picture(path)) and 1))
    if entry.reference_pose is not None:
        readers.append((entry.reference_pose, "a pose", lambda path: len(PoseTrack.load(path))))
    if entry.driving_pose is not None:
        readers.append((entry.driving_pose, "a pose per frame", lambda path: min(len(PoseTrack.load(path)), LONGEST)))
    return readers


def table_of(problems: list[Problem]) -> Table:
    """For people to read."""
    table = Table("file", "expected", "found", title="Missing or unreadable", title_justify="left")
    for problem in problems:
        table.add_row(escape(problem.path), escape(problem.expected), escape(problem.found.lstrip(": ")))
    return table
