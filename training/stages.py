"""The three stages as steps of the chain: from a parent's commit to a checkpoint commit."""

import shutil
import time

from rich.console import Console
from rich.table import Table

from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace
from training import prebuild
from training.clips import data
from training.planning import check as plan_check

KIND = "checkpoint"
TRAINED, HISTORY, VALIDATION = "trained.safetensors", "history.parquet", "validation.parquet"


def train_stage(config: Config, workspace: Workspace, run: StepRun | None, number: int) -> Commit:
    """Trains stage ``number`` (1, 2, 3) from the encoded dataset and stage ``number - 1``.

    Commits ``model/`` (merged weights), ``trained.safetensors`` (adapters and new parts of a lora stage), and
    ``history.parquet`` and ``validation.parquet`` (a row per step, and per validation) at ``workspace.stage(number)``.
    Run again after an interruption it continues from the newest checkpoint, on as many workers as there are now. Raises
    SteadyDancerError for a parent or dataset that does not fit, for a plan that does not, for losses that are no
    numbers, and for workers that die too often.
    """
    from training.checkpoint import Checkpoints
    from training.job import Job
    from training.launch import run_workers
    from training.preview import Previews

    console = Console()
    started = time.perf_counter()
    clips, parent = _parents(config, workspace, number)
    parents = [clips, *([parent] if parent else [])]
    stage, identity = config.train.stages[number - 1], stage_values(config, number)
    if config.train.plan:
        plan_check.check(config, number)
    with console.status("checking DeepSpeed's compiled op (built once, takes a minute)"):
        compiled_op = prebuild.build()
    for earlier in range(1, number):  # left behind where a kill came between a commit and its clean-up
        if commits.find(workspace.stage(earlier)) is not None:
            shutil.rmtree(workspace.checkpoints(earlier), ignore_errors=True)
    folder = workspace.checkpoints(number).absolute()
    job = Job(
        config=config,
        number=number,
        identity=identity,
        data=clips.uri,
        cache=workspace.cache.absolute(),
        parent=str(parent.path.absolute()) if parent else None,
        folder=folder,
        run=run,
        compiled_op=compiled_op,
    )
    checkpoints = Checkpoints(folder, identity, parents, config.train.keep_checkpoints, console.print)
    if (state := _finished(checkpoints, stage.steps)) is None:
        with Previews(job, console) as previews:
            run_workers(job, console, previews.look)
        state = _finished(checkpoints, stage.steps)
        if state is None:
            raise SteadyDancerError(f"Stage {number} ended without a checkpoint of its last step under {folder}.")
    commit = _publish(config, workspace, number, state, parents)
    shutil.rmtree(folder)
    if run is not None:
        _log(run, commit, time.perf_counter() - started)
    return commit


def asked_for_another(config: Config, workspace: Workspace, commit: Commit) -> None:
    """Refuses to pass over a stage that was trained from another parent or dataset than is named now."""
    made_from = {parent.id for parent in commit.parents}
    for key in ("encoded", "start_from"):
        named = getattr(config.train, key)
        other = commits.read_record(named) if named is not None else None
        concerned = other is not None and (key == "encoded" or other.meta.get("stage") == commit.meta["stage"] - 1)
        if concerned and other.id not in made_from:
            raise SteadyDancerError(
                f"{commit.uri} is there already, and was not made from train.{key}={named}.",
                "Train it in a work folder of its own (work=...).",
            )


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
    start, end = (meta["validation"][when] for when in ("start", "end"))
    rows = [("validation at fixed noise", start["loss"], end["loss"])]
    if len(start) > 2:
        rows += [(f"  {part}", start[part], end[part]) for part in start if part != "loss"]
    for name, before, after in rows:
        change = f"{100 * (after / before - 1):+.1f} %" if before else ""
        table.add_row(name, f"{before:.5f}", f"{after:.5f}", change)
    left_out = [f"{meta[key]} {what}" for key, what in _LEFT_OUT.items() if meta.get(key)]
    table.caption = "; ".join([f"{meta['steps']} steps", *left_out, f"weights in {commit.uri}/model"])
    console.print(table)


_LEFT_OUT = {"skipped": "not taken", "unreadable": "clips left out", "rolled_back": "rolled back"}


