"""Plans as a table for people."""

import itertools
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.planning.check import faults
from training.planning.hardware import GIB
from training.planning.plan import Plan, readable


def show(plans: Sequence[Plan], console: Console) -> None:
    """The stages side by side, and below what does not fit."""
    first = plans[0]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title=_title(first))
    table.add_column("", no_wrap=True)
    for plan in plans:
        stage = plan.config.train.stages[plan.number - 1]
        table.add_column("\n".join([f"stage {plan.number}", *stage.objective.split("_")]), justify="right")
    for heading, rows in _sections(plans).items():
        table.add_row(f"[bold]{heading}", *([""] * len(plans)))
        for name, cells in rows.items():
            table.add_row(f"  {name}", *cells, style="bold" if name == "total" else None)
        table.add_section()
    console.print(table)
    console.print(_sources(first), style="dim")
    for fault in itertools.chain.from_iterable(map(faults, plans)):
        kind = "[bold red]does not fit[/]" if fault.fatal else "[yellow]wasteful[/]"
        console.print(f"{kind} {escape(fault.what)}\n  {escape(fault.fix)}", highlight=False)


def _title(plan: Plan) -> str:
    train, (t, h, w) = plan.config.train, plan.latent_THW
    recompute = {"none": "nothing", "attention": "all but attention", "full": "whole blocks"}[train.recompute]
    return (
        f"{plan.config.model.size} on {plan.world} x {plan.gpu.name}: ZeRO-{train.zero}, {train.precision}, "
        f"offload {train.offload}, recomputed: {recompute}\n"
        f"batch {train.batch}, {train.micro_batch} at once; latent {t} x {h} x {w}, {plan.tokens:,} tokens"
    )


def _sources(plan: Plan) -> str:
    if plan.gpu.tflops is None:
        return "Time is not estimated: the peak of this machine is not known."
    return (
        f"Time: model FLOPs at {plan.mfu:.1%} of {plan.gpu.tflops:.0f} TFLOP/s (mfu=). Published for Wan 14B: "
        "17.8 % on 8 H100, 32.9 % on 128 (NeMo DFM)."
    )


def _sections(plans: Sequence[Plan]) -> dict[str, dict[str, list[str]]]:
    """Heading -> row -> a cell for each stage; parts that no stage has are left out."""

    def each(of: Callable[[Plan], str]) -> list[str]:
        return [of(plan) for plan in plans]

    def parts(of: Callable[[Plan], dict[str, int]], shown: Callable[[float], str]) -> dict[str, list[str]]:
        names = dict.fromkeys(name for plan in plans for name, size in of(plan).items() if size)
        return {name: [shown(size) if (size := of(plan).get(name)) else "" for plan in plans] for name in names}

    def sized(of: Callable[[Plan], dict[str, int]], room: Callable[[Plan], int]) -> tuple[str, dict[str, list[str]]]:
        """The unit, and the parts, their total and the room in it."""
        largest = max(sum(of(plan).values()) for plan in plans)
        unit, scale = ("GiB", GIB) if largest >= GIB else ("MiB", 2**20)

        def shown(size: float) -> str:
            return f"{size / scale:,.1f}" if size >= 0.05 * scale else "< 0.1"

        def total(plan: Plan) -> str:
            needed = sum(of(plan).values())
            return f"[{'green' if needed <= room(plan) else 'red'}]{shown(needed)}[/]"

        return unit, {**parts(of, shown), "total": each(total), "room": each(lambda plan: shown(room(plan)))}

    time = {
        "model FLOPs a step": each(lambda plan: _flops(plan.model_flops)),
        "executed": each(lambda plan: _flops(plan.executed_flops)),
        "received a step": each(lambda plan: readable(plan.traffic)),
        "steps": each(lambda plan: f"{plan.steps:,}"),
        "a step": each(_step),
        "the stage": each(lambda plan: _duration(plan.seconds) if _timed(plan) else "-"),
        "GPU hours": each(lambda plan: f"{plan.gpu_hours:,.4g}" if _timed(plan) else "-"),
    }
    if any(plan.cost is not None for plan in plans):
        time["cost"] = each(lambda plan: f"{plan.cost:,.0f}" if _timed(plan) else "-")
    data = {
        "a clip, encoded": each(lambda plan: readable(plan.clip_bytes)),
        "read in a step": each(lambda plan: readable(plan.config.train.batch * plan.clip_bytes)),
    }
    if plans[0].clips is not None:
        data["read in an epoch"] = each(lambda plan: readable(plan.clips * plan.clip_bytes))
        data["epochs"] = each(lambda plan: f"{plan.steps * plan.config.train.batch / max(1, plan.clips):.1f}")
    data["a checkpoint"] = each(lambda plan: readable(plan.checkpoint_bytes))
    kind = "process" if plans[0].gpu.is_cpu else "GPU"
    memory_unit, memory = sized(lambda plan: plan.memory, lambda plan: plan.room)
    host_unit, host = sized(lambda plan: plan.host, lambda plan: plan.host_room)
    disk_unit, disk = sized(lambda plan: plan.disk, lambda plan: plan.disk_room)
    return {
        "Parameters": parts(lambda plan: plan.parameters, lambda count: f"{count / 1e6:,.1f} M"),
        f"Memory of a {kind}, {memory_unit}": {"fullest when": each(lambda plan: plan.moment), **memory},
        f"Memory of a node, {host_unit}": host,
        "Work": time,
        "Data": data,
        f"Disk, {disk_unit}": disk,
    }


SHORTEST = 0.01
"""Seconds of a step, below which other things than the GPU's arithmetic take the time."""


def _timed(plan: Plan) -> bool:
    return plan.step_seconds is not None and plan.step_seconds >= SHORTEST


def _step(plan: Plan) -> str:
    if plan.step_seconds is None:
        return "-"
    return _duration(plan.step_seconds) if _timed(plan) else f"< {1000 * SHORTEST:.0f} ms"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _flops(count: int) -> str:
    for unit, scale in (("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= scale:
            return f"{count / scale:,.4g} {unit}"
    return f"{count / 1e9:,.4g} GFLOP"
