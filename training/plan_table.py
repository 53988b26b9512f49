"""Plans as a table for people."""

import itertools
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.plan import Plan, in_gib
from training.plan_check import faults


def show(plans: Sequence[Plan], console: Console) -> None:
    """The stages side by side, and below what does not fit."""
    first = plans[0]
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title=_title(first), caption_justify="left")
    table.add_column("")
    for plan in plans:
        stage = plan.config.train.stages[plan.number - 1]
        table.add_column(f"stage {plan.number}\n{stage.objective.replace('_', ' ')}", justify="right")
    for heading, rows in _sections(plans).items():
        table.add_row(f"[bold]{heading}", *([""] * len(plans)))
        for name, cells in rows.items():
            table.add_row(f"  {name}", *cells, style="bold" if name.startswith(("in all", "fits")) else None)
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

    def parts(of: Callable[[Plan], dict[str, int]], shown: Callable[[float], str] = in_gib) -> dict[str, list[str]]:
        names = dict.fromkeys(name for plan in plans for name, size in of(plan).items() if size)
        return {name: [shown(size) if (size := of(plan).get(name)) else "" for plan in plans] for name in names}

    def each(of: Callable[[Plan], str]) -> list[str]:
        return [of(plan) for plan in plans]

    def total(of: Callable[[Plan], dict[str, int]], room: Callable[[Plan], int]) -> dict[str, list[str]]:
        def cell(plan: Plan) -> str:
            needed = sum(of(plan).values())
            colour = "green" if needed <= room(plan) else "red"
            return f"[{colour}]{in_gib(needed)}[/] / {in_gib(room(plan))}"

        return {"in all / may take": each(cell)}

    time = {
        "model FLOPs a step": each(lambda plan: _flops(plan.model_flops)),
        "executed": each(lambda plan: _flops(plan.executed_flops)),
        "received a step": each(lambda plan: in_gib(plan.traffic)),
        "steps": each(lambda plan: f"{plan.steps:,}"),
        "a step": each(lambda plan: _duration(plan.step_seconds)),
        "the stage": each(lambda plan: _duration(plan.seconds)),
        "GPU hours": each(lambda plan: "-" if plan.gpu_hours is None else f"{plan.gpu_hours:,.4g}"),
    }
    if any(plan.cost is not None for plan in plans):
        time["cost"] = each(lambda plan: "-" if plan.cost is None else f"{plan.cost:,.0f}")
    data = {
        "a clip, encoded": each(lambda plan: in_gib(plan.clip_bytes)),
        "read in a step": each(lambda plan: in_gib(plan.config.train.batch * plan.clip_bytes)),
    }
    if plans[0].clips is not None:
        data["read in an epoch"] = each(lambda plan: in_gib(plan.clips * plan.clip_bytes))
        data["epochs"] = each(lambda plan: f"{plan.steps * plan.config.train.batch / max(1, plan.clips):.1f}")
    kind = "process" if plans[0].gpu.is_cpu else "GPU"
    return {
        "Parameters": parts(lambda plan: plan.parameters, lambda count: f"{count / 1e6:,.1f} M"),
        f"Memory of a {kind}": {
            "fullest when": each(lambda plan: plan.moment),
            **parts(lambda plan: plan.memory),
            **total(lambda plan: plan.memory, lambda plan: plan.room),
        },
        "Host memory of a node": {
            **parts(lambda plan: plan.host),
            **total(lambda plan: plan.host, lambda plan: plan.host_room),
        },
        "Work": time,
        "Data": data,
        "Disk": {
            "a checkpoint": each(lambda plan: in_gib(plan.checkpoint_bytes)),
            **parts(lambda plan: plan.disk),
            **total(lambda plan: plan.disk, lambda plan: plan.disk_room),
        },
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _flops(count: int) -> str:
    for unit, scale in (("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= scale:
            return f"{count / scale:,.4g} {unit}"
    return f"{count / 1e9:,.4g} GFLOP"
