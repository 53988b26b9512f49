"""The three stages as steps of the chain: from a parent's commit to a checkpoint commit."""

import json
import os
import shutil
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace
from training import data, prebuild

KIND = "checkpoint"


def train_stage(config: Config, workspace: Workspace, run: StepRun | None, number: int) -> Commit:
    """Trains stage ``number`` (1, 2, 3) from the encoded dataset and stage ``number - 1`` of the work folder.

    Commits ``model/`` (merged weights), ``deepspeed/`` (the final DeepSpeed checkpoint, for zero_to_fp32) and
    ``history.parquet`` (one row per step) at ``workspace.stage(number)``. Run again after an interruption it continues
    from the newest checkpoint. Raises SteadyDancerError for a parent or dataset that does not fit, for a loss that is
    not finite, and for workers that die too often.
    """
    from training.checkpoint import Checkpoints
    from training.job import Job
    from training.launch import run_workers

    console = Console()
    started = time.perf_counter()
    encoded, parent = _parents(config, workspace, number)
    parents = [encoded, *([parent] if parent else [])]
    stage, identity = config.train.stages[number - 1], stage_values(config, number)
    with console.status("checking DeepSpeed's compiled op (built once, takes a minute)"):
        compiled_op = prebuild.build()
    for earlier in range(1, number):  # left behind where a kill came between a commit and its clean-up
        shutil.rmtree(workspace.checkpoints(earlier), ignore_errors=True)
    folder = workspace.checkpoints(number).absolute()
    job = Job(
        config=config,
        number=number,
        identity=identity,
        encoded=encoded.uri,
        cache=workspace.cache.absolute(),
        parent=str(parent.path.absolute()) if parent else None,
        folder=folder,
        run=run,
        compiled_op=compiled_op,
    )
    checkpoints = Checkpoints(folder, identity, parents, config.train.keep_checkpoints, console.print)
    if (state := _finished(checkpoints, stage.steps)) is None:
        run_workers(job, console)
        state = _finished(checkpoints, stage.steps)
        if state is None:
            raise SteadyDancerError(f"Stage {number} ended without a checkpoint of its last step under {folder}.")
    commit = _publish(config, workspace, number, state, parents)
    shutil.rmtree(folder)
    if run is not None:
        _log(run, commit, time.perf_counter() - started)
    return commit


def stage_values(config: Config, number: int) -> dict:
    """The part of the config that decides what a stage's commit holds, as plain data."""
    values = section_values(config, "seed", "clip", "encode", "model", "train")
    stages = values["train"].pop("stages")
    return {**values, "stage": {"number": number, **stages[number - 1]}}


def show(commit: Commit, console: Console) -> None:
    """The stage's result as a table."""
    meta = commit.meta
    table = Table(title=f"Stage {meta['stage']}: {meta['objective'].replace('_', ' ')}", title_justify="left")
    for column in ("loss", "start", "end", "change"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    rows = [("validation at fixed noise", meta["validation"]["start"]["loss"], meta["validation"]["end"]["loss"])]
    for part in [name for name in meta["validation"]["start"] if name != "loss"]:
        if len(meta["validation"]["start"]) > 2:
            rows.append((f"  {part}", meta["validation"]["start"][part], meta["validation"]["end"][part]))
    for name, start, end in rows:
        table.add_row(name, f"{start:.5f}", f"{end:.5f}", f"{100 * (end / start - 1):+.1f} %" if start else "")
    table.caption = (
        f"{meta['steps']} steps, {meta['workers']} workers, ZeRO-{meta['zero']}; weights in {commit.uri}/model"
    )
    console.print(table)


def _parents(config: Config, workspace: Workspace, number: int) -> tuple[Commit, Commit | None]:
    encoded = commits.find(workspace.encoded)
    if encoded is None:
        raise SteadyDancerError(
            f"Stage {number} reads the encoded dataset, and {workspace.encoded} holds none.", "Run `encode` first."
        )
    encoded = commits.fetch(encoded.uri, workspace.cache)
    data.check(commits.verify(encoded), config)
    if number == 1:
        return encoded, None
    parent = commits.find(workspace.stage(number - 1))
    if parent is None:
        raise SteadyDancerError(
            f"Stage {number} starts from stage {number - 1}, and {workspace.stage(number - 1)} holds none.",
            f"Run `train --stage {number - 1}` first.",
        )
    if parent.kind != KIND or parent.meta.get("stage") != number - 1:
        what = f"stage {parent.meta['stage']}" if parent.kind == KIND else f"a {parent.kind}"
        raise SteadyDancerError(
            f"Stage {number} starts from a checkpoint of stage {number - 1}, {parent.uri} is {what}.",
            f"Put it back, or delete it and run `train --stage {number - 1}`.",
        )
    if parent.meta["size"] != config.model.size:
        raise SteadyDancerError(
            f"{parent.uri} is a model of size {parent.meta['size']!r}, this config asks for {config.model.size!r}.",
            "Train it in a work folder of its own (work=...).",
        )
    return encoded, commits.verify(parent)


def _finished(checkpoints, steps: int) -> Commit | None:
    newest = checkpoints.newest()
    return newest if newest is not None and newest.meta["step"] == steps else None


def _publish(config: Config, workspace: Workspace, number: int, state: Commit, parents: list[Commit]) -> Commit:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    from model.checkpoint import save_model
    from training.adapters import merge
    from training.trainer import starting_model

    stage = config.train.stages[number - 1]
    progress = json.loads((state.path / "progress.json").read_text())
    meta = {
        "stage": number,
        "objective": stage.objective,
        "size": config.model.size,
        "steps": stage.steps,
        "workers": config.train.workers,
        "zero": config.train.zero,
        "validation": progress["validation"],
    }
    target, identity = workspace.stage(number), stage_values(config, number)
    with commits.write(target, KIND, config=identity, parents=parents, meta=meta) as folder:
        shutil.copytree(state.path / "deepspeed", folder / "deepspeed")
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            trained = get_fp32_state_dict_from_zero_checkpoint(str(folder / "deepspeed"))
        model = starting_model(config, parents[1].uri if number > 1 else None)
        merge(model, trained, stage)
        save_model(model, folder / "model")
        pq.write_table(pa.Table.from_pylist(progress["history"]), folder / "history.parquet")
    return commits.read(target)


def _log(run: StepRun, commit: Commit, seconds: float) -> None:
    validation = commit.meta["validation"]
    for step, when in ((0, "start"), (commit.meta["steps"], "end")):
        run.log_metrics({f"validation_{name}": value for name, value in validation[when].items()}, step=step)
    run.log_metrics({"stage_seconds": seconds})
    run.log_params({"objective": commit.meta["objective"], "steps": commit.meta["steps"], **commit.config["stage"]})
    run.log_artifact(commit.path / "history.parquet")
