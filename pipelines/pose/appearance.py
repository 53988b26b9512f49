"""What needs weights or a function of the user's: looks, nudity, text. None of these stages is there unless the config
names its part.
"""

import hashlib
import importlib
import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from infra.errors import SteadyDancerError, UsageError
from infra.schema import Curate
from model.weights import fingerprint, locate
from pipelines.columns import rounded
from pipelines.pose.window import sampled
from pipelines.work.stage import PerProcess, Row, Stage

SAMPLES = 8
TEXT_SIDE = 736
"""Pixels: the square that OpenCV's published DB networks take (TextDetectionModel_DB, MSRA-TD500)."""


def stages(curate: Curate, on_gpu: bool = False) -> tuple[Stage, ...]:
    """The stages that ``curate`` configures; they read ``images``. ``on_gpu``: those that can use one ask Ray for it.

    Weights are found and named by their content here, before any work. Raises SteadyDancerError for a missing or
    another file, WeightsNotFound for CLIP, UsageError for the name of a function.
    """
    out: list[Stage] = []
    if curate.text_detector:
        path, sha256 = _pinned("text_detector", curate.text_detector, curate.text_detector_sha256)
        out.append(MeasureText(PerProcess({"text_detector": sha256}, build_text_detector, {"path": str(path)})))
    if curate.aesthetic:
        from pipelines.pose.aesthetic import read_head

        path, sha256 = _pinned("aesthetic", curate.aesthetic, curate.aesthetic_sha256)
        read_head(path)
        clip = fingerprint(locate(curate.aesthetic_clip, "curate.aesthetic_clip", "CLIP ViT-L/14", ""))
        where = {"path": str(path), "clip_from": curate.aesthetic_clip}
        out.append(MeasureAesthetic(PerProcess({"head": sha256, "clip": clip}, build_aesthetic, where), on_gpu=on_gpu))
    if curate.nsfw:
        if not re.fullmatch(r"[\w.]+:\w+", curate.nsfw):
            raise UsageError(f"curate.nsfw={curate.nsfw}: module:function is expected.")
        out.append(AskNsfw(PerProcess({"nsfw": curate.nsfw}, import_function)))
    return tuple(out)


def _pinned(key: str, source: str, sha256: str | None) -> tuple[Path, str]:
    """The file that ``curate.<key>`` names and its SHA-256, which must be ``sha256`` if that is given."""
    path = Path(source).expanduser()
    if not path.is_file():
        raise SteadyDancerError(f"curate.{key}={source}: no such file.", f"Give a file, or leave curate.{key} unset.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 not in (None, found):
        raise SteadyDancerError(
            f"curate.{key}: {path} is another file than curate.{key}_sha256 says.\n"
            f"  expected {sha256}\n  found    {found}",
            "Get the file again, or correct the hash.",
        )
    return path, found


@dataclass(frozen=True)
class _Asks(Stage):
    """``model`` is asked about ``samples`` frames spread evenly over the window."""

    model: PerProcess = field(metadata={"setting": False})
    samples: int = SAMPLES

    reads: ClassVar = ("images",)
    deadline: ClassVar = 300.0

    def settings(self) -> Row:
        return super().settings() | self.model.settings


@dataclass(frozen=True)
class MeasureText(_Asks):
    """Text found by a network, in place of what the scan takes for text."""

    writes: ClassVar = ("text_area",)
    memory: ClassVar = 1 * 2**30

    def __call__(self, row: Row) -> Row:
        detect = self.model.get()
        return {"text_area": rounded(np.mean([detect(image) for image in sampled(row["images"], self.samples)]))}


def build_text_detector(settings: Row) -> Callable[[np.ndarray], float]:
    """(H, W, 3) uint8 RGB -> share of the picture that text takes, by a DB network (Liao et al. 2020) as ONNX."""
    import cv2

    side, what = TEXT_SIDE, f"curate.text_detector: {settings['path']}"
    fix = "Give a DB text detector as ONNX, such as OpenCV's DB_TD500_resnet18.onnx."
    try:
        network = cv2.dnn.TextDetectionModel_DB(cv2.dnn.readNetFromONNX(settings["path"]))
        network.setBinaryThreshold(0.3).setPolygonThreshold(0.5).setMaxCandidates(200).setUnclipRatio(2.0)
        network.setInputParams(1 / 255, (side, side), (122.67891434, 116.66876762, 104.00698793))
        shapes = [map_.shape for map_ in network.predict(np.zeros((side, side, 3), np.uint8))]
    except cv2.error as error:
        raise SteadyDancerError(f"{what} cannot be run by OpenCV ({error.err}).", fix) from None
    if shapes != [(side, side)]:  # of a map with more dimensions OpenCV finds nothing, without a word
        raise SteadyDancerError(f"{what} gives {shapes}, one map of {(side, side)} is expected.", fix)

    def detect(image: np.ndarray) -> float:
        boxes, _ = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        found = np.zeros(image.shape[:2], np.uint8)
        for box in boxes:
            cv2.fillPoly(found, [np.asarray(box, np.int32)], 1)
        return float(found.mean())

    return detect


@dataclass(frozen=True)
class MeasureAesthetic(_Asks):
    """LAION's aesthetic score, the mean over the sampled frames."""

    on_gpu: bool = field(default=False, metadata={"setting": False})

    writes: ClassVar = ("aesthetic",)
    memory: ClassVar = 4 * 2**30

    @property
    def num_gpus(self) -> float:
        return 1.0 if self.on_gpu else 0.0

    def __call__(self, row: Row) -> Row:
        return {"aesthetic": rounded(self.model.get()(sampled(row["images"], self.samples)).mean())}


def build_aesthetic(settings: Row) -> Callable[[np.ndarray], np.ndarray]:
    from pipelines.pose.aesthetic import AestheticModel

    return AestheticModel(Path(settings["path"]), settings["clip_from"])


@dataclass(frozen=True)
class AskNsfw(_Asks):
    """What the configured function says of the sampled frames (T, H, W, 3) uint8 RGB. Raises SteadyDancerError where
    that is no number from 0 to 1.
    """

    writes: ClassVar = ("nsfw",)
    memory: ClassVar = 4 * 2**30

    def __call__(self, row: Row) -> Row:
        said = self.model.get()(sampled(row["images"], self.samples))
        number = isinstance(said, numbers.Real) and not isinstance(said, bool)
        if not number or math.isnan(said) or not 0 <= said <= 1:
            raise SteadyDancerError(
                f"curate.nsfw={self.model.settings['nsfw']} returned {said!r}, a number from 0 to 1 is expected."
            )
        return {"nsfw": rounded(said)}


def import_function(settings: Row) -> Callable[[np.ndarray], Any]:
    """The function that ``settings["nsfw"]`` names as module:function. Raises UsageError."""
    module, name = settings["nsfw"].split(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"curate.nsfw={module}:{name} cannot be imported ({error}).", "Its module must be on the workers' path."
        ) from error
    if not callable(function):
        raise UsageError(f"curate.nsfw={module}:{name} is {function!r}, a function is expected.")
    return function
