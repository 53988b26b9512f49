"""The planner's memory against real training steps: `python tests/benchmarks/training_memory.py [--short]`.

Two steps of DeepSpeed for each case, in one process, through the engine that training uses, while every tensor is
watched (tests/model/live_memory.py): its most bytes at once in the second step against the fullest moment of the plan.
Eight workers are this one and seven that send nothing (torch's fake process group), so that their shares are measured
without them. Exits with 1 where a ratio is outside of 10 %.
"""

import argparse
import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from live_memory import LiveMemory

from infra import config as configs
from infra import environment
from model.conditions import assemble
from model.transformer import SteadyDancerTransformer, model_config
from training import engine as engines
from training import prebuild
from training.adapters import make_trainable
from training.objectives import ActionSupervision, ConditionDistillation, Example
from training.planning import memory
from training.planning.activations import Setting

TOLERANCE = 0.10


class Case(NamedTuple):
    size: str
    latent_THW: tuple[int, int, int]
    stage: int
    trainable: str
    zero: int
    precision: str
    recompute: str


def cases(world: int, short: bool) -> list[Case]:
    """Tiny, where activations count, and small, where weights do; of several workers small alone."""
    if short:
        return [
            Case("tiny", (3, 12, 8), 1, "lora", 2, "fp32", "none"),
            Case("tiny", (3, 12, 8), 2, "full", 3, "bf16", "full"),
        ]
    many = [
        Case("tiny", (5, 16, 16), stage, trainable, zero, precision, recompute)
        for stage, trainable in ((1, "lora"), (1, "full"), (2, "full"))
        for zero in (1, 2, 3)
        for precision in ("fp32", "bf16")
        for recompute in ("none", "full")
    ]
    few = [
        Case("small", (5, 16, 16), stage, trainable, zero, "bf16", recompute)
        for stage, trainable, recompute in ((1, "lora", "none"), (1, "full", "full"), (2, "full", "full"))
        for zero in (2, 3)
    ]
    few.append(Case("small", (5, 16, 16), 1, "full", 1, "fp32", "none"))
    return [case for case in many if world == 1] + few


def settings(case: Case, world: int):
    number = case.stage - 1
    return configs.load(
        "demo",
        [
            f"model.size={case.size}",
            f"train.batch={world}",
            f"train.workers={world}",
            f"train.zero={case.zero}",
            f"train.precision={case.precision}",
            f"train.recompute={case.recompute}",
            f"train.stages.{number}.trainable={case.trainable}",
            f"train.stages.{number}.lora_rank=8",
        ],
    )


def planned(case: Case, world: int) -> list[memory.Moment]:
    config = settings(case, world)
    stage = config.train.stages[case.stage - 1]
    return memory.moments(
        Setting(model_config(case.size), case.latent_THW, config.train, stage, config.encode, world, cuda=False)
    )


def measured(case: Case, world: int) -> int:
    """The most bytes of tensors at once in a second step, the moments of Adam being there."""
    config, model_values = settings(case, world), model_config(case.size)
    device = torch.device("cpu")
    gc.collect()
    with LiveMemory() as live:
        torch.manual_seed(0)
        model = SteadyDancerTransformer(**model_values)
        make_trainable(model, config.train.stages[case.stage - 1], seed=0)
        stage, null_text = config.train.stages[case.stage - 1], np.zeros((1, model_values["text_dim"]), np.float32)
        if case.stage == 2:
            objective = ConditionDistillation(stage, null_text, engines.frozen_teacher(config, device))
        else:
            objective = ActionSupervision(stage, null_text)
        engine = engines.student_engine(model, config, case.stage, device, world)
        for _ in range(2):
            gc.collect()
            live.peak = live.now
            for losses in objective.losses(engine, example(model_values, case.latent_THW)):
                engine.backward(losses["total"].mean())
                engine.step()
        peak = live.peak
    engine.destroy()
    return peak


def example(config: dict, latent_THW: tuple[int, int, int]) -> Example:
    latent = torch.randn(1, 16, *latent_THW)
    clip = [torch.randn(1, 257, config["image_dim"]) for _ in range(2)]
    text = [torch.randn(9, config["text_dim"])]
    return Example(latent, latent.clone(), torch.tensor([500.0]), assemble(latent, latent.clone(), *clip, text))


def start(world: int) -> None:
    environment.prepare()
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    prebuild.load(prebuild.build())
    if world == 1:
        store = dist.FileStore(f"{tempfile.mkdtemp()}/store", 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    else:
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    engines.start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="two small cases")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", help="cases whose line has this text")
    options = parser.parse_args()
    start(options.workers)
    console = Console(width=140)
    table = Table(*Case._fields, "fullest when", "planned MB", "measured MB", "ratio")
    worst = 1.0
    for case in cases(options.workers, options.short):
        if options.only and options.only not in " ".join(map(str, case)):
            continue
        moment = max(planned(case, options.workers), key=lambda one: one.total)
        peak = measured(case, options.workers)
        ratio = moment.total / peak
        if not options.short:
            print(*case, f"{ratio:.3f}", file=sys.stderr, flush=True)  # minutes pass until the table is there
        worst = max(worst, ratio, 1 / ratio)
        table.add_row(
            *(" x ".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in case),
            moment.name,
            f"{moment.total / 1e6:.2f}",
            f"{peak / 1e6:.2f}",
            f"{ratio:.3f}",
            style="" if abs(ratio - 1) <= TOLERANCE else "red",
        )
    console.print(table)
    console.print(f"{options.workers} workers; furthest from 1: {worst:.3f}")
    return int(worst - 1 > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
