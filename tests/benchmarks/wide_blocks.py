"""Real-width blocks on this device: `python tests/benchmarks/wide_blocks.py [--latent 21,128,72] [--out FILE]`.

Forwards of a SteadyDancer of wan-14b's width (5120, 40 heads) with few blocks and random weights, in bf16, on the
latent of 81 frames of 576x1024: 52,992 tokens. As in sampling, the conditions are prepared once, outside the timing.
For each attention backend of diffusers: time of a forward (median, least and most; there and back through the
backends), memory at the peak beside the weights, TFLOP/s by `model.flops`, their share of the GPU's peak, and the
largest difference of the velocity from the first backend's. What a plain product of large matrices reaches in the same
run stands below. A backend that is not installed, or fails on this machine, is listed with the reason.

`--compile` adds a row per backend with `torch.compile`d blocks. Without a GPU a small latent shows that it works:
`--size tiny --latent 3,8,8`.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from model import flops
from model.conditions import assemble
from model.transformer import SteadyDancerTransformer, model_config

BACKENDS = "native,_native_flash,_native_cudnn,_native_efficient,flash,_flash_3,sage"
# Dense bf16 with fp32 accumulation, TFLOP/s, by the vendor's data sheets; the first name that fits counts.
PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}


class Clock:
    """Seconds and peak memory of work on a device."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"

    def seconds(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def gib(self, work: Callable[[], object]) -> float | None:
        """Peak memory beside what is held before; None on the CPU, where torch does not count it."""
        if not self.cuda:
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 2**30


def inputs(config: dict, latent_THW: tuple[int, int, int]):
    latent = torch.randn(1, 16, *latent_THW)
    clip = [torch.randn(1, flops.IMAGE_TOKENS, config["image_dim"]) for _ in range(2)]
    return latent, torch.tensor([900.0]), assemble(latent, latent, *clip, [torch.randn(77, config["text_dim"])])


def plain_product(clock: Clock, side: int) -> float:
    """TFLOP/s of a product of two square bf16 matrices, the best of five."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16) for _ in range(2))
    clock.seconds(lambda: a @ b)
    return 2 * side**3 / min(clock.seconds(lambda: a @ b) for _ in range(5)) / 1e12


def half(model: SteadyDancerTransformer) -> None:
    """To bf16, but for the parts that are kept in fp32."""
    for name, parameter in model.named_parameters():
        if not any(part in name for part in model._keep_in_fp32_modules):
            parameter.data = parameter.data.bfloat16()


def switch(model: SteadyDancerTransformer, backend: str, compiled: bool) -> None:
    model.set_attention_backend(backend)
    torch.compiler.reset()  # else the backends' graphs together pass the limit of recompilations
    for block in model.blocks:
        block._compiled_call_impl = None
        if compiled:
            block.compile()


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:160]


def report(console: Console, about: dict, figures: list[dict], absences: list[dict]) -> None:
    for key, value in about.items():
        console.print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    table = Table("attention", "seconds", "least, most", "peak GiB", "TFLOP/s", "of peak", "difference")
    for figure in figures:
        times, memory, share = figure["seconds"], figure["peak_gib"], figure["of_peak"]
        table.add_row(
            figure["attention"] + ", compiled" * figure["compiled"],
            f"{statistics.median(times):.4g}",
            f"{min(times):.4g}, {max(times):.4g}",
            "n/a" if memory is None else f"{memory:.2f}",
            f"{figure['tflops']:.4g}",
            "n/a" if share is None else f"{share:.1%}",
            f"{figure['difference']:.2g}",
        )
    console.print(table)
    for absent in absences:
        console.print(f"not here: {absent['attention']}{', compiled' * absent['compiled']}: {absent['why']}")


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent", default="21,128,72", help="T,H,W (default: 81 frames of 576x1024)")
    parser.add_argument("--size", default="wan-14b", choices=["tiny", "small", "wan-14b"], help="whose width")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--backends", default=BACKENDS, help=f"of diffusers, by comma (default {BACKENDS})")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of a GPU that is not in the table")
    parser.add_argument("--out", type=Path, help="JSON of the figures")
    options = parser.parse_args()
    latent_THW = tuple(map(int, options.latent.split(",")))
    device, console = torch.device(options.device), Console()
    clock = Clock(device)
    name = torch.cuda.get_device_name(device) if clock.cuda else platform.processor() or platform.machine()
    peak = options.peak_tflops or next((peak for known, peak in PEAKS.items() if known in name), None)
    config = model_config(options.size) | {"num_layers": options.blocks}

    diffusers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    with device:
        model = SteadyDancerTransformer(**config).eval()
        half(model)
        latent, timestep, conditions = inputs(config, latent_THW)
        reference = plain_product(clock, 8192 if clock.cuda else 512)
    rows = flops.forward(config, latent_THW)
    tflop = flops.by_stream(rows)[None] / 1e12
    prepared = model.prepare(conditions)
    once = clock.seconds(lambda: model.prepare(conditions))

    def forward() -> torch.Tensor:
        return model(latent, timestep, prepared)

    backends, kinds = options.backends.split(","), [False, True][: 1 + options.compile]
    ways = [(backend, compiled) for compiled in kinds for backend in backends]
    velocity, absent = {}, {}
    for way in ways:
        try:
            switch(model, *way)
            velocity[way] = forward()
        except (RuntimeError, ValueError, ImportError) as error:
            if way == ways[0]:
                raise
            absent[way] = reason(error)
    seconds, memory = {way: [] for way in velocity}, {}
    for way in [*seconds, *reversed(seconds)]:
        switch(model, *way)
        forward()
        memory[way] = clock.gib(forward)
        seconds[way] += [clock.seconds(forward) for _ in range(options.rounds)]

    figures = [
        {
            "attention": way[0],
            "compiled": way[1],
            "seconds": times,
            "peak_gib": memory[way],
            "tflops": (rate := tflop / statistics.median(times)),
            "of_peak": rate / peak if peak else None,
            "difference": (velocity[way] - velocity[ways[0]]).abs().max().item(),
        }
        for way, times in seconds.items()
    ]
    about = {
        "blocks": options.blocks,
        "width": options.size,
        "latent": latent_THW,
        "tokens": (latent_THW[0] + 2) * latent_THW[1] * latent_THW[2] // 4,
        "forward_tflop": tflop,
        "weights_gib": sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30,
        "prepare_s": once,
        "device": name,
        "peak_tflops": peak,
        "plain_product_tflops": reference,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "cuda": torch.version.cuda,
    }
    absences = [{"attention": way[0], "compiled": way[1], "why": why} for way, why in absent.items()]
    report(console, about, figures, absences)
    parts = {part: count / 1e12 / tflop for part, count in flops.by_part(r for r in rows if not r.stream).items()}
    console.print("Of the FLOPs: " + ", ".join(f"{part} {share:.1%}" for part, share in parts.items() if share > 0.001))
    if options.out:
        options.out.write_text(json.dumps(about | {"ways": figures, "absent": absences}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
