"""Backbones as Ray actors: each network is loaded once, and shown the pictures of all videos."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones.backbone import Backbone
from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.weights import WeightFiles
from evaluation.metrics.evidence import NotComputable


class Elsewhere:
    """A :class:`evaluation.features.Forward` that asks actors, and raises what they raise; goes to tasks as it is."""

    def __init__(self, actors: dict[str, Any], device: str):
        self.actors, self.device = actors, device

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        import ray

        # By the object store, which all actors of this machine read without a copy.
        shown = [None if array is None else ray.put(array) for array in (pictures, others)]
        try:
            return ray.get(self.actors[backbone.network].embed.remote(backbone.name, *shown))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # without Ray's traceback, which names a process


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
    share = math.floor(10_000 / len(files)) / 10_000 if on_gpu and files else 0  # Ray counts no finer
    device = "cuda" if on_gpu else "cpu"
    actor = ray.remote(num_cpus=0, num_gpus=share, max_restarts=1, max_task_retries=1)(_Network)
    return Elsewhere({network: actor.remote(named, device) for network, named in files.items()}, device)


def built(backbone: Backbone, files: Mapping[str, Path], device: str) -> Any:
    """The network on ``device``. Convolutions of this process are in full fp32 from then on, not in TF32."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return backbone.load(files).to(device)


class _Network:
    def __init__(self, files: dict[str, Path], device: str):
        self.files, self.device, self.network = files, device, None

    def embed(self, name: str, pictures: np.ndarray, others: np.ndarray | None) -> np.ndarray:
        backbone = BACKBONES[name]
        if self.network is None:
            self.network = built(backbone, self.files, self.device)
        return backbone.embed(self.network, pictures, others)
