"""Whether a committed evaluation is still what its config asks for."""

from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape

from evaluation.benchmarks.choice import DATASET, MINI
from evaluation.benchmarks.folder import digest
from evaluation.benchmarks.reading import content_of
from evaluation.metrics.metric import ERROR
from evaluation.metrics.registry import select
from evaluation.metrics.sets.registry import select_sets
from evaluation.pairs import read_pairs
from evaluation.scoring import used_weights
from evaluation.seeds import VideoKey, file_names
from evaluation.tasks import Failure
from evaluation.videos import MISSING, find_videos, folder_of
from infra.commits import Commit
from infra.config import differences, section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.workspace import Workspace

SECTIONS = ("seed", "clip", "pose", "encode", "model", "animate", "evaluate")
"""What an evaluation depends on, beside its parents."""
LASTING = (MISSING, "UnreadableVideo:")
"""How reasons begin that the same files give again."""


def outdated(config: Config, workspace: Workspace, commit: Commit) -> str | None:
    """Why a committed evaluation is not what the config gives now; None where it is.

    What it was made of and is not there any more cannot be compared: that is told, and no reason to run again.
    """
    if changed := differences(commit.config, section_values(config, *SECTIONS)):
        return f"asked differently: {', '.join(key for key, _, _ in changed)}"
    for reason in (_benchmark, _definitions, _weights, _videos):
        try:
            if why := reason(config, commit):
                return why
        except (SteadyDancerError, OSError) as error:
            told = f"not compared with what {commit.uri} was made of: {error}"
            Console().print(f"[bold yellow]{escape(told)}[/]", soft_wrap=True)
    if failed := len(_mendable(commit)):
        return f"{failed} videos had failed"
    return None


def files_of(config: Config) -> str | None:
    """What identifies the files of a benchmark that somebody made; None for one of ours."""
    named = config.evaluate.benchmark
    return None if named in (DATASET, MINI) else digest(Path(named).expanduser().absolute())


def videos_of(commit: Commit, label: str) -> dict[str, str]:
    """Name -> SHA-256 of the videos of a model in an evaluation."""
    return {name: facts["sha256"] for name, facts in commit.files.items() if name.startswith(f"videos/{label}/")}


def _benchmark(config: Config, commit: Commit) -> str | None:
    return "the benchmark's files are others now" if commit.meta["benchmark"]["files"] != files_of(config) else None


def _definitions(config: Config, commit: Commit) -> str | None:
    """Of metrics; a set metric's id begins with its definition and goes on with what it was computed of."""
    now = {metric.name: metric.identify(config) for metric in select(config.evaluate.metrics)}
    was = {row["metric"]: row["metric_id"] for row in _rows(commit, "scores")}
    changed = {name for name in now.keys() | was.keys() if now.get(name) != was.get(name)}
    sets = {metric.name: f"{metric.definition_id}-" for metric in select_sets(config.evaluate.sets)}
    sets_was = {row["metric"]: f"{row['metric_id']}-" for row in _rows(commit, "sets")}
    changed |= {
        name
        for name in sets.keys() | sets_was.keys()
        if name not in sets or not sets_was.get(name, "").startswith(sets[name])
    }
    return f"{', '.join(sorted(changed))} are defined otherwise now" if changed else None


def _weights(config: Config, commit: Commit) -> str | None:
    now = used_weights(config)
    rows = [row for name in ("scores", "sets") for row in _rows(commit, name)]
    changed = {row["metric"] for row in rows if row["weights"] != now.get(row["metric"])}
    return f"the weights of {', '.join(sorted(changed))} are others now" if changed else None


def _videos(config: Config, commit: Commit) -> str | None:
    with commit.open("pairs.parquet") as file:
        pairs = read_pairs(file)
    for label, theirs in config.evaluate.videos.items():
        found, _ = find_videos(label, folder_of(theirs), pairs)
        names = file_names(found)
        now = {names[key]: content_of(video) for key, video in found.items() if not isinstance(video, Failure)}
        if now != videos_of(commit, label):
            return f"the videos of {label} are others now"
    return None


def _mendable(commit: Commit) -> set[VideoKey]:
    """Of what broke and could go well in another run."""
    failed = [row for row in _rows(commit, "scores") if row["status"] == ERROR]
    return {(row["model"], row["pair"], row["seed"]) for row in failed if not row["reason"].startswith(LASTING)}


def _rows(commit: Commit, name: str) -> list[dict]:
    with commit.open(f"{name}.parquet") as file:
        return pq.read_table(file).to_pylist()
