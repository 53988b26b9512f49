"""Memory of a forward, measured against its estimate: `python tests/benchmarks/animate_memory.py [--size small]`.

Each case runs in a process of its own on the CPU, in fp32: conditions are prepared, then the growth of the process to
the peak of one forward is taken from the system, and divided by what model.memory says of its activations. On a GPU the
same tensors live; its allocator and workspaces add what model.memory.HEADROOM stands for.

Then, estimated and not measured: the peak of 81 frames of 576x1024 at wan-14b with the real encoders, by precision and
offload.

The children's malloc maps every large tensor apart (MALLOC_MMAP_THRESHOLD_), so that freed ones count as freed.
Exits 1 where the ratio leaves 0.9 .. 1.1.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

BOUNDS = 0.9, 1.1
CASES = [(5, 48, 48, "single"), (5, 48, 32, "batched"), (9, 48, 48, "single")]


def measure(size: str, latent_THW: tuple[int, int, int], passes: str) -> tuple[int, int]:
    """(bytes of growth, bytes estimated)"""
    import psutil
    import torch

    from infra import schema
    from model.conditions import Conditions
    from model.memory import moments
    from model.transformer import SteadyDancerTransformer, model_config

    torch.set_num_threads(2)
    config, (t, h, w), batch = model_config(size), latent_THW, 3 if passes == "batched" else 1
    model = SteadyDancerTransformer(**config).eval().requires_grad_(False)

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(batch, *shape)

    clip = (257, config["image_dim"])
    latents = some(20, t, h, w), some(16, t, h, w), some(36, 1, h, w), some(16, 1, h, w)
    conditions = Conditions(*latents, some(*clip), some(*clip), some(), some(512, config["text_dim"]))
    process, peak, done = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.001)

    with torch.no_grad():
        prepared, noise, timestep = model.prepare(conditions), some(16, t, h, w), torch.full((batch,), 500)
        small = 1, 4, 4
        model(  # what the first forward leaves behind for good
            torch.rand(batch, 16, *small),
            timestep,
            Conditions(*(x[..., :1, :4, :4] if x.dim() == 5 else x for x in conditions)),
        )
        before, watcher = process.memory_info().rss, threading.Thread(target=watch)
        watcher.start()
        model(noise, timestep, prepared)
        done.set()
        watcher.join()
    settings = schema.Animate(passes=passes)
    [denoising] = [one for one in moments(config, latent_THW, settings, schema.Encode()) if one.moment == "denoising"]
    return peak - before, denoising.parts["activations"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        *shape, passes = arguments.case
        print(*measure(arguments.size, tuple(map(int, shape)), passes))
        return 0
    missed = 0
    for *shape, passes in CASES:
        command = [sys.executable, __file__, "--size", arguments.size, "--case", *map(str, shape), passes]
        child = subprocess.run(
            command, check=True, capture_output=True, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        )
        measured, estimated = map(int, child.stdout.split()[-2:])
        ratio = measured / estimated
        missed += not BOUNDS[0] <= ratio <= BOUNDS[1]
        print(
            f"{arguments.size} {'x'.join(map(str, shape))} {passes}: {measured / 1e6:.0f} MB measured, "
            f"{estimated / 1e6:.0f} MB estimated, ratio {ratio:.2f}"
        )
    estimates()
    return int(missed > 0)


def estimates() -> None:
    from infra import schema
    from model.memory import estimate
    from model.transformer import model_config

    encode = schema.Encode(codec="wan-vae", image="clip", text="umt5")
    for way in ({}, {"precision": "bf16"}, *({"precision": "bf16", "offload": part} for part in ("parts", "blocks"))):
        peak = estimate(model_config("wan-14b"), (21, 128, 72), schema.Animate(**way), encode)
        said = " ".join(f"animate.{key}={value}" for key, value in way.items()) or "as it is"
        print(f"wan-14b, {said}: {peak.total / 1e9:.1f} GB while {peak.moment}")


if __name__ == "__main__":
    sys.exit(main())
