"""What all metrics together cost: `python tests/benchmarks/evaluation_one_pass.py [--frames N] [--out FILE]`.

Every metric of one pair is computed three ways, in CPU seconds of one thread:

- together, as `evaluate` does it: the video decoded once, each backbone shown its pictures once;
- the least there is: decoding once, and every forward that came up in the first way once more, by itself;
- one by one: each metric with its own decoding and its own forwards, the networks staying loaded.

Backbones have their true sizes and random weights of a seed, so that nothing is measured but cost.
Exits 1 where together costs more than 1.2 times the least, or more than 0.4 times one by one.
"""

import argparse
import json
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
from evaluation.metrics.registry import METRICS
from infra import config, environment
from model import video
from model.pose.estimator import build_estimator

LEAST, ONE_BY_ONE = 1.2, 0.4
NOT_OF_TRUE_SIZE = {"amt_s"}
"""Its architecture is not ours to rebuild; the metric is left out."""


class NoFiles:
    """Stands for the files of weights: a network of random weights is told by its name."""

    def id_of(self, backbone: Backbone) -> str:
        return f"{backbone.id}-random"


class Timed:
    """A :class:`evaluation.features.Forward` that notes what it was shown, and the CPU time of it."""

    device = "cpu"

    def __init__(self, networks: dict[str, object]):
        self.networks, self.shown, self.seconds = networks, [], 0.0

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        self.shown.append((backbone, pictures, others))
        started = time.process_time()
        features = backbone.embed(self.networks[backbone.network], pictures, others)
        self.seconds += time.process_time() - started
        return features


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    environment.prepare()
    import torch

    torch.set_num_threads(1)
    settings = config.load("demo", [f"clip.frames={options.frames}", "evaluate.mini.short_side=256"])
    metrics = [metric for metric in METRICS.values() if not metric.backbones & NOT_OF_TRUE_SIZE]
    used = {BACKBONES[name].network: BACKBONES[name] for metric in metrics for name in metric.backbones}
    networks = {network: backbone.random(0) for network, backbone in used.items()}
    take, estimator = cast.driver(settings, 0), build_estimator(settings.pose)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.mp4"
        video.write(path, take.frames[: options.frames], settings.clip.fps)

        def evidence(forward: Timed, name: str) -> Evidence:
            frames = np.stack([image for _, image in video.frames(path)])
            return Evidence(
                generated=frames,
                fps=settings.clip.fps,
                reference=frames[0],
                reference_pose=take.track[:1],
                ceiling=frames[0],
                driving_frames=take.frames,
                driving=take.track,
                driving_fps=settings.clip.fps,
                control=take.track,
                same_source=True,
                estimator=estimator,
                embedder=Features(Path(folder) / name, NoFiles(), forward),
            )

        def seconds(asked, forward: Timed, name: str) -> float:
            started = time.process_time()
            seen = evidence(forward, name)
            for metric in asked:
                metric.score(seen)
            return time.process_time() - started

        seconds(metrics, Timed(networks), "warm")
        together_forward = Timed(networks)
        together = seconds(metrics, together_forward, "together")
        started = time.process_time()
        pictures = np.stack([image for _, image in video.frames(path)])
        estimator.estimate(pictures)
        for backbone, shown, others in together_forward.shown:
            backbone.embed(networks[backbone.network], shown, others)
        least = time.process_time() - started
        apart = sum(seconds([metric], Timed(networks), f"alone-{metric.name}") for metric in metrics)
    facts = {
        "frames": options.frames,
        "metrics": len(metrics),
        "backbones": sorted(used),
        "forwards": len(together_forward.shown),
        "together_s": together,
        "least_s": least,
        "one_by_one_s": apart,
        "of_the_least": together / least,
        "of_one_by_one": together / apart,
    }
    print(json.dumps(facts, indent=1))
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")
    return int(facts["of_the_least"] > LEAST or facts["of_one_by_one"] > ONE_BY_ONE)


if __name__ == "__main__":
    sys.exit(main())
