"""LPIPS 0.1: the distance of two pictures in the features of VGG16 or AlexNet, weighted by channel.

The five linear heads lie in the wheel of torchmetrics (BSD-2, as in the lpips package); the features are torchvision's
files, read without torchvision.
"""

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import frozen, read_tensors, refuse_another, seeded
from evaluation.backbones.pictures import pixels

CHANNELS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}
WEIGHTS = {
    "vgg": Weights(
        "vgg16",
        licence="BSD-3-Clause",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "alex": Weights(
        "alexnet", licence="BSD-3-Clause", source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    ),
}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-8


class Lpips(nn.Module):
    """Two stacks of pictures (B, 3, H, W) in -1..1 -> their distances (B,).

    Features after five of the ReLUs; each is divided by its length over channels, and the squared differences are
    weighted by channel and averaged over places. ``features`` has the indices of torchvision's.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.features, self.taps = _vgg16() if kind == "vgg" else _alexnet()
        self.heads = nn.ParameterList(torch.rand(1, channels, 1, 1) / channels for channels in CHANNELS[kind])
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, ours_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
        ours, others = ((pictures - self.shift) / self.scale for pictures in (ours_BCHW, others_BCHW))
        distance = ours.new_zeros(len(ours))
        heads = iter(self.heads)
        for index, layer in enumerate(self.features):
            ours, others = layer(ours), layer(others)
            if index in self.taps:
                difference = (_unit(ours) - _unit(others)) ** 2
                distance = distance + (difference * next(heads)).sum(1).mean((1, 2))
        return distance


def _unit(features_BCHW: Tensor) -> Tensor:
    return features_BCHW / torch.sqrt(EPSILON + (features_BCHW**2).sum(1, keepdim=True))


def _vgg16() -> tuple[nn.Sequential, frozenset[int]]:
    layers, width = [], 3
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        layers += [nn.MaxPool2d(2, 2)] if block else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(width, CHANNELS["vgg"][block], 3, padding=1), nn.ReLU()]
            width = CHANNELS["vgg"][block]
    return nn.Sequential(*layers), frozenset({3, 8, 15, 22, 29})


def _alexnet() -> tuple[nn.Sequential, frozenset[int]]:
    def pool():
        return nn.MaxPool2d(3, 2)

    layers = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), pool()]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool()]
    layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers), frozenset({1, 4, 7, 9, 11})


def published_heads(kind: str) -> list[Tensor]:
    """The five heads out of torchmetrics' wheel, (1, C, 1, 1) each."""
    folder = Path(importlib.util.find_spec("torchmetrics").submodule_search_locations[0])
    tensors = read_tensors(folder / "functional" / "image" / "lpips_models" / f"{kind}.pth")
    return [tensors[f"lin{number}.model.1.weight"] for number in range(5)]


def load(files: Mapping[str, Path], kind: str) -> Lpips:
    """Raises SteadyDancerError for a file of another network. A classifier behind the features is not read."""
    path = files[WEIGHTS[kind].key]
    network = Lpips(kind)
    found = {name: value for name, value in read_tensors(path).items() if name.startswith("features.")}
    wanted = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    refuse_another(wanted, found, path, {"vgg": "torchvision's VGG16", "alex": "torchvision's AlexNet"}[kind])
    network.load_state_dict(found | {f"heads.{number}": head for number, head in enumerate(published_heads(kind))})
    return frozen(network)


def random(seed: int, kind: str) -> Lpips:
    """Heads as random as the rest, and none below 0, as the published are not."""
    return seeded(lambda: Lpips(kind), seed)


def from_minus_one_to_one(pictures: np.ndarray) -> Tensor:
    return pixels(pictures) / 127.5 - 1


def from_zero_to_one(pictures: np.ndarray) -> Tensor:
    """What DisCo and HumanVid show a network that expects -1..1."""
    return pixels(pictures) / 255


def _backbone(name: str, kind: str, preprocessing: str, prepare) -> Backbone:
    return Backbone(
        name=name,
        version=1,
        preprocessing=preprocessing,
        network=f"lpips_{kind}",
        weights=(WEIGHTS[kind],),
        load=partial(load, kind=kind),
        random=partial(random, kind=kind),
        embed=lambda network, pictures, others: in_batches(network, prepare, pictures, others),
    )


LPIPS_ALEX = _backbone("lpips_alex", "alex", "range-1to1", from_minus_one_to_one)
LPIPS_VGG_01 = _backbone("lpips_vgg_01", "vgg", "range0to1", from_zero_to_one)
