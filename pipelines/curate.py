"""The step `curate`: videos in, a committed dataset out."""

import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace
from pipelines import captions, choosing, console, dataset, gates, publish
from pipelines.columns import RETRIED, RIGHTS
from pipelines.gates import Gates
from pipelines.ingest import rights, sources
from pipelines.ingest.describing import describe
from pipelines.pose.people import build_pose_estimator
from pipelines.stages import pose_unit, scan_unit, store_unit
from pipelines.work import status
from pipelines.work.stage import Row
from pipelines.work.unit import Unit
from pipelines.work.units import flow

SHORT = 32
SECTIONS = ("clip", "pose", "rights", "curate", "caption")


def curate(
    config: Config, workspace: Workspace, run: StepRun, *, build_estimator: Callable[[Row], Any] = build_pose_estimator
) -> Commit:
    """Every candidate clip scored and judged, the kept ones stored, the dataset checked, all of it committed.

    Ray is running. Work is committed unit by unit: after an interruption the same call goes on where it was, to the
    same bytes, and where sources were added only these are worked on. A dataset that is there is replaced. Raises
    SourceError (nothing to curate), UsageError (gates, opt-out lists), EndpointError (captions), SteadyDancerError (no
    clip kept; the reasons are in the message) and DatasetRefused (a rule is broken); in all of these what was committed
    stays as it is.
    """
    import ray

    rules, previous = gates.load(config.curate.gates), commits.find(workspace.dataset)
    on_gpu = ray.cluster_resources().get("GPU", 0) > 0
    scan, pose = scan_unit(config, workspace), pose_unit(config, workspace, build_estimator, on_gpu=on_gpu)
    store = store_unit(config, workspace)
    early = (gates.JudgeScan(rules),) if config.curate.score == "survivors" else ()
    work = partial(flow, retry_failed=config.curate.retry_failed, patience=config.curate.patience)

    described, parents = described_sources(config, workspace)
    measured = console.progressing(work([scan, *early, pose], described), len(described))
    rows = settled([finished(slim(row), rules) for row in measured], rules, config, partial(work, [store]))
    counts = dataset.funnel(rows)
    run.log_metrics({"sources": counts["sources"], "found": counts["found"], "kept": counts["kept"]})
    run.log_metrics({f"rejected.{reason}": number for reason, number in counts["rejected"].items()})
    if not counts["kept"]:
        Console().print(console.funnel_table(counts))
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts["rejected"].items())
        console.print_failures(rows, Console())
        raise SteadyDancerError(
            f"No clip was kept: {counts['found']} found, rejected for {reasons}. Nothing was committed.",
            f"Look at the sources, or loosen the gates ({config.curate.gates}).",
        )
    without_caption = _caption(rows, config, workspace, store)

    source_of = {row["clip_id"]: row["source_id"] for row in rows}

    def members(row: Row) -> publish.Members:
        clip = row["clip_id"]
        return dataset.made_members(store.file(clip, "clip.mp4"), pose.file(clip, "pose.npz"), row)

    def preview(clip: str) -> Path:
        posed = pose.place(clip) / "preview.jpg"
        return posed if posed.is_file() else scan.place(source_of[clip]) / f"preview-{clip}.jpg"

    commit = publish.publish(
        workspace.dataset,
        rows,
        rules,
        members,
        section_values(config, *SECTIONS),
        parents=parents,
        meta={"sources": _digest(described), "without_caption": without_caption},
        previous=previous,
        never_again={row["source_id"] for row in described if row.get("fault") == "opted_out"},
        preview=preview,
        costs=status.costs(workspace.folder),
        refused=workspace.folder / "refused",
        scratch=workspace.cache,
        replace=True,
    )
    with tempfile.TemporaryDirectory() as folder, commit.open(publish.REPORT) as report:
        (Path(folder) / publish.REPORT).write_bytes(report.read())
        run.log_artifact(Path(folder) / publish.REPORT)
    return commit


def described_sources(config: Config, workspace: Workspace) -> tuple[list[Row], list[Commit]]:
    """A row per source, and the commit they come from, if it is the rendered corpus."""
    places, parents = config.sources, []
    if places is None:
        parents = [commits.read(workspace.sample)]
        places = [str(parents[0].path / "videos")]
    policy = rights.policy(config.rights, workspace.opt_out)
    found = sources.find(places)
    with console.reading() as progress:
        rows = describe(
            found, index=workspace.source_index, cache=workspace.cache / "sources", policy=policy, progress=progress
        )
    for row in rows:
        row["table_caption"] = row.pop("caption", None)
    return rows, parents


