"""Training steps at the real width: `python tests/benchmarks/wide_training.py [--blocks N] [--out FILE]`.

Steps of DeepSpeed, one worker, of a SteadyDancer of wan-14b's width (5120, 40 heads) with as many blocks as the planner
says fit, random weights, in bf16, on the latent of 81 frames of 640x640: 36,800 tokens. Stage 1 trains adapters; stage
2 everything, with a teacher of as many blocks. For each way of recomputation and each attention backend of diffusers,
one after the other and back in one run: time of a step (median, least, most), memory at the peak against the plan's,
model FLOPs and their share of the GPU's peak (MFU), executed FLOPs. A way that does not fit, or a backend that is not
installed, is listed with the reason.

Without a GPU a few tokens show that it works: `--size tiny --latent 3,8,8 --rounds 1`.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra import config as configs
from infra import environment
from model.checkpoint import PRECISION, cast
from model.conditions import assemble
from model.initialise import base_forward, base_model
from model.memory import HEADROOM
from model.transformer import SteadyDancerTransformer, model_config
from training import engine as engines
from training import prebuild, recompute
from training.adapters import make_trainable
from training.objectives import ActionSupervision, ConditionDistillation, Example
from training.planning import flops, memory
from training.planning.activations import Setting
from training.planning.hardware import Gpu, here, named

BACKENDS = "native,_native_flash,_native_cudnn,flash,_flash_3"


class Wide:
    """A stage of the cut-down model behind DeepSpeed, and a sample to train it on."""

    def __init__(self, number: int, size: str, blocks: int, latent_THW: tuple[int, int, int], device: torch.device):
        self.config, self.number, self.latent_THW = settings(), number, latent_THW
        self.model_config = model_config(size) | {"num_layers": blocks}
        self.stage = self.config.train.stages[number - 1]
        dtype = PRECISION[self.config.train.precision]
        torch.manual_seed(0)
        with device:
            model = SteadyDancerTransformer(**self.model_config)
        make_trainable(cast(model, dtype), self.stage, seed=0)
        null_text = np.zeros((1, self.model_config["text_dim"]), np.float32)
        if number == 2:
            with device:
                base = cast(base_model(self.model_config), dtype).eval().requires_grad_(False)
            self.objective = ConditionDistillation(self.stage, null_text, lambda *given: base_forward(base, *given))
        else:
            self.objective = ActionSupervision(self.stage, null_text)
        self.engine = engines.student_engine(model, self.config, number, device)
        self.example = sample(self.model_config, latent_THW, device)

    def set(self, how: str, backend: str) -> None:
        self.engine.module.set_attention_backend(backend)
        recompute.apply(self.engine.module, how)

    def step(self) -> None:
        for losses in self.objective.losses(self.engine, self.example):
            self.engine.backward(losses["total"].mean())
            self.engine.step()


def settings():
    """One worker: nothing is divided."""
    return configs.load("paper", ["train.workers=1", "train.batch=1", "train.zero=2"])


def sample(config: dict, latent_THW: tuple[int, int, int], device: torch.device) -> Example:
    with device:
        latent = torch.randn(1, 16, *latent_THW)
        clip = [torch.randn(1, 257, config["image_dim"]) for _ in range(2)]
        conditions = assemble(latent, latent, *clip, [torch.randn(120, config["text_dim"])])
        return Example(latent, torch.randn_like(latent), torch.tensor([500.0]), conditions)


def planned(number: int, size: str, blocks: int, latent_THW: tuple[int, int, int], how: str, cuda: bool) -> int:
    """Bytes at the fullest moment, without headroom."""
    config = settings()
    train = config.train.model_copy(update={"recompute": how})
    values = model_config(size) | {"num_layers": blocks}
    setting = Setting(values, latent_THW, train, train.stages[number - 1], config.encode, 1, cuda)
    return max(moment.total for moment in memory.moments(setting))


def most_blocks(number: int, size: str, latent_THW: tuple[int, int, int], how: str, gpu: Gpu) -> int:
    """As many as fit by the plan; at least one."""
    whole = range(model_config(size)["num_layers"], 0, -1)
    needs = ((n, HEADROOM * planned(number, size, n, latent_THW, how, not gpu.is_cpu)) for n in whole)
    return next((n for n, needed in needs if needed <= gpu.memory), 1)


def measure(wide: Wide, ways: list[tuple[str, str]], rounds: int, cuda: bool) -> tuple[dict, dict, dict]:
    """Seconds and peak bytes of each way, and why another could not be measured."""
    seconds, peaks, absent = {}, {}, {}
    for way in ways:
        try:
            wide.set(*way)
            wide.step()
            seconds[way] = []
        except (RuntimeError, ValueError, ImportError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            absent[way] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:160]
    for way in [*seconds, *reversed(seconds)]:
        wide.set(*way)
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        wide.step()  # to warm up, and for the memory
        peaks[way] = torch.cuda.max_memory_allocated() if cuda else None
        for _ in range(rounds):
            seconds[way].append(timed(wide.step, cuda))
    return seconds, peaks, absent


def timed(work, cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def start(cuda: bool) -> None:
    environment.prepare()
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
    prebuild.load(prebuild.build())
    store = dist.FileStore(f"{tempfile.mkdtemp()}/store", 1)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=0, world_size=1)
    engines.start()


def report(console: Console, number: int, blocks: int, figures: list[dict], absences: list[dict]) -> None:
    names = ("recomputed", "attention", "seconds", "least, most", "peak GiB", "planned", "TFLOP/s", "MFU", "executed")
    table = Table(*names, title=f"stage {number}, {blocks} blocks", title_justify="left")
    for figure in figures:
        times, peak = figure["seconds"], figure["peak_gib"]
        table.add_row(
            figure["recompute"],
            figure["attention"],
            f"{statistics.median(times):.4g}",
            f"{min(times):.4g}, {max(times):.4g}",
            "n/a" if peak is None else f"{peak:.2f}",
            f"{figure['planned_gib']:.2f}",
            f"{figure['model_tflops']:.4g}",
            "n/a" if figure["mfu"] is None else f"{figure['mfu']:.1%}",
            f"{figure['executed_tflops']:.4g}",
        )
    console.print(table)
    for absent in absences:
        console.print(f"not measured: {absent['recompute']}, {absent['attention']}: {absent['why']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default="1,2")
    parser.add_argument("--latent", default="21,80,80", help="T,H,W (default: 81 frames of 640x640)")
    parser.add_argument("--size", default="wan-14b", choices=["tiny", "small", "wan-14b"], help="whose width")
    parser.add_argument("--blocks", type=int, help="default: as many as fit with the first way of --recompute")
    parser.add_argument("--recompute", default="full,attention,none", help="ways, by comma")
    parser.add_argument("--backends", default=BACKENDS, help=f"of diffusers, by comma (default {BACKENDS})")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON of the figures")
    options = parser.parse_args()
    latent_THW, hows = tuple(map(int, options.latent.split(","))), options.recompute.split(",")
    cuda, console = torch.cuda.is_available(), Console()
    gpu, device = here() if cuda else named("cpu"), torch.device("cuda" if cuda else "cpu")
    diffusers.utils.logging.set_verbosity_error()
    start(cuda)
    about = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "peak_tflops": gpu.tflops,
        "width": options.size,
        "latent": latent_THW,
        "tokens": (latent_THW[0] + 2) * latent_THW[1] * latent_THW[2] // 4,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "stages": [],
    }
    for number in map(int, options.stages.split(",")):
        blocks = options.blocks or most_blocks(number, options.size, latent_THW, hows[0], gpu)
        wide = Wide(number, options.size, blocks, latent_THW, device)
        needs = {how: planned(number, options.size, blocks, latent_THW, how, cuda) for how in hows}
        ways = list(itertools.product(hows, options.backends.split(",")))
        tried = [way for way in ways if needs[way[0]] <= gpu.memory]
        seconds, peaks, absent = measure(wide, tried, options.rounds, cuda)
        # Not tried: a step that ends in the middle leaves DeepSpeed unusable.
        left = [way for way in ways if way not in tried]
        absent |= {way: f"would take {needs[way[0]] / 2**30:.1f} GiB by the plan" for way in left}
        figures = []
        for (how, backend), times in seconds.items():
            step = flops.step(wide.model_config, latent_THW, wide.stage, how)
            median, peak = statistics.median(times), peaks[how, backend]
            rate = step.model / median / 1e12
            figures.append(
                {
                    "recompute": how,
                    "attention": backend,
                    "seconds": times,
                    "peak_gib": peak and peak / 2**30,
                    "planned_gib": needs[how] / 2**30,
                    "model_tflops": rate,
                    "mfu": gpu.tflops and rate / gpu.tflops,
                    "executed_tflops": step.executed / median / 1e12,
                }
            )
        absences = [{"recompute": how, "attention": backend, "why": why} for (how, backend), why in absent.items()]
        report(console, number, blocks, figures, absences)
        about["stages"].append({"stage": number, "blocks": blocks, "ways": figures, "absent": absences})
        wide.engine.destroy()
        del wide
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    if options.out:
        options.out.write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
