"""Videos of the pairs, by each model under test. One committed unit per (model, pair), so a run can stop anywhere."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones.weights import hashes_of
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.cost import COST, measured, write_cost
from evaluation.pairs import Pair, PairInputs
from evaluation.seeds import VideoKey
from evaluation.tasks import Failure, run_tasks
from infra import commits
from infra.commits import Commit
from infra.config import section_hash, section_values
from infra.errors import CorruptArtifact
from infra.schema import Config

UNTRAINED = "untrained"
SECTIONS = ("seed", "clip", "pose", "encode", "model", "animate")
VIDEO = "generated.mp4"


@dataclass(frozen=True)
class ModelUnderTest:
    """``commit`` is the checkpoint; None: the model as built from the config, before any training."""

    label: str
    commit: Commit | None

    @property
    def id(self) -> str:
        return self.commit.id if self.commit else UNTRAINED


def condition_video(config: Config, inputs: PairInputs) -> np.ndarray:
    """The pose condition of a pair as the model is given it, in the size of the video: (T, h, w, 3) uint8 RGB.

    Raises as :meth:`PairInputs.condition_pose`.
    """
    from model.inputs import DrawnPoses
    from model.resolution import output_size
    from model.video import resize

    reference_size = inputs.reference.shape[:2]
    size = output_size(config.animate.area, *reference_size)
    pictures = DrawnPoses([inputs.condition_pose(config)], reference_size, size)
    return np.stack([resize(picture, size) for picture in pictures])


def preprocessed(reference: np.ndarray, area: int) -> np.ndarray:
    """The reference as the model is given it, (h, w, 3) uint8: bicubic without antialiasing (specification 3.2.4)."""
    import cv2

    from model.resolution import output_size

    height, width = output_size(area, *reference.shape[:2])
    image = cv2.resize(reference.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


Generator = Callable[[Config, ModelUnderTest, PairInputs, int], np.ndarray]
"""(config, model, inputs, seed) -> (T, H, W, 3) uint8 RGB at config.clip.fps"""


def animate_pair(config: Config, model: ModelUnderTest, inputs: PairInputs, seed: int) -> np.ndarray:
    """The default Generator: :func:`model.animate.animate` with the config's sampling settings."""
    from model.animate import animate

    transformer, encoders = _loaded(config, model)
    return animate(
        transformer,
        encoders,
        inputs.reference,
        inputs.driven(config.clip.frames, config.clip.fps),
        inputs.driving_size,
        inputs.prompt,
        config.animate,
        frames=config.clip.frames,
        fps=config.clip.fps,
        seed=seed,
        reference_pose=inputs.reference_pose,
        already_aligned=inputs.same_source,
        alignment="official" if config.pose.compat else "robust",
        progress=lambda done, total: _told.update(nfe=done),
    )


_LOADED: dict[str, Any] = {}
_told: dict[str, float] = {}
"""Of the video that is being made: seconds that loading the model took, and forward passes of the transformer."""


def _loaded(config: Config, model: ModelUnderTest):
    """Transformer and encoders; a worker process keeps the last pair of them."""
    key = f"{model.id}-{section_hash(config, 'seed', 'encode', 'model')}-{config.animate.precision}"
    if key not in _LOADED:
        import torch

        from model.checkpoint import PRECISION, build_model, cast, load_model
        from model.encoders import build_encoders

        started = time.monotonic()
        _LOADED.clear()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = PRECISION[config.animate.precision]
        if model.commit:
            transformer = load_model(model.commit.path / "model", dtype, device)
        else:
            transformer = cast(build_model(config.model, config.seed), dtype).to(device)
        _LOADED[key] = transformer.eval(), build_encoders(config.encode, config.model, device)
        _told["loading"] = time.monotonic() - started
    return _LOADED[key]


def generate_pairs(
    config: Config,
    units: Path,
    benchmark: Benchmark,
    models: list[ModelUnderTest],
    generator: Generator = animate_pair,
) -> dict[VideoKey, Commit | Failure]:
    """A committed unit with ``generated.mp4``, or a Failure, for every model, pair and seed. Needs a Ray session.

    Seeds are evaluate.seeds numbers from the config's seed on.

    Units found under ``units`` are kept: their name hashes everything they depend on. Failures are tried again by the
    next run.
    """
    found: dict[VideoKey, Commit] = {}
    calls = {}
    seeds = range(config.seed, config.seed + config.evaluate.seeds)
    asked = {(m.label, p.id, seed): (m, benchmark, p, seed) for m in models for p in benchmark.pairs for seed in seeds}
    for key, arguments in asked.items():
        unit = units / _unit_name(config, *arguments)
        if (commit := kept_unit(unit)) is not None:
            found[key] = commit
        else:
            calls[key] = (unit, config, *arguments, generator)
    made = run_tasks(_generate, calls, label="Generating videos", done=len(found), gpu=True) if calls else {}
    return {key: found.get(key) or made[key] for key in asked}


def kept_unit(unit: Path) -> Commit | None:
    """The unit as committed by an earlier run, every byte of it; None: it has to be made."""
    try:
        commit = commits.find(unit)
        return commit and commits.verify(commit)
    except CorruptArtifact:
        return None  # it is made again over the damaged one


def files_named(config: Config) -> list[str]:
    """SHA-256 of the local files of the pose estimator and the codec, so that another in place of one is noticed."""
    return hashes_of(config.pose.detector, config.pose.weights, config.encode.codec_weights)


def _unit_name(config: Config, model: ModelUnderTest, benchmark: Benchmark, pair: Pair, seed: int) -> str:
    settings = section_hash(config, *SECTIONS), *files_named(config), str(benchmark.by_index)
    identity = (*settings, model.id, pair.id, pair.content, str(seed))
    return f"{model.label}-{pair.id}-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:16]}"


def sampling_seed(pair: Pair, seed: int) -> int:
    """Of the noise of a pair's video: the same for every model, another for every pair and seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{pair.id}".encode()).digest()[:4], "big")


def _generate(
    unit: Path,
    config: Config,
    model: ModelUnderTest,
    benchmark: Benchmark,
    pair: Pair,
    seed: int,
    generator: Generator,
) -> Commit:
    from model.video import write

    noise, inputs = sampling_seed(pair, seed), benchmark.open(pair)
    _told.clear()
    with measured() as cost:
        frames = generator(config, model, inputs, noise)
    cost.seconds -= _told.get("loading", 0.0)
    cost.frames, cost.nfe = len(frames), _told.get("nfe")
    identity = {**section_values(config, *SECTIONS), "model": model.id, "pair": pair.id, "sampling_seed": noise}
    identity |= {"inputs": pair.content, "by_index": benchmark.by_index}
    parents = [*benchmark.parents, *([model.commit] if model.commit else [])]
    made_of = " ".join(f"{parent.kind}={parent.id}" for parent in benchmark.parents)
    told = f"steadydancer model={model.id} pair={pair.id} {made_of} seed={noise}"
    with commits.write(unit, "generation", config=identity, parents=parents, replace=True, about=[COST]) as folder:
        write(folder / VIDEO, frames, config.clip.fps, metadata={"comment": told})
        write_cost(folder / COST, cost)
    return commits.read(unit)
