"""Videos made elsewhere, by any method: a folder with an mp4 per pair, scored like those made here.

``<pair>.mp4``, or ``<pair>-<seed>.mp4`` where a method was run with several seeds; no seed in the name is seed 0.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from evaluation.benchmarks.manifest import SEED
from evaluation.pairs import Pair
from evaluation.seeds import VideoKey
from evaluation.tasks import Failure
from infra.errors import SteadyDancerError
from infra.schema import Videos

MISSING = "missing:"
"""What the reason of a Failure begins with."""


def find_videos(label: str, folder: Path, pairs: Iterable[Pair]) -> tuple[dict[VideoKey, Path | Failure], list[str]]:
    """The videos by (label, pair id, seed), a Failure where there is none or no file, and what to tell of the folder.

    That is other numbers of seeds from pair to pair, and files that belong to no pair. Raises SteadyDancerError
    for a folder that is not there, or has not one of the pairs.
    """
    if not folder.is_dir():
        raise SteadyDancerError(f"evaluate.videos.{label}: {folder} is no folder.", "Name the folder of the mp4s.")
    ids = {pair.id for pair in pairs}
    seeds: dict[str, dict[int, Path]] = {}
    strangers = []
    for path in sorted(folder.glob("*.mp4"), key=lambda path: (path.stem not in ids, path.name)):
        pair, seed = _told_by(path.stem, ids)
        if pair is None or seed in seeds.get(pair, {}):
            strangers.append(path.name)
        else:
            seeds.setdefault(pair, {})[seed] = path
    if not seeds:
        raise SteadyDancerError(
            f"evaluate.videos.{label}: {folder} has a video of not one of {len(ids)} pairs, such as {min(ids)}.mp4.",
            "Name the videos after the pairs: <pair>.mp4, or <pair>-<seed>.mp4.",
        )
    found: dict[VideoKey, Path | Failure] = {}
    for pair in pairs:
        found |= {(label, pair.id, seed): _file(path) for seed, path in sorted(seeds.get(pair.id, {}).items())}
        if pair.id not in seeds:
            found[label, pair.id, 0] = Failure(f"{MISSING} {folder} has no {pair.id}.mp4")
    return found, [*_seeds_notice(label, seeds), *_strangers_notice(label, strangers)]


def folder_of(theirs: Videos) -> Path:
    return Path(theirs.folder).expanduser().absolute()


def _file(path: Path) -> Path | Failure:
    readable = path.is_file() and os.access(path, os.R_OK)
    return path if readable else Failure(f"{MISSING} {path} is no file that can be read")


def _told_by(stem: str, ids: set[str]) -> tuple[str | None, int]:
    """The pair and seed that a file's name says."""
    if stem in ids:
        return stem, 0
    seeded = SEED.match(stem)
    return (seeded[1], int(seeded[2])) if seeded and seeded[1] in ids else (None, 0)


def _seeds_notice(label: str, seeds: dict[str, dict[int, Path]]) -> list[str]:
    counts = sorted({len(each) for each in seeds.values()})
    if len(counts) == 1:
        return []
    told = f"OTHER NUMBERS OF SEEDS: {label} has {counts[0]} to {counts[-1]} videos of a pair"
    return [f"{told}; each pair counts the same, with the mean of its videos."]


def _strangers_notice(label: str, names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"OF NO PAIR: {label} has {len(names)} videos that no pair is named like, such as {names[0]}."]
