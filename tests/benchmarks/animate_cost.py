"""Cost of a video, cached against uncached and batched against single: `python tests/benchmarks/animate_cost.py`.

One and the same video of a random `small` model, by `model.animate.generate`, in four ways: what no timestep changes
computed once (`animate.cache`) or in every pass, and the passes of a step one by one or as one batch
(`animate.passes`). Each video has a process of its own; the ways take turns, there and back, over the rounds. Shown per
way: the time from pictures to pictures and the CPU time of all threads, both as ratios to uncached single passes of the
same round (median and all rounds), the ratio that `model.flops` expects, the peak memory beside what was held before
(resident on the CPU, allocated on a GPU), and the largest difference of the latents from the reference's.

Then, counted and not measured: the parts of a video here and at wan-14b (576x1024, 81 frames, 40 steps), what caching
saves of each, what two more savings with the same numbers would, and the hours of a video by sustained TFLOP/s.
`--count` does only this. Exits 1 where latents differ by more than 1e-5.
"""

import argparse
import dataclasses
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.schema import Animate, Encode, Model
from model import flops
from model.animate import generate
from model.encoders import build_encoders
from model.inputs import DrawnPoses, Motion
from model.pose.tracks import PoseTrack
from model.resolution import latent_shape, output_size
from model.transformer import SteadyDancerTransformer, model_config

SAME = 1e-5
WAYS = {
    "uncached, single": {"cache": False, "passes": "single"},
    "cached, single": {"cache": True, "passes": "single"},
    "uncached, batched": {"cache": False, "passes": "batched"},
    "cached, batched": {"cache": True, "passes": "batched"},
}
REFERENCE = next(iter(WAYS))
PAPER = "wan-14b", (21, 128, 72), 40
SUSTAINED = 100, 200, 400, 800


