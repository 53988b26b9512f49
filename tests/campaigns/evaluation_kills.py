"""Kills an evaluation at random moments and lets it go on: its tables must be those of an undisturbed one, bytewise.

    python tests/campaigns/evaluation_kills.py --kills 10

The command `evaluate` runs in a process of its own, on videos made elsewhere for the mini benchmark, with every metric
that needs no weights. It is sent SIGKILL at random moments, and then runs to its end on one core and on two. Exit 1
where a table differs.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from evaluation.benchmarks.manifest import read_manifest
from evaluation.benchmarks.mini import mini_benchmark
from evaluation.metrics.registry import METRICS
from infra import config

PATIENCE_S = 900
SETTINGS = ("clip.frames=25", "evaluate.benchmark=mini", "evaluate.mini.drivers=3")
WITHOUT_WEIGHTS = [name for name, metric in METRICS.items() if not metric.backbones]
TABLES = ("scores.parquet", "curves.parquet", "sets.parquet", "pairs.parquet")


def made_elsewhere(folder: Path) -> None:
    """A video for every pair of the mini benchmark: its driver's."""
    folder.mkdir()
    benchmark = mini_benchmark(folder.with_name("benchmark"), config.load("demo", list(SETTINGS)))
    for entry in read_manifest(benchmark.path).pairs:
        shutil.copyfile(benchmark.path / entry.driving, folder / f"{entry.id}.mp4")


def started(work: Path, videos: Path, cpus: int) -> subprocess.Popen:
    settings = [f"work={work}", "evaluate.models=[]", f"evaluate.videos={{theirs: {videos}}}", f"resources.cpus={cpus}"]
    metrics = f"evaluate.metrics=[{', '.join(WITHOUT_WEIGHTS)}]"
    with work.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "steadydancer", "evaluate", "-c", "demo", *SETTINGS, *settings, metrics],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "COLUMNS": "200"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finished(work: Path, videos: Path, cpus: int) -> dict[str, str]:
    """Hashes of the tables, once the command has run to its end."""
    process = started(work, videos, cpus)
    if process.wait(PATIENCE_S):
        raise SystemExit(f"the command failed:\n{work.with_suffix('.log').read_text()[-3000:]}")
    return {name: hashlib.sha256((work / "evaluation" / name).read_bytes()).hexdigest() for name in TABLES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, folder = random.Random(options.seed), Path(tempfile.mkdtemp(prefix="evaluation-kills-"))
    try:
        made_elsewhere(videos := folder / "videos")
        began = time.monotonic()
        expected = finished(folder / "undisturbed", videos, 2)
        alone_s = time.monotonic() - began
        print(f"undisturbed: {len(WITHOUT_WEIGHTS)} metrics in {alone_s:.0f} s", flush=True)
        work, kills, wrong = folder / "work0", 0, 0
        while kills < options.kills:
            process = started(work, videos, rng.choice((1, 2)))
            try:
                process.wait(rng.uniform(0.2, 1) * alone_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                kept = len(list((work / "evaluation-scores").glob("scores/*.json")))
                print(f"  kill {kills}: {kept} videos had scores", flush=True)
            if (work / "evaluation").exists() or kills == options.kills:
                same = finished(work, videos, 1) == expected
                print(f"  {work.name}: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
                wrong += not same
                work = work.with_name(f"work{int(work.name.removeprefix('work')) + 1}")
        print(f"{kills} kills, {wrong} work folders with other bytes")
        return int(wrong > 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
