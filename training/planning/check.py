"""Whether a plan fits, and the smallest change that makes it fit."""

import itertools
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.workspace import Workspace
from training.planning.hardware import GIB, GPUS, Gpu, here
from training.planning.plan import MOST_WORKERS, Plan, make_plan, readable

SMALLER = "use fewer frames or a smaller area (clip.frames, clip.area), or a smaller model"


class Fault(NamedTuple):
    """Something that does not fit (``fatal``), or is only a waste."""

    what: str
    fix: str
    fatal: bool = True


def faults(plan: Plan) -> list[Fault]:
    """What of the plan does not fit, each with the smallest change that does; then what is wasteful."""
    tell = {"memory": _memory, "host": _host, "disk": _disk}
    found = [tell[kind](plan) for kind in _missing(plan)]
    train = plan.config.train
    if plan.idle:
        busy = (world for world in range(plan.world - 1, 0, -1) if _busy(plan, world))
        fewer = f"Use at most {world} workers. " if (world := next(busy, None)) else ""
        what = (
            f"Stage {plan.number}: a batch of {train.batch} clips leaves {plan.idle} of "
            f"{train.batch + plan.idle} places of {plan.world} workers idle."
        )
        fix = (
            f"{fewer}With a train.batch that is a multiple of {plan.world * train.micro_batch}, it is another training."
        )
        found.append(Fault(what, fix, fatal=False))
    return found


def check(config: Config, number: int, world: int | None = None, gpu: Gpu | None = None, **others: Any) -> Plan:
    """The plan of a stage that is about to be trained, by default here, with ``train.workers``.

    ``others`` as of :func:`make_plan`; without ``disk`` what is free where the work folder lies counts. Raises
    SteadyDancerError with what does not fit and what would.
    """
    if others.get("disk") is None:
        others["disk"] = _disk_room(config, number, encoded=others.get("clips") is not None)
    plan = make_plan(config, number, world or config.train.workers, gpu or here(), **others)
    if fatal := [fault for fault in faults(plan) if fault.fatal]:
        fixes = list(dict.fromkeys(fault.fix for fault in fatal))
        raise SteadyDancerError(
            "\n".join(fault.what for fault in fatal), "\n".join([*fixes, "train.plan=false trains all the same."])
        )
    return plan


def check_all(config: Config, numbers: Iterable[int]) -> None:
    """:func:`check` of those stages that are not committed, before the first step of a chain is taken.

    Not on a cluster, whose machines are known only once it is joined: there each stage is checked when it begins.
    """
    from infra.commits import find

    workspace = Workspace(Path(config.work).expanduser().absolute())
    if config.train.plan and config.resources.ray_address is None:
        for number in numbers:
            if find(workspace.stage(number)) is None:
                check(config, number)


def fits(plan: Plan) -> bool:
    return not _missing(plan)


def _missing(plan: Plan) -> dict[str, int]:
    """Bytes that are lacking, by kind."""
    lacking = {
        "memory": sum(plan.memory.values()) - plan.room,
        "host": sum(plan.host.values()) - plan.host_room,
        "disk": sum(plan.disk.values()) - plan.disk_room,
    }
    return {kind: size for kind, size in lacking.items() if size > 0}


def _memory(plan: Plan) -> Fault:
    needed = sum(plan.memory.values())
    most = sorted(plan.memory, key=plan.memory.__getitem__, reverse=True)[:3]
    parts = ", ".join(f"{part} {readable(plan.memory[part])}" for part in most)
    each = f"a worker here may take {readable(plan.room)}" if plan.gpu.is_cpu else f"it has {readable(plan.room)}"
    return Fault(
        f"Stage {plan.number} needs {readable(needed)} on each {plan.gpu.name}, and {each}. "
        f"Most of it ({plan.moment}): {parts}.",
        _what_fits(plan, "memory", []),
    )


def _host(plan: Plan) -> Fault:
    needed = sum(plan.host.values())
    most = max(plan.host, key=plan.host.__getitem__)
    larger = f"resources.memory_gb={math.ceil(needed / GIB)} where the machine has it"
    return Fault(
        f"Stage {plan.number} needs {readable(needed)} of a node's host memory, and may take "
        f"{readable(plan.host_room)}; most of it for {most}.",
        _what_fits(plan, "host", [] if plan.gpu.is_cpu else [larger]),
    )


