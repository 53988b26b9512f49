"""Whether a plan fits, and the smallest change that makes it fit."""

import itertools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import SteadyDancerError
from infra.schema import Config
from training.hardware import GIB, GPUS, Gpu, here
from training.plan import MOST_WORKERS, Plan, in_gib, make_plan


class Fault(NamedTuple):
    """Something that does not fit (``fatal``), or is only a waste."""

    what: str
    fix: str
    fatal: bool = True


def faults(plan: Plan) -> list[Fault]:
    """What of the plan does not fit, each with the smallest change that does; then what is wasteful."""
    found = [fault._replace(fix=_what_fits(plan)) if not fault.fix else fault for fault in _shortages(plan)]
    train = plan.config.train
    if plan.idle:
        fix = f"Set train.batch to a multiple of {plan.world * train.micro_batch}, or use fewer workers."
        what = (
            f"Stage {plan.number}: a batch of {train.batch} clips leaves {plan.idle} of "
            f"{train.batch + plan.idle} places of {plan.world} workers idle."
        )
        found.append(Fault(what, fix, fatal=False))
    return found


def check(config: Config, number: int, world: int | None = None, gpu: Gpu | None = None, **others: Any) -> Plan:
    """The plan of a stage that is about to be trained, by default here, with ``train.workers``.

    ``others`` as of :func:`make_plan`; without ``disk`` what is free where the work folder lies counts. Raises
    SteadyDancerError with what does not fit and what would.
    """
    if others.get("disk") is None:
        others["disk"] = _free_disk(Path(config.work).expanduser().absolute())
    plan = make_plan(config, number, world or config.train.workers, gpu or here(), **others)
    if fatal := [fault for fault in faults(plan) if fault.fatal]:
        fixes = list(dict.fromkeys(fault.fix for fault in fatal))
        raise SteadyDancerError(
            "\n".join(fault.what for fault in fatal), "\n".join([*fixes, "train.plan=false trains all the same."])
        )
    return plan


def fits(plan: Plan) -> bool:
    return not _shortages(plan)


def _shortages(plan: Plan) -> list[Fault]:
    """What does not fit, without what to do where that is to be found by trying."""
    found, who = [], f"Stage {plan.number}"
    needed = sum(plan.memory.values())
    if needed > plan.room:
        most = sorted(plan.memory, key=plan.memory.__getitem__, reverse=True)[:3]
        parts = ", ".join(f"{part} {in_gib(plan.memory[part])}" for part in most)
        each = f"a worker here may take {in_gib(plan.room)}" if plan.gpu.is_cpu else f"it has {in_gib(plan.room)}"
        what = f"{who} needs {in_gib(needed)} on each {plan.gpu.name}, and {each}. Most of it ({plan.moment}): {parts}."
        found.append(Fault(what, ""))
    hosted = sum(plan.host.values())
    if hosted > plan.host_room:
        most = max(plan.host, key=plan.host.__getitem__)
        found.append(
            Fault(
                f"{who} needs {in_gib(hosted)} of a node's host memory, and may take {in_gib(plan.host_room)}; most of "
                f"it for {most}.",
                ""
                if plan.config.train.offload != "none"
                else f"Set resources.memory_gb to {math.ceil(hosted / GIB)} where the machine has it.",
            )
        )
    stored = sum(plan.disk.values())
    if stored > plan.disk_room:
        fewer = "keep fewer checkpoints (train.keep_checkpoints), " if plan.config.train.keep_checkpoints > 1 else ""
        found.append(
            Fault(
                f"{who} needs {in_gib(stored)} of disk in {plan.config.work}, and may take {in_gib(plan.disk_room)}.",
                f"Free some, {fewer}or use another work folder (work=...); resources.disk_gb says what it may take.",
            )
        )
    return found


def _what_fits(plan: Plan) -> str:
    """The smallest change of the config that fits, the least number of workers, and the smallest GPU."""
    ways = []
    if (change := next((change for change in _changes(plan) if fits(_with(plan, change))), None)) is not None:
        ways.append(" ".join(f"train.{key}={value}" for key, value in change.items()))
    worlds = (plan.world * times for times in (2, 4, 8) if plan.world * times <= MOST_WORKERS)
    if not plan.gpu.is_cpu and (world := next((w for w in worlds if fits(_with(plan, {}, world=w))), None)):
        ways.append(f"{world} workers")
    larger = (gpu for gpu in GPUS.values() if gpu.memory > plan.room and not plan.gpu.is_cpu)
    if gpu := next((gpu for gpu in larger if fits(_with(plan, {}, gpu=gpu))), None):
        ways.append(f"{plan.world} {gpu.name}")
    if not ways:
        return "No setting fits: use fewer frames or a smaller area (clip.frames, clip.area), or a smaller model."
    return f"By estimate any of these fits: {'; '.join(ways)}."


def _changes(plan: Plan) -> Iterator[dict[str, Any]]:
    """Settings that take less, one change before two before more, the least costly first."""
    train = plan.config.train
    steps = {
        "micro_batch": [1] if train.micro_batch > 1 else [],
        "recompute": {"none": ["attention", "full"], "attention": ["full"], "full": []}[train.recompute],
        "zero": [zero for zero in (2, 3) if zero > train.zero],
        "offload": []
        if plan.gpu.is_cpu
        else {"none": ["optimizer", "parameters"], "optimizer": ["parameters"]}.get(train.offload, []),
        "precision": ["bf16"] if train.precision == "fp32" else [],
    }
    single = [(key, value) for key, values in steps.items() for value in values]
    for count in range(1, len(steps) + 1):
        for chosen in itertools.combinations(single, count):
            change = dict(chosen)
            if len(change) == count and (change.get("offload") != "parameters" or change.get("zero", train.zero) == 3):
                yield change


def _with(plan: Plan, change: dict[str, Any], **others: Any) -> Plan:
    train = plan.config.train.model_copy(update=change)
    config = plan.config.model_copy(update={"train": train})
    given = {"mfu": plan.mfu, "clips": plan.clips, "disk": plan.disk_room, "world": plan.world, "gpu": plan.gpu}
    return make_plan(config, plan.number, **given | others)


def _free_disk(folder: Path) -> int:
    """Bytes that the work folder may have in all: what is free, and what it holds already."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    used = sum(path.lstat().st_size for path in folder.rglob("*")) if folder.is_dir() else 0
    return shutil.disk_usage(existing).free + used
