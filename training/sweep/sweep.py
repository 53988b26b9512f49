"""A sweep: one stage trained with several settings, each as a work folder of its own, and compared at the end.

WORK/sweeps/NAME/queue/                 the runs as entries of a queue
WORK/sweeps/NAME/00-lr=0.0001/          a run: it reads the dataset and the parent checkpoint of WORK
WORK/sweeps/NAME/sweep.json, sweep.html the comparison
"""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from infra import commits
from infra.commits import Commit
from infra.config import differences, identity, load, override, validate
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from infra.schema import Config
from infra.workspace import Workspace, config_for
from training.queue.entry import NAME, Entry
from training.queue.queue import Queue, replace
from training.queue.runner import run_queue, steadydancer
from training.sweep.comparison import RECORD, compare
from training.sweep.grid import expand, read_list

SWEEP_TAG = "steadydancer.sweep"
_OF_THE_DATASET = ("sources", "sample", "clip", "pose", "rights", "curate", "caption", "encode")


def sweep(
    name: str,
    stage: int,
    config: str | None,
    overrides: Sequence[str] = (),
    *,
    listed: Path | None = None,
    cpus: int | None = None,
    memory_gb: float | None = None,
    gpus: int | None = None,
    command: Callable[[Queue, Entry], list[str]] = steadydancer,
    console: Console | None = None,
) -> bool:
    """Trains ``stage`` (1, 2, 3) with every combination of the ``overrides`` that have several values, and compares.

    ``KEY=V1,V2`` varies, ``KEY=V`` holds for all; ``listed`` is a YAML file with a list of lists of overrides, in the
    place of varying ones. The work folder of the config has to hold the dataset, and for stages 2 and 3 the stage
    before. The same call again continues, and tries again what failed; with other values it adds runs to the sweep.
    Returns whether all runs are done. Raises UsageError before anything starts for settings that are no sweep, and
    as :func:`training.queue.runner.run_queue`.
    """
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} is no name of a sweep.", "Letters, digits and . _ = , + - up to 100.")
    if stage not in (1, 2, 3):
        raise UsageError(f"There is no stage {stage}: 1, 2 or 3.")
    console = console or Console()
    fixed, combinations = expand(overrides)
    if listed is not None:
        if combinations:
            raise UsageError("Give either values to combine or a --list, not both.")
        combinations = read_list(listed)
    if len(combinations) < 2:
        raise UsageError(
            "A sweep compares several runs; these settings make one.",
            f"Give a key several values: train.stages.{stage - 1}.lr=1e-4,3e-4",
        )
    base = load(config, fixed) if config else config_for(fixed)
    for key in {item.partition("=")[0] for items in combinations for item in items}:
        _may_vary(key, stage)
    main = Workspace(Path(base.work).expanduser().absolute(), base.store)
    folder = main.folder / "sweeps" / name
    runs = [_run_config(base, items, name, stage, main) for items in combinations]
    for (i, first), (j, second) in itertools.combinations(enumerate(runs), 2):
        if first == second:
            what = [" ".join(combinations[n]) for n in (i, j)]
            raise UsageError(f"Two runs of the sweep are the same: {what[0]!r} and {what[1]!r}.", "Leave one out.")
    record = {"sweep": name, "stage": stage, **_read_by_all(main, runs[0], stage)}
    _same_sweep(folder, record)
    queue = Queue(folder / "queue")
    added = _enter(queue, folder, stage, list(zip(combinations, runs, strict=True)))
    console.print(f"sweep {name}: {len(runs)} runs, {added} of them new, in {folder}", soft_wrap=True)
    done = run_queue(queue.folder, cpus=cpus, memory_gb=memory_gb, gpus=gpus, command=command, console=console)
    compare(folder, record, queue, console)
    return done


def _may_vary(key: str, stage: int) -> None:
    """Raises UsageError for what would make runs that cannot be compared, or not differ at all."""
    parts = key.split(".")
    if key == "seed" or parts[0] not in Config.model_fields:  # what is unknown is told when it is set
        return
    if parts[0] in _OF_THE_DATASET or key in ("train.encoded", "train.data"):
        why = "it changes the dataset, and a sweep compares runs on one"
    elif parts[0] == "model" or key == "train.start_from":
        why = "it changes the weights that a stage starts from, and a sweep compares runs from the same"
    elif parts[0] != "train":
        why = f"it does not change how stage {stage} is trained"
    elif parts[:2] == ["train", "stages"] and parts[2:3] != [str(stage - 1)]:
        why = f"it is no setting of stage {stage}, whose settings are train.stages.{stage - 1}.NAME"
    else:
        return
    raise UsageError(f"{key} cannot vary in a sweep: {why}.", "Keys that may: seed, and those of train.")