def _disk(plan: Plan) -> Fault:
    fewer = "keep fewer checkpoints (train.keep_checkpoints), " if plan.config.train.keep_checkpoints > 1 else ""
    return Fault(
        f"Stage {plan.number} needs {readable(sum(plan.disk.values()))} of disk in {plan.config.work}, and may take "
        f"{readable(plan.disk_room)}.",
        f"Free some, {fewer}or use another work folder (work=...); resources.disk_gb says what it may take.",
    )


def _what_fits(plan: Plan, kind: str, ways: list[str]) -> str:
    """The smallest change of the config that ends this shortage, the nearest number of workers, the smallest GPU."""

    def first(tried: Iterable[Any], planned: Any) -> Any:
        return next((one for one in tried if _cures(plan, planned(one), kind)), None)

    ways = list(ways)
    if (change := first(_changes(plan, kind), lambda change: _with(plan, change))) is not None:
        ways.append(" ".join(f"train.{key}={value}" for key, value in change.items()))
    worlds = _worlds(plan)
    if world := first(worlds, lambda world: _with(plan, world=world)):
        ways.append(f"{world} worker{'s' if world > 1 else ''}")
    larger = [gpu for gpu in GPUS.values() if gpu.memory > plan.room and not plan.gpu.is_cpu]
    if gpu := first(larger, lambda gpu: _with(plan, gpu=gpu)):
        ways.append(f"{plan.world} {gpu.name}")
    if ways:
        return f"By estimate any of these fits: {'; '.join(ways)}."
    both = first(itertools.product(larger, worlds), lambda both: _with(plan, gpu=both[0], world=both[1]))
    if both:
        return f"No single change fits; by estimate {both[1]} {both[0].name} do."
    return f"No single change fits: {SMALLER}."


def _cures(plan: Plan, other: Plan, kind: str) -> bool:
    """Whether ``other`` lacks nothing of the kind, and of no other kind more than ``plan`` does."""
    before, after = _missing(plan), _missing(other)
    return kind not in after and all(size <= before.get(one, 0) for one, size in after.items())


def _worlds(plan: Plan) -> list[int]:
    """More workers, on a CPU, whose memory they share, fewer; none that leaves places of a batch idle."""
    train = plan.config.train
    most = min(MOST_WORKERS, train.batch // train.micro_batch)
    worlds = range(plan.world - 1, 0, -1) if plan.gpu.is_cpu else range(plan.world + 1, most + 1)
    return [world for world in worlds if _busy(plan, world)]


def _busy(plan: Plan, world: int) -> bool:
    """Whether every worker has a clip in every place of a batch."""
    return plan.config.train.batch % (world * plan.config.train.micro_batch) == 0


def _changes(plan: Plan, kind: str) -> Iterator[dict[str, Any]]:
    """Settings that take less, one change before two before more, the least costly first."""
    train = plan.config.train
    places = ["none", "optimizer", "parameters"]
    now = places.index(train.offload)
    steps = {
        "micro_batch": [1] if train.micro_batch > 1 else [],
        "recompute": {"none": ["attention", "full"], "attention": ["full"], "full": []}[train.recompute],
        "zero": [zero for zero in (2, 3) if zero > train.zero],
        "offload": [] if plan.gpu.is_cpu else places[:now][::-1] if kind == "host" else places[now + 1 :],
        "precision": ["bf16"] if train.precision == "fp32" else [],
    }
    single = [(key, value) for key, values in steps.items() for value in values]
    for count in range(1, len(steps) + 1):
        for chosen in itertools.combinations(single, count):
            change = dict(chosen)
            if len(change) == count and (change.get("offload") != "parameters" or change.get("zero", train.zero) == 3):
                yield change


def _with(plan: Plan, change: dict[str, Any] | None = None, **others: Any) -> Plan:
    train = plan.config.train.model_copy(update=change or {})
    config = plan.config.model_copy(update={"train": train})
    given = {"mfu": plan.mfu, "clips": plan.clips, "disk": plan.disk_room, "world": plan.world, "gpu": plan.gpu}
    return make_plan(config, plan.number, **given | others)


def _disk_room(config: Config, number: int, encoded: bool) -> int:
    """Bytes for what the plan of a stage counts: what is free, and what of it lies in the work folder already."""
    folder = Path(config.work).expanduser().absolute()
    workspace = Workspace(folder)
    counted = [*map(workspace.stage, range(1, number + 1)), workspace.checkpoints(number)]
    if encoded:
        counted.append(workspace.folder / "encoded")
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free + sum(map(_size, counted))


def _size(folder: Path) -> int:
    size = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):  # an older checkpoint is being taken away
                size += (Path(parent) / name).lstat().st_size
    return size
