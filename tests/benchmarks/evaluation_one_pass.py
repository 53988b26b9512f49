"""What all metrics together cost: `python tests/benchmarks/evaluation_one_pass.py [--frames N] [--out FILE]`.

Every metric of one video is computed in CPU seconds of one thread:

- together, as `evaluate` does it: one process, the video decoded once, each backbone loaded once and shown its pictures
  once;
- the least there is: decoding once, and every forward that came up in the first way once more, by itself;
- one by one: a process for each metric, which loads what that one needs, as `metric NAME` and suites with a program for
  each metric do. Beside it, the same without starting and loading: what only the shared features save.

Backbones have their true sizes and random weights of a seed, so that nothing is measured but cost. All ways must give
the same scores. Exits 1 where they do not, or together costs more than 1.2 times the least or 0.4 times one by one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from evaluation.backbones.backbone import Backbone
from evaluation.backbones.registry import BACKBONES
from evaluation.benchmarks import cast
from evaluation.features import Features
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.metric import Metric
from evaluation.metrics.registry import METRICS
from infra import config, environment
from model import video
from model.pose.estimator import build_estimator

LEAST, ONE_BY_ONE = 1.2, 0.4
NOT_OF_TRUE_SIZE = {"amt_s"}
"""Its architecture is not ours to rebuild; the metric is left out."""
VIDEO, NETWORKS = "generated.mp4", "networks"


class NoFiles:
    """Stands for the files of weights: a network of random weights is told by its name."""

    def id_of(self, backbone: Backbone) -> str:
        return f"{backbone.id}-random"


class Noting:
    """A :class:`evaluation.features.Forward` that notes what it was shown."""

    device = "cpu"

    def __init__(self, networks: dict[str, object]):
        self.networks, self.shown = networks, []

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        self.shown.append((backbone, pictures, others))
        return backbone.embed(self.networks[backbone.network], pictures, others)


def asked_of(frames: int):
    return config.load("demo", [f"clip.frames={frames}", "evaluate.mini.short_side=256"])


def measured() -> list[Metric]:
    return [metric for metric in METRICS.values() if not metric.backbones & NOT_OF_TRUE_SIZE]


def networks_of(metrics: list[Metric]) -> dict[str, Backbone]:
    return {BACKBONES[name].network: BACKBONES[name] for metric in metrics for name in metric.backbones}


def prepare(folder: Path, frames: int) -> None:
    """The video and the networks, as files; OpenCV's are small, and made where they are used."""
    import torch

    settings = asked_of(frames)
    video.write(folder / VIDEO, cast.driver(settings, 0).frames[:frames], settings.clip.fps)
    (folder / NETWORKS).mkdir()
    for network, backbone in networks_of(measured()).items():
        made = backbone.random(0)
        if isinstance(made, torch.nn.Module):
            torch.save(made, folder / NETWORKS / network)


def score(folder: Path, frames: int, metrics: list[Metric], least: bool) -> dict:
    """In this process: scores, CPU seconds since the process began and since everything was loaded."""
    environment.prepare()
    import torch

    torch.set_num_threads(1)
    settings = asked_of(frames)
    take, estimator = cast.driver(settings, 0), None
    if any("pose" in metric.needs for metric in metrics):
        estimator = build_estimator(settings.pose)
    networks = {}
    for network, backbone in networks_of(metrics).items():
        file = folder / NETWORKS / network
        networks[network] = torch.load(file, weights_only=False) if file.exists() else backbone.random(0)
    forward, loaded_s = Noting(networks), time.process_time()
    generated = np.stack([image for _, image in video.frames(folder / VIDEO)])
    evidence = Evidence(
        generated=generated,
        fps=settings.clip.fps,
        reference=generated[0],
        reference_pose=take.track[:1],
        ceiling=generated[0],
        driving_frames=take.frames,
        driving=take.track,
        driving_fps=settings.clip.fps,
        control=take.track,
        same_source=True,
        estimator=estimator,
        embedder=Features(Path(tempfile.mkdtemp(dir=folder)), NoFiles(), forward),
    )
    scores = {metric.name: metric.score(evidence) for metric in metrics}
    process_s = time.process_time()
    facts = {
        "scores": {name: [each.status, each.value] for name, each in scores.items()},
        "process_s": process_s,
        "loaded_s": process_s - loaded_s,
        "forwards": len(forward.shown),
    }
    if least:
        pictures = np.stack([image for _, image in video.frames(folder / VIDEO)])
        estimator.estimate(pictures)
        for backbone, shown, others in forward.shown:
            backbone.embed(networks[backbone.network], shown, others)
        facts["least_s"] = time.process_time() - process_s
    return facts


def in_a_process(folder: Path, frames: int, metrics: list[Metric], *more: str) -> dict:
    names = [metric.name for metric in metrics]
    command = [sys.executable, __file__, "--frames", str(frames), "--folder", str(folder), *more, "--metrics", *names]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **threads})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--metrics", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--least", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.metrics:
        asked = [METRICS[name] for name in options.metrics]
        print(json.dumps(score(options.folder, options.frames, asked, options.least)))
        return 0
    metrics = measured()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, options.frames)
        together = in_a_process(folder, options.frames, metrics, "--least")
        told = [f"{key} {together[key]:.1f}" for key in ("process_s", "loaded_s", "least_s")]
        print("together:", *told, file=sys.stderr, flush=True)
        apart = {}
        for metric in metrics:
            apart[metric.name] = in_a_process(folder, options.frames, [metric])
            print(f"{metric.name}: {apart[metric.name]['process_s']:.1f} s", file=sys.stderr, flush=True)
    apart_scores = {name: each["scores"][name] for name, each in apart.items()}
    differing = sorted(name for name in apart_scores if apart_scores[name] != together["scores"][name])
    one_by_one_s, loaded_s = (sum(each[key] for each in apart.values()) for key in ("process_s", "loaded_s"))
    facts = {
        "frames": options.frames,
        "metrics": len(metrics),
        "computed": sum(status == "ok" for status, _ in apart_scores.values()),
        "backbones": sorted(networks_of(metrics)),
        "forwards": together["forwards"],
        "forwards_one_by_one": sum(each["forwards"] for each in apart.values()),
        "together_s": together["process_s"],
        "together_loaded_s": together["loaded_s"],
        "least_s": together["least_s"],
        "one_by_one_s": one_by_one_s,
        "one_by_one_loaded_s": loaded_s,
        "of_the_least": together["loaded_s"] / together["least_s"],
        "of_one_by_one": together["process_s"] / one_by_one_s,
        "of_one_by_one_loaded": together["loaded_s"] / loaded_s,
        "other_scores": differing,
        "by_metric_s": {name: round(each["process_s"], 2) for name, each in apart.items()},
    }
    print(json.dumps(facts, indent=1))
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
    return int(bool(differing) or facts["of_the_least"] > LEAST or facts["of_one_by_one"] > ONE_BY_ONE)


if __name__ == "__main__":
    sys.exit(main())
