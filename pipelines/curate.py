"""The step `curate`: videos in, a committed dataset out."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace
from pipelines import dataset, gates, report, sources, validation
from pipelines.clips import WriteClip
from pipelines.scores import (
    CleanTrack,
    CountPeople,
    EstimatePose,
    MeasureBody,
    MeasureLight,
    ReadWindow,
    SaveTrack,
    build_pose_estimator,
)
from pipelines.shots import FindShots, Probe
from pipelines.stage import PerProcess, Row
from pipelines.units import Unit, flow
from pipelines.windows import MakeWindows

SECTIONS = ("clip", "pose", "curate")


def scan_unit(config: Config, workspace: Workspace) -> Unit:
    """A source -> a row per candidate clip."""
    clip, curate = config.clip, config.curate
    windows = MakeWindows(clip.frames, clip.fps, curate.min_shot_seconds, curate.trim_seconds)
    return Unit("scan", "source_id", (Probe(), FindShots(), windows), workspace.units)


def score_unit(config: Config, workspace: Workspace, build: Callable[[Row], Any] = build_pose_estimator) -> Unit:
    """A candidate clip -> its scores, pose.npz and preview.jpg. ``build`` makes the estimator from the pose section."""
    settings = section_values(config, "pose")["pose"]
    operational = {key: value for key, value in config.pose.model_dump().items() if key not in settings}
    estimator = PerProcess(settings, build, operational)
    people = CountPeople(estimator, config.pose.people_samples)
    pose = config.pose
    cleaning = (CleanTrack(pose.fill_seconds, pose.smooth_seconds),) if pose.clean == "always" else ()
    stages = (ReadWindow(), MeasureLight(), people, EstimatePose(estimator), MeasureBody(), *cleaning, SaveTrack())
    return Unit("score", "clip_id", stages, workspace.units)


def store_unit(config: Config, workspace: Workspace) -> Unit:
    """A kept clip -> clip.mp4."""
    return Unit("store", "clip_id", (WriteClip(config.clip.area, config.curate.crf),), workspace.units)


def curate(
    config: Config, workspace: Workspace, run: StepRun, *, build_estimator: Callable[[Row], Any] = build_pose_estimator
) -> Commit:
    """Every candidate clip scored and judged, the kept ones stored, the manifest checked, all of it committed.

    Ray is running. Work is committed unit by unit: after an interruption the same call goes on where it was, to the
    same bytes. Raises SourceError (nothing to curate), UsageError (gates), SteadyDancerError (no clip kept; the reasons
    are in the message) and DatasetRefused (a rule is broken); in all of these nothing is committed.
    """
    rules = gates.load(config.curate.gates)
    places, parents = config.sources, []
    if places is None:
        parents = [commits.read(workspace.sample)]
        places = [parents[0].path / "videos"]
    scan, score = scan_unit(config, workspace), score_unit(config, workspace, build_estimator)
    store = store_unit(config, workspace)

    rows = _described(sources.find(places))
    rows = [
        dataset.finished(row, rules) for row in _progressing(flow([scan, score, gates.Judge(rules), store], rows), rows)
    ]
    counts = dataset.funnel(rows)
    run.log_metrics({"sources": counts["sources"], "found": counts["found"], "kept": counts["kept"]})
    run.log_metrics({f"rejected.{reason}": number for reason, number in counts["rejected"].items()})
    if not counts["kept"]:
        Console().print(_funnel_table(counts))
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected"].items())
        _print_failures(rows, Console())
        raise SteadyDancerError(
            f"No clip was kept: {counts['found']} found, rejected for {reasons}. Nothing was committed.",
            f"Look at the sources, or loosen the gates ({config.curate.gates}).",
        )

    values = section_values(config, *SECTIONS)
    meta = {"funnel": counts, "gates": [vars(gate) for gate in rules]}
    with commits.write(workspace.dataset, "dataset", config=values, parents=parents, meta=meta) as folder:
        rows = dataset.write_shards(
            folder / dataset.SHARDS,
            rows,
            lambda clip: (store.place(clip) / "clip.mp4", score.place(clip) / "pose.npz"),
            config.curate.shard_clips,
            config.curate.shard_mb,
        )
        dataset.write_manifest(folder / dataset.MANIFEST, rows)
        checks = validation.validate(
            dataset.read_manifest(folder / dataset.MANIFEST), rules, config.clip.frames, config.clip.fps
        )
        (folder / "validation.json").write_text(json.dumps(checks, indent=1))
        validation.refuse_if_broken(checks)
        report.write(folder / "report.html", rows, rules, checks, lambda clip: score.place(clip) / "preview.jpg")
    commit = commits.read(workspace.dataset)
    run.log_artifact(commit.path / "report.html")
    return commit


def _described(videos: list) -> list[Row]:
    from rich.progress import track

    return sources.describe(track(videos, description="hashing sources", transient=True))


def _progressing(rows, described: list[Row]):
    """``rows`` as they come, under one bar that counts sources: a row is its share of its source."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("curating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sources, {task.fields[clips]} clips"),
    )
    with Progress(*columns, TimeElapsedColumn()) as progress:
        bar = progress.add_task("", total=len(described), clips=0)
        for number, row in enumerate(rows, 1):
            progress.update(bar, advance=1 / row.get("siblings", 1), clips=number)
            yield row


def show(commit: Commit, console: Console) -> None:
    """The funnel of a dataset as a table."""
    console.print(_funnel_table(commit.meta["funnel"]))
    if "failed" in commit.meta["funnel"]["rejected"]:
        _print_failures(dataset.read_manifest(commit.path / dataset.MANIFEST), console)
        console.print(f"To try these again, and only these, delete {commit.uri} and run the same command.")


def _print_failures(rows: list[Row], console: Console) -> None:
    """What raised, each message once with the number of clips it cost."""
    for error, number in Counter(row["error"] for row in rows if row["reason"] == "failed").most_common(5):
        console.print(f"[red]failed[/] {number} x {escape(error)}", soft_wrap=True)


def _funnel_table(counts: dict[str, Any]) -> Table:
    table = Table("curation", "clips", title=f"{counts['sources']} sources")
    table.add_row("found", str(counts["found"]))
    for reason, number in counts["rejected"].items():
        table.add_row(f"  rejected: {reason}", str(number), style="red")
    table.add_row("kept", str(counts["kept"]), style="green")
    return table