def _parents(config: Config, workspace: Workspace, number: int) -> tuple[Commit, Commit | None]:
    clips = _clips(config, workspace, number)
    data.check(commits.verify(clips), config)
    if number == 1:
        if config.train.start_from is not None:
            raise SteadyDancerError(
                f"Stage 1 starts from the base model, not from train.start_from={config.train.start_from}.",
                "Leave it out; model.base names the base.",
            )
        return clips, None
    parent = _parent(config, workspace, number)
    if parent.kind != KIND or parent.meta.get("stage") != number - 1:
        what = f"stage {parent.meta['stage']}" if parent.kind == KIND else f"a {parent.kind}"
        raise SteadyDancerError(
            f"Stage {number} starts from a checkpoint of stage {number - 1}, {parent.uri} is {what}.",
            f"Name a checkpoint of stage {number - 1} by --from, or make one by `train --stage {number - 1}`.",
        )
    if parent.meta["size"] != config.model.size:
        raise SteadyDancerError(
            f"{parent.uri} is a model of size {parent.meta['size']!r}, this config asks for {config.model.size!r}.",
            "Train it in a work folder of its own (work=...).",
        )
    return clips, commits.verify(parent)


def _clips(config: Config, workspace: Workspace, number: int) -> Commit:
    """The dataset to train on, on this machine."""
    raw = config.train.data == "raw"
    where = workspace.dataset if raw else config.train.encoded or workspace.encoded
    if commits.find(where) is None:
        what, step = ("a dataset", "curate") if raw else ("the encoded dataset", "encode")
        raise SteadyDancerError(f"Stage {number} reads {what}, and {where} holds none.", f"Run `{step}` first.")
    return commits.fetch(where, workspace.cache)


def _parent(config: Config, workspace: Workspace, number: int) -> Commit:
    """The commit to start from, which may be of another stage or kind: the one named, or what was made of it here."""
    here = commits.find(workspace.stage(number - 1))
    if config.train.start_from is None:
        if here is not None:
            return here
        raise SteadyDancerError(
            f"Stage {number} starts from stage {number - 1}, and {workspace.stage(number - 1)} holds none.",
            f"Run `train --stage {number - 1}` first, or name a checkpoint of it by --from.",
        )
    named = commits.read(config.train.start_from)
    if here is not None and named.id in {parent.id for parent in here.parents} and named.kind == KIND:
        return here  # a chain of stages that began with it
    if named.kind == KIND and named.meta.get("stage") == number - 1:
        return commits.fetch(config.train.start_from, workspace.cache)
    return named


def _finished(checkpoints, steps: int) -> Commit | None:
    newest = checkpoints.newest()
    return newest if newest is not None and newest.meta["step"] == steps else None


def _publish(config: Config, workspace: Workspace, number: int, state: Commit, parents: list[Commit]) -> Commit:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    from model.checkpoint import save_model
    from training.adapters import merge
    from training.checkpoint import read_progress, read_trained
    from training.trainer import starting_model

    stage, progress = config.train.stages[number - 1], read_progress(state)
    names = [name for name in progress.validation[0] if not name.startswith(("step", "loss_q"))]
    ends = {"start": progress.validation[0], "end": progress.validation[-1]}
    meta = {
        "stage": number,
        "objective": stage.objective,
        "size": config.model.size,
        "steps": stage.steps,
        "batch": config.train.batch,
        "skipped": progress.skipped,
        "unreadable": len(progress.unreadable),
        "rolled_back": len(progress.rolled_back),
        "validation": {when: {name: row[name] for name in names} for when, row in ends.items()},
    }
    target, identity = workspace.stage(number), stage_values(config, number)
    with commits.write(target, KIND, config=identity, parents=parents, meta=meta, about=[VALIDATION]) as folder:
        trained = read_trained(state)
        model = starting_model(config, parents[1].uri if number > 1 else None)
        merge(model, trained, stage)
        save_model(model, folder / "model")
        if stage.trainable == "lora":
            save_file(trained, folder / TRAINED, metadata={"format": "pt"})
        pq.write_table(pa.Table.from_pylist([_flat(row) for row in progress.history]), folder / HISTORY)
        pq.write_table(pa.Table.from_pylist(progress.validation), folder / VALIDATION)
    return commits.read(target)


def _flat(row: dict) -> dict:
    rates = {f"learning_rate_{role}": rate for role, rate in row["learning_rate"].items()}
    return {name: value for name, value in row.items() if name != "learning_rate"} | rates


def _log(run: StepRun, commit: Commit, seconds: float) -> None:
    run.log_metrics({"stage_seconds": seconds})
    run.log_params({"objective": commit.meta["objective"], "steps": commit.meta["steps"], **commit.config["stage"]})
    for name in (HISTORY, VALIDATION):
        run.log_artifact(commit.path / name)