def _run_config(base: Config, items: Sequence[str], name: str, stage: int, main: Workspace) -> Config:
    """The config of a run, but for its work folder: it reads what the work folder of the sweep has."""
    data = override(base.model_dump(mode="json"), list(items)).model_dump(mode="json")
    data["work"] = str(main.folder)
    if base.train.data == "raw":
        data["store"] = base.store or str(main.folder)
    elif base.train.encoded is None:
        data["train"]["encoded"] = str(main.encoded)
    if stage > 1 and base.train.start_from is None:
        data["train"]["start_from"] = str(main.stage(stage - 1))
    tracking = data["tracking"]
    tracking["uri"] = tracking["uri"] or f"sqlite:///{main.mlflow_db}"
    tracking["tags"] = {**tracking["tags"], SWEEP_TAG: name}
    return validate(data)


def _read_by_all(main: Workspace, run: Config, stage: int) -> dict:
    """What all runs start from, by name and id. Raises SteadyDancerError where it is not there."""
    if run.train.data == "raw":
        found = {"data": _there(main.dataset, "the dataset", "Run `curate` first.")}
    else:
        found = {"data": _there(run.train.encoded, "the encoded dataset", "Run `encode` first.")}
    if stage > 1:
        found["parent"] = _there(run.train.start_from, f"stage {stage - 1}", f"Run `train --stage {stage - 1}` first.")
    return {role: {"uri": commit.uri, "id": commit.id} for role, commit in found.items()}


def _there(uri: Path | str, what: str, fix: str) -> Commit:
    if (commit := commits.find(uri)) is None:
        raise SteadyDancerError(f"The sweep reads {what}, and {uri} holds none.", fix)
    return commit


def _same_sweep(folder: Path, record: dict) -> None:
    """Raises UsageError where a sweep of that name compares something else; else notes what this one does."""
    path = folder / RECORD
    if path.is_file():
        try:
            known = json.loads(path.read_text())
            changed = [what for what, of in _subject(known).items() if of != _subject(record)[what]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifact(f"{path} is damaged ({error}).", "Delete it: it is written anew.") from None
        if changed:
            raise UsageError(
                f"There is a sweep {record['sweep']!r} already, on another {changed[0]}.", "Choose another name."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(record))
    except OSError as error:
        raise SteadyDancerError(f"{folder} cannot be written: {error.strerror}.") from None


def _subject(record: dict) -> dict:
    parent = record.get("parent")
    return {"stage": record["stage"], "dataset": record["data"]["id"], "parent": parent and parent["id"]}


def _enter(queue: Queue, folder: Path, stage: int, runs: Sequence[tuple[Sequence[str], Config]]) -> int:
    """Puts into the queue what it does not have; what failed waits again. Returns the number of new runs.

    A run is known by what it makes and by the values of its own keys: how the others are worked on may change.
    """
    entries, damaged = queue.read()
    if damaged:
        raise CorruptArtifact(next(iter(damaged.values())))
    known = [(entry, queue.config(entry.name)) for entry in entries]
    new = []
    for items, config in runs:
        keys = [item.partition("=")[0] for item in items]
        same = [entry for entry, theirs in known if _same_run(theirs, config, keys)]
        if not same:
            number = len(known) + len(new)
            name = _label(number, items)
            new.append((name, config.model_copy(update={"work": str(folder / name)})))
        elif same[0].state in ("waiting", "failed", "cancelled"):
            queue.retry(same[0].name, config)
    if new:
        queue.add(new, command=("train", "--stage", str(stage)))
    return len(new)


def _same_run(one: Config, other: Config, keys: Sequence[str]) -> bool:
    if differences(identity(one), identity(other)):
        return False
    differing = {key for key, _, _ in differences(one.model_dump(mode="json"), other.model_dump(mode="json"))}
    return not differing & set(keys)


def _label(number: int, items: Sequence[str]) -> str:
    """``00-lr=0.0001,seed=1``: also the name of the run's folder."""
    values = ",".join(f"{key.split('.')[-1]}={value}" for key, _, value in (item.partition("=") for item in items))
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9._=,+-]+', '_', values)}"[:80]
