"""Backbones as Ray actors: each network is loaded once, and shown the pictures of all videos."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones.backbone import Backbone
from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.weights import WeightFiles
from evaluation.metrics.evidence import NotComputable


class Elsewhere:
    """A :data:`evaluation.features.Forward` that asks actors; goes to tasks as it is."""

    def __init__(self, actors: dict[str, Any]):
        self.actors = actors

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        import ray

        # By the object store, which all actors of this machine read without a copy.
        shown = [None if array is None else ray.put(array) for array in (pictures, others)]
        return ray.get(self.actors[backbone.network].embed.remote(backbone.name, *shown))


def start(names: set[str], weights: WeightFiles) -> Elsewhere:
    """An actor for every network that these backbones need and whose weights are named. Needs a Ray session."""
    import ray

    files: dict[str, dict[str, Path]] = {}
    for backbone in map(BACKBONES.__getitem__, sorted(names)):
        try:
            files[backbone.network] = weights.of(backbone)
        except NotComputable:
            continue  # which every metric that asks for it will be told
    on_gpu = ray.cluster_resources().get("GPU", 0) >= 1
    share = 1 / len(files) if on_gpu and files else 0
    actor = ray.remote(num_cpus=0, num_gpus=share, max_restarts=1, max_task_retries=1)(_Network)
    return Elsewhere({network: actor.remote(named, "cuda" if on_gpu else "cpu") for network, named in files.items()})


class _Network:
    def __init__(self, files: dict[str, Path], device: str):
        self.files, self.device, self.network = files, device, None

    def embed(self, name: str, pictures: np.ndarray, others: np.ndarray | None) -> np.ndarray:
        backbone = BACKBONES[name]
        if self.network is None:
            self.network = backbone.load(self.files).to(self.device)
        return backbone.embed(self.network, pictures, others)
