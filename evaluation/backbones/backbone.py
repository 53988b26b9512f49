"""What a backbone is: a frozen network with one way of preparing pictures for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Weights:
    """Files of a network. ``key`` is its name under ``evaluate.weights``."""

    key: str
    licence: str
    source: str
    """where users get them: a hub id, or an address"""
    sha256: str | None = None
    """of the published file, where there is exactly one"""


@dataclass(frozen=True)
class Backbone:
    """``load`` and ``random`` build the network, ``embed`` shows it pictures.

    Backbones of one ``network`` share the loaded one. ``id`` belongs to the ids of the features that are kept.
    """

    name: str
    version: int
    preprocessing: str
    network: str
    weights: tuple[Weights, ...]
    load: Callable[[Mapping[str, Path]], Any]
    """files by key -> the network in eval mode, fp32, on the CPU. Raises SteadyDancerError for files of another."""
    random: Callable[[int], Any]
    """seed -> a network of the same shape with random weights, which measures nothing: for tests and benchmarks"""
    embed: Callable[[Any, np.ndarray, np.ndarray | None], np.ndarray]
    """(network, pictures (N, H, W, 3) uint8 RGB, pictures to hold them against) -> (N, ...) float32; on the device of
    the network; the same whatever else is in the batch"""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}/{self.preprocessing}"