class Measured(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mib: float
    latent: np.ndarray


class Listening:
    """A codec that keeps the latent it was last asked to decode."""

    def __init__(self, codec):
        self.codec, self.id = codec, codec.id

    def encode(self, video_BCTHW):
        return self.codec.encode(video_BCTHW)

    def decode(self, latent_BCTHW):
        self.latent = latent_BCTHW
        return self.codec.decode(latent_BCTHW)


def dancer(frames: int, size: tuple[int, int], seed: int) -> PoseTrack:
    """Somebody whose joints swing about random places of a ``size`` (height, width) picture."""
    rng = np.random.default_rng(seed)
    swing = np.sin(np.arange(frames)[:, None, None] / 4 + rng.uniform(0, 6, (1, 133, 2)))
    points = (rng.uniform(0.3, 0.7, (1, 133, 2)) + 0.1 * swing) * (size[1], size[0])
    return PoseTrack(points.astype(np.float32), np.ones((frames, 133), np.float32))


def resident() -> tuple[float, float]:
    """MiB that this process holds now and held at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))


def measure(options: argparse.Namespace, way: str) -> Measured:
    torch.set_num_threads(options.threads)
    cuda = options.device.startswith("cuda")
    torch.manual_seed(0)
    model = SteadyDancerTransformer(**model_config(options.size)).eval().to(options.device)
    encoders = build_encoders(Encode(), Model(size=options.size))
    encoders = dataclasses.replace(encoders, codec=(codec := Listening(encoders.codec)))
    settings = Animate(steps=options.steps, area=options.area, **WAYS[way])
    reference = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    size = output_size(options.area, 256, 256)
    motion = Motion(*(DrawnPoses([dancer(options.frames, (256, 256), seed)], (256, 256), size) for seed in (1, 2)))

    def video(settings: Animate) -> None:
        generate(model, encoders, reference, motion, "Somebody dances.", settings, seed=0, window=options.frames)
        if cuda:
            torch.cuda.synchronize()

    if cuda:
        video(settings.model_copy(update={"steps": 2}))
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20 if cuda else resident()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    video(settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident()[1]
    return Measured(wall, cpu, peak - before, codec.latent.cpu().numpy())


def compare(console: Console, options: argparse.Namespace, saved: float) -> bool:
    """Whether all ways gave the same latents."""
    rounds = [list(WAYS)[:: 1 if n % 2 == 0 else -1] for n in range(options.rounds)]
    results: dict[str, list[Measured]] = {way: [] for way in WAYS}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for way in progress(sum(rounds, []), "Measuring", console=Console(stderr=True), transient=True):
            results[way].append(pool.submit(measure, options, way).result())

    first = results[REFERENCE]
    alike = True
    table = Table("", "s", "wall", "CPU", "all rounds", "expected", "peak MiB", "difference")
    for way, measured in results.items():
        wall = [m.wall_s / base.wall_s for m, base in zip(measured, first, strict=True)]
        cpu = [m.cpu_s / base.cpu_s for m, base in zip(measured, first, strict=True)]
        off = max(float(np.abs(m.latent - first[0].latent).max()) for m in measured)
        alike &= off <= SAME
        table.add_row(
            way,
            f"{statistics.median(m.wall_s for m in measured):.1f}",
            f"{statistics.median(wall):.3f}",
            f"{statistics.median(cpu):.3f}",
            " ".join(f"{ratio:.3f}" for ratio in cpu),
            f"{1 - saved * WAYS[way]['cache']:.3f}",
            f"{statistics.median(m.peak_mib for m in measured):.0f}",
            f"{off:.1g}",
        )
    console.print(table)
    console.print(f"Latents up to {np.abs(first[0].latent).max():.2f}; differences at most {SAME:g}: {alike}.")
    return alike


def count(console: Console, title: str, size: str, latent_THW: tuple[int, int, int], steps: int) -> flops.Video:
    config, interval = model_config(size), Animate().pose_interval
    forward = flops.by_part(flops.forward(config, latent_THW))
    video = flops.video(config, latent_THW, steps, interval)
    total, cached = sum(video.uncached.values()), sum(video.cached.values())
    tokens = (latent_THW[0] + 2) * latent_THW[1] * latent_THW[2] // 4
    about = f"{title}: {size}, {tokens:,} tokens, {steps} steps, {video.forwards} forwards"
    table = Table("part", "TFLOP, one forward", "of a video", "cached / uncached", title=about, title_justify="left")
    for part, value in forward.items():
        share, kept = video.uncached[part] / total, video.cached[part] / video.uncached[part]
        table.add_row(part, f"{value / 1e12:.4g}", f"{share:.3%}", f"{kept:.3f}")
    table.add_row("all", f"{sum(forward.values()) / 1e12:.4g}", "100%", f"{cached / total:.4f}", style="bold")
    console.print(table)
    twice, unread = further(config, latent_THW, steps, interval)
    console.print(
        f"Caching saves {video.saved:.2%}. Not built: block 0's self-attention once for the positive and the "
        f"negative-text pass, {twice / cached:.2%} more; the last block without its references' queries, "
        f"{unread / cached:.2%} more."
    )
    return video


def further(config: dict, latent_THW: tuple[int, int, int], steps: int, interval: tuple[float, float]):
    """FLOPs of a video that are computed twice, and that nobody reads.

    Before block 0's cross-attention two passes of a step differ in nothing. After the last block's self-attention, in
    which they are keys and values, the two reference frames of T+2 matter no more.
    """
    part = {name: n / config["num_layers"] for name, n in flops.by_part(flops.forward(config, latent_THW)).items()}
    scores, projections = part["self-attention scores"], part["self-attention projections"]
    after = part["cross-attention queries, output"] + part["cross-attention scores"] + part["feed-forward"]
    references = 2 / (latent_THW[0] + 2)
    calls = flops.video(config, latent_THW, steps, interval).forwards
    return steps * (scores + projections), calls * references * (scores + projections / 2 + after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true", help="count FLOPs only")
    parser.add_argument("--size", default="small", choices=["tiny", "small", "wan-14b"])
    parser.add_argument("--area", type=int, default=128 * 128, help="pixels of a frame (default 128x128)")
    parser.add_argument("--frames", type=int, default=17, help="4k+1 (default 17)")
    parser.add_argument("--steps", type=int, default=4, help="solver steps (default 4: 9 forwards)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    console = Console(width=max(110, Console().width))
    size = output_size(options.area, 256, 256)
    case = options.size, latent_shape(options.frames, *size), options.steps
    here = count(console, f"{options.frames} frames of {size[1]}x{size[0]}", *case)
    paper = count(console, "81 frames of 576x1024", *PAPER)
    total = sum(paper.cached.values())
    hours = ", ".join(f"{total / rate / 1e12 / 3600:.2f} h at {rate}" for rate in SUSTAINED)
    console.print(f"{total / 1e15:.0f} PFLOP of a video are {hours} sustained TFLOP/s: arithmetic, not a measurement.")
    return 0 if options.count or compare(console, options, here.saved) else 1


if __name__ == "__main__":
    sys.exit(main())
