"""What backbones give, kept by the content of the pictures: computed once for all metrics, videos and later runs."""

import hashlib
import uuid
from pathlib import Path
from typing import Protocol

import numpy as np

from evaluation.backbones.actors import built
from evaluation.backbones.backbone import Backbone
from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.weights import WeightFiles


class Forward(Protocol):
    """(backbone, pictures, others) -> features, wherever the network is. ``device``: cpu or cuda."""

    device: str

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None) -> np.ndarray: ...


class Features:
    """An :data:`evaluation.metrics.evidence.Embedder` that asks ``forward`` only for what ``folder`` does not hold.

    Those of a CPU and those of a GPU, which round differently, are kept apart.
    """

    def __init__(self, folder: Path, weights: WeightFiles, forward: Forward):
        self.folder, self.weights, self.forward = folder, weights, forward

    def __call__(self, name: str, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        backbone = BACKBONES[name]
        path = self.folder / _file_name(f"{self.weights.id_of(backbone)} {self.forward.device}", pictures, others)
        if (kept := _read(path)) is not None:
            return kept
        features = np.asarray(self.forward(backbone, pictures, others), np.float32)
        _write(path, features)
        return features


class Here:
    """A :class:`Forward` in this process. Each network is loaded once."""

    def __init__(self, weights: WeightFiles, device: str = "cpu"):
        self.weights, self.device = weights, device
        self._networks: dict[str, object] = {}

    def __call__(self, backbone: Backbone, pictures: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        if backbone.network not in self._networks:
            self._networks[backbone.network] = built(backbone, self.weights.of(backbone), self.device)
        return backbone.embed(self._networks[backbone.network], pictures, others)


def _file_name(backbone_id: str, pictures: np.ndarray, others: np.ndarray | None) -> str:
    digest = hashlib.sha256(backbone_id.encode())
    for array in (pictures, others):
        digest.update(b"\0none" if array is None else f"\0{array.dtype}{array.shape}".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    name = digest.hexdigest()
    return f"{name[:2]}/{name}.npy"


def _read(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, allow_pickle=False)
    except (FileNotFoundError, EOFError, ValueError):  # not there, or cut short by a full disk: made again
        return None


def _write(path: Path, features: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{uuid.uuid4().hex}")
    with draft.open("wb") as file:
        np.save(file, features, allow_pickle=False)
    draft.replace(path)