def outdated(config: Config, workspace: Workspace, commit: Commit) -> str | None:
    """Why a committed dataset is not what the config gives now; None where it is."""
    if commit.meta["gates"] != _plain(gates.load(config.curate.gates)):
        return "the gates are others now"
    if commit.config != section_values(config, *SECTIONS):
        return "the config is another now"
    if config.curate.retry_failed and (failed := _failed(commit)):
        return f"{failed} failed before"
    try:
        rows, _ = described_sources(config, workspace)
    except sources.SourceError as error:
        Console().print(f"The sources cannot be looked at, what was committed is taken: {escape(str(error))}")
        return None
    if _digest(rows) == commit.meta["sources"]:
        return None
    before = {(row["source"], row["source_id"]) for row in dataset.manifest_of(commit)}
    now = {(row["source"], row["source_id"]) for row in rows}
    names_before, names_now = {name for name, _ in before}, {name for name, _ in now}
    changed = len({name for name, _ in now - before} & names_before)
    counts = {"new": len(names_now - names_before), "changed": changed, "gone": len(names_before - names_now)}
    told = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    return f"sources: {told or 'what is said of them has changed'}"


def _failed(commit: Commit) -> int:
    """How many clips failed, or have no caption of the model that was asked."""
    lost = sum(commit.meta["funnel"]["rejected"].get(fault, 0) for fault in RETRIED)
    return lost + commit.meta.get("without_caption", 0)


def _digest(described: Iterable[Row]) -> str:
    """Of all that makes the sources what they are, and nothing of where they lie."""
    columns = ("source", "source_id", "sidecar", "table_caption", "metadata", "fault", *RIGHTS)
    content = [[row.get(column) for column in columns] for row in described]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _plain(rules: Gates) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(rules)))


def slim(row: Row) -> Row:
    """The row without what it has not, its names and short texts shared with other rows: 100,000 take half a GiB."""
    return {
        sys.intern(name): sys.intern(value) if isinstance(value, str) and len(value) <= SHORT else value
        for name, value in row.items()
        if value is not None
    }


def finished(row: Row, rules: Gates) -> Row:
    """The row with its id, how far it was measured, and its verdict."""
    if not row.get("clip_id"):
        name = f"{row['source_id']} {row['source']} {row['copy']}"
        row = {**row, "clip_id": hashlib.sha256(name.encode()).hexdigest()[:20]}
    reached = "pose" if "body_confidence" in row else "scan" if row.get("shot") is not None else "found"
    row = {**row, "reached": reached}
    return {**row, **gates.judge(row, rules)}


def settled(rows: list[Row], rules: Gates, config: Config, store: Callable[[list[Row]], Iterable[Row]]) -> list[Row]:
    """Judged rows with their final verdicts: of the windows of a shot and of near-duplicates the best are kept, and
    stored. Where one cannot be stored the next best takes its place.
    """
    from rich.progress import track

    distance, per_shot = config.curate.duplicate_distance, config.curate.windows_per_shot
    names = [rules.base_tier, *(tier.name for tier in rules.tiers)]
    lost: dict[str, Row] = {}
    while True:
        judged = [finished({**row, **lost[row["clip_id"]]}, rules) if row["clip_id"] in lost else row for row in rows]
        judged = choosing.settle(judged, distance, per_shot, names)
        kept = [row for row in judged if row["verdict"] == "kept"]
        done = track(store(kept), description="storing clips", total=len(kept), transient=True)
        stored = {row["clip_id"]: row for row in done}
        failed = {
            clip: {name: row[name] for name in ("fault", "error")} for clip, row in stored.items() if row.get("fault")
        }
        if not failed:
            return [stored.get(row["clip_id"], row) for row in judged]
        lost |= failed


def _caption(rows: list[Row], config: Config, workspace: Workspace, store: Unit) -> int:
    """Gives every kept row its caption and where it comes from; how many the model that was asked did not give."""
    from rich.progress import Progress

    from model import video

    def pictures(row: Row) -> np.ndarray:
        count = config.caption.frames
        places = np.unique(np.linspace(0, row["stored_frames"] - 1, count).round().astype(int))
        return video.pick(store.file(row["clip_id"], "clip.mp4"), places.tolist())

    kept = [row for row in rows if row["verdict"] == "kept"]
    with Progress(transient=True) as progress:
        task = progress.add_task("captions", total=len(kept), visible=config.caption.endpoint is not None)
        ledger = workspace.units / "captions"
        found = captions.caption(kept, config.caption, pictures, ledger, lambda clip: progress.advance(task))
    for row in kept:
        row["caption"], row["caption_from"] = found.texts[row["clip_id"]]
    if found.requests:
        Console().print(f"captions: {found.requests} requests, {found.tokens} tokens")
    for line in found.told():
        Console().print(f"[yellow]captions[/] {escape(line)}", soft_wrap=True)
    return len(found.fallen)


def show(commit: Commit, terminal: Console) -> None:
    """The funnel of a dataset as a table, what failed, and warnings of its checks."""
    terminal.print(console.funnel_table(commit.meta["funnel"]))
    if set(RETRIED) & set(commit.meta["funnel"]["rejected"]):
        console.print_failures(dataset.manifest_of(commit), terminal)
    if failed := _failed(commit):
        terminal.print(f"To try these {failed} again: steadydancer curate --retry-failed", soft_wrap=True)
    with commit.open(publish.CHECKS) as file:
        warnings = [check for check in json.load(file) if not check["passed"]]
    for check in warnings:
        named = ", ".join(map(str, check["broken_by"][:5]))
        terminal.print(f"[yellow]warning[/] {escape(check['rule'])}: {escape(named)}", soft_wrap=True)
