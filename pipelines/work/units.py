"""Rows through units of work on Ray: streaming, guarded, each unit recorded as it is done."""

import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from infra.errors import SteadyDancerError
from pipelines.work.guard import Guard, Work
from pipelines.work.job import Job
from pipelines.work.ledger import new_run
from pipelines.work.spool import BLOCK_BYTES, Arrived, Item, Spool, blocks, items
from pipelines.work.stage import PipelineError, Row, Stage
from pipelines.work.unit import Unit, attempt, check_units, rejected

ATTEMPTS = 2
"""How often a block is tried whose Ray worker dies."""
BLOCKS = 1000
"""Blocks of a run at most. Up to there a row is a block of its own."""
Steps = Sequence[Unit | Stage]


def flow(steps: Steps, rows: Iterable[Row], *, retry_failed: bool = False, patience: float = 1.0) -> Iterator[Row]:
    """``rows`` through ``steps`` on the running Ray, streaming, in no particular order.

    Rows whose units are all done already come first, without Ray. The others wait in a file and are read from there
    block by block: neither this process nor Ray's object store holds them all, and frames cannot enter it. A unit runs
    in a guarded process and has ``patience`` times its deadline; a lone stage must be cheap, it runs where the row is.
    A row whose unit fails comes back with one of the faults in ``columns.RETRIED``; it is recorded, and the next run
    gives it the same unless ``retry_failed``. One whose Ray worker dies time and again gets the fault ``crashed``.
    Raises PipelineError if the steps do not fit together, or Ray lacks what they need, and SteadyDancerError if the
    workers could do nothing at all.
    """
    rows = iter(rows)
    if (first := next(rows, None)) is None:
        return
    check_units(steps, first)
    units = [step for step in steps if isinstance(step, Unit)]
    for unit in units:
        unit.ledger.refresh()
        shutil.rmtree(unit.home / "drafts", ignore_errors=True)  # of runs that were killed
    run = new_run()
    with tempfile.TemporaryDirectory(prefix="flow-") as elsewhere, Job.of(units, run) as job:
        folder = units[0].folder if units else Path(elsewhere)
        for left_by_killed_run in set(folder.glob("spool-*")) - set(folder.glob(f"spool-{os.getpid()}-*")):
            left_by_killed_run.unlink()
        spool = Spool(folder / f"spool-{os.getpid()}-{run}.jsonl")
        known = _Known(retry_failed, run)
        try:
            for row in chain([first], rows):
                job.rows += 1
                for item in through(steps, {"id": "", "share": 1.0, "step": 0, "row": row}, known):
                    if item["step"] == len(steps):
                        yield item["row"]
                    else:
                        spool.add({**item, "id": str(len(spool)), "share": 1.0})
            job.found(known.done, known.failed, {steps[number].name: count for number, count in spool.steps.items()})
            if len(spool):
                yield from _unfinished(steps, spool, job, known, patience)
        finally:
            spool.remove()
            for unit in units:
                unit.ledger.refresh()


def through(steps: Steps, item: Item, do: Callable[[Unit, Row], list[Row] | None]) -> Iterator[Item]:
    """``item`` and what becomes of it, as far as ``do`` gets: it returns None for a unit that it leaves to others."""
    under_way = [item]
    while under_way:
        item = under_way.pop()
        made = None if item["step"] == len(steps) else _made(steps[item["step"]], item["row"], do)
        if made is None:
            yield item
            continue
        common = {"share": item["share"] / max(1, len(made)), "step": item["step"] + 1}
        children = [{"id": f"{item['id']}/{place}", **common, "row": row} for place, row in enumerate(made)]
        under_way.extend(reversed(children))


def _made(step: Unit | Stage, row: Row, do: Callable[[Unit, Row], list[Row] | None]) -> list[Row] | None:
    if isinstance(step, Stage):
        return attempt(step, row)
    if rejected(row):
        return [row]
    if not row.get(step.identity):
        return [{**row, "fault": "failed", "error": f"it has no {step.identity}, by which unit {step.name} knows it"}]
    return do(step, row)


@dataclass
class _Known:
    """Gives what the ledger has. Failures of earlier runs count as not there where they are to be tried again."""

    retry_failed: bool
    run: str
    done: Counter = field(default_factory=Counter)
    failed: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, unit: Unit, row: Row) -> list[Row] | None:
        record = unit.find(row[unit.identity])
        if record is None or (self.retry_failed and record.fault and record.run != self.run):
            return None
        self.done[unit.name] += 1
        if record.fault:
            self.failed.setdefault(unit.name, []).append(record.key)
        return unit.rows(record, row)


def _unfinished(steps: Steps, spool: Spool, job: Job, known: _Known, patience: float) -> Iterator[Row]:
    """The rows made of those in the spool. Where blocks are lost with their workers, what was done in them is taken
    from the ledger, and the rest is tried once more, each row alone: only what kills its worker by itself is lost.
    """
    arrived = Arrived(len(spool))
    for item in _on_ray(steps, spool, BLOCKS, known.run, patience):
        if arrived.add(item):
            job.progress(item["share"])
            yield item["row"]
    if not (missing := arrived.incomplete()):
        return
    _refresh(steps)
    alone = Spool(spool.path.with_suffix(".alone.jsonl"))
    try:
        for item in (item for number in missing for item in through(steps, spool.read(number), known)):
            if item["step"] < len(steps):
                alone.add(item)
            elif arrived.add(item):
                job.progress(item["share"])
                yield item["row"]
        if len(alone):
            for item in _on_ray(steps, alone, len(alone), known.run, patience, may_all_fail=True):
                if arrived.add(item):
                    job.progress(item["share"])
                    yield item["row"]
    finally:
        alone.remove()
    _refresh(steps)

    def known_or_lost(unit: Unit, row: Row) -> list[Row]:
        made = known(unit, row)
        return _lost(unit, row, known.run) if made is None else made

    for item in (item for number in missing for item in through(steps, spool.read(number), known_or_lost)):
        if arrived.add(item):
            job.progress(item["share"])
            yield item["row"]


def _refresh(steps: Steps) -> None:
    for unit in steps:
        if isinstance(unit, Unit):
            unit.ledger.refresh()


def _lost(unit: Unit, row: Row, run: str) -> list[Row]:
    times = 2 * ATTEMPTS
    error = f"its Ray worker died, or could not work, {times} times; Ray's session folder has the logs"
    with unit.desk(run, unit.key(row[unit.identity])) as desk:
        return unit.rows(desk.record(row, lambda at: Work(fault="crashed", error=error)), row)


def _on_ray(
    steps: Steps, spool: Spool, most: int, run: str, patience: float, *, may_all_fail: bool = False
) -> Iterator[Item]:
    """Items of the spool, in so many blocks at most, as they leave the last step."""
    import ray
    from ray.util.annotations import RayDeprecationWarning

    waiting = [{"block": block} for block in spool.blocks(most)]
    _set_up_ray_data(max_errored_blocks=len(waiting) if may_all_fail else len(waiting) - 1)
    dataset = ray.data.from_items(waiting, override_num_blocks=len(waiting))
    for number, unit in enumerate(steps):
        if not isinstance(unit, Unit) or number < min(spool.steps):
            continue
        needs, how = _needs(unit, number), {"steps": tuple(steps), "number": number, "run": run, "patience": patience}
        with warnings.catch_warnings():  # Ray 2.60 deprecates these two and has nothing else for them
            warnings.simplefilter("ignore", RayDeprecationWarning)
            if needs["num_gpus"]:  # Ray ends a GPU task's process with the task, and with it whatever was built there
                workers = max(1, int(ray.cluster_resources().get("GPU", 0) / needs["num_gpus"]))
                pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
                place = {"fn": _Worker, "compute": pool, "max_task_retries": ATTEMPTS - 1}
            else:
                place = {"fn": _work, "max_retries": ATTEMPTS - 1}
            dataset = dataset.flat_map(fn_kwargs=how, **place, **needs)
    try:
        for made in dataset.iter_rows():
            yield from items(made["block"])
    except ray.exceptions.RayError as error:
        raise SteadyDancerError(
            f"The workers could not do anything: {error}",
            "Ray's session folder (by default under /tmp/ray) has the logs.",
        ) from error


def _needs(unit: Unit, number: int) -> dict[str, float]:
    """What one task of ``unit`` needs. Raises PipelineError where Ray has not so much memory."""
    import ray

    memory = max(stage.memory for stage in unit.stages)
    if memory > (there := ray.cluster_resources().get("memory", 0)):
        raise PipelineError(
            f"{type(unit.stages[0]).__name__} and what follows it need {memory / 2**30:g} GiB in one task, "
            f"Ray has {there / 2**30:.1f}.",
            f"Set resources.memory_gb={memory / 2**30:g} or more.",
        )
    return {
        "num_cpus": max(stage.num_cpus for stage in unit.stages),
        "num_gpus": max(stage.num_gpus for stage in unit.stages),
        "memory": memory - number,  # steps with the same needs would be fused into one task: all clips of a source
    }


_GUARD = Guard()
"""Of this Ray worker, for all units that it works on."""


class _Worker:
    """Works for the life of its Ray worker."""

    def __call__(self, block: dict[str, str], **how) -> list[dict[str, str]]:
        return _work(block, **how)


def _work(block: dict[str, str], steps: Steps, number: int, run: str, patience: float) -> list[dict[str, str]]:
    """A block of items through the unit that is step ``number`` and the lone stages after it."""
    unit, given = steps[number], list(items(block["block"]))
    waiting = [item["row"] for item in given if item["step"] == number and item["row"].get(unit.identity)]
    with unit.desk(run, unit.key(waiting[0][unit.identity] if waiting else "")) as desk:

        def do(other: Unit, row: Row) -> list[Row] | None:
            if other is not unit:
                return None
            return unit.rows(desk.record(row, lambda at: _GUARD.work(unit.stages, at, patience)), row)

        return [{"block": text} for text in blocks(done for item in given for done in through(steps, item, do))]


def _set_up_ray_data(max_errored_blocks: int) -> None:
    """Its log goes to Ray's session folder: the step shows one bar for all of it."""
    import logging

    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = max_errored_blocks
    context.target_max_block_size = BLOCK_BYTES
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
