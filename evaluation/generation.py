"""Videos of the pairs, by each model under test. One committed unit per (model, pair), so a run can stop anywhere."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.clips import Clip, read_clip
from evaluation.pairs import Pair
from evaluation.tasks import Failure, run_tasks
from infra import commits
from infra.commits import Commit
from infra.config import section_hash, section_values
from infra.errors import CorruptArtifact
from infra.schema import Config
from model.pose.tracks import PoseTrack

UNTRAINED = "untrained"
SECTIONS = ("seed", "clip", "encode", "model", "animate")
VIDEO = "generated.mp4"


@dataclass(frozen=True)
class ModelUnderTest:
    """``commit`` is the checkpoint; None: the model as built from the config, before any training."""

    label: str
    commit: Commit | None

    @property
    def id(self) -> str:
        return self.commit.id if self.commit else UNTRAINED


@dataclass(frozen=True, eq=False)
class PairInputs:
    """A pair opened: ``reference`` (H, W, 3) RGB with its own pose, the driving pose in pixels of ``driving_size``."""

    reference: np.ndarray
    reference_pose: PoseTrack
    driving: PoseTrack
    driving_frames: np.ndarray
    driving_fps: float
    prompt: str
    same_source: bool

    @property
    def driving_size(self) -> tuple[int, int]:
        return self.driving_frames.shape[1:3]


def condition_video(config: Config, inputs: PairInputs) -> np.ndarray:
    """The pose condition of a pair as the model is given it, in the size of the video: (T, h, w, 3) uint8 RGB."""
    from model.inputs import DrawnPoses
    from model.pose.alignment import align
    from model.resolution import output_size
    from model.video import resize

    reference_size = inputs.reference.shape[:2]
    if inputs.same_source:
        track = inputs.driving[: config.clip.frames]
    else:
        mode = "official" if config.pose.compat else "robust"
        driving = inputs.driving[: config.clip.frames]
        track = align(driving, inputs.driving_size, inputs.reference_pose, reference_size, mode)
    size = output_size(config.animate.area, *reference_size)
    return np.stack([resize(picture, size) for picture in DrawnPoses([track], reference_size, size)])


def preprocessed(reference: np.ndarray, area: int) -> np.ndarray:
    """The reference as the model is given it, (h, w, 3) uint8: bicubic without antialiasing (specification 3.2.4)."""
    import cv2

    from model.resolution import output_size

    height, width = output_size(area, *reference.shape[:2])
    image = cv2.resize(reference.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


Generator = Callable[[Config, ModelUnderTest, PairInputs, int], np.ndarray]
"""(config, model, inputs, seed) -> (T, H, W, 3) uint8 RGB at config.clip.fps"""


def read_inputs(dataset: Commit, pair: Pair, reference_clip: Clip, driving_clip: Clip) -> PairInputs:
    """Opens the one or two clips of a pair. Raises SteadyDancerError where a clip is damaged."""
    driver = read_clip(dataset, driving_clip)
    same = pair.reference == pair.driving
    reference = driver if same else read_clip(dataset, reference_clip)
    driving_frames = driver.frames()
    return PairInputs(
        reference=driving_frames[0] if same else reference.frames()[0],
        reference_pose=reference.pose[:1],
        driving=driver.pose,
        driving_frames=driving_frames,
        driving_fps=driving_clip.fps,
        prompt=pair.prompt,
        same_source=same,
    )


def animate_pair(config: Config, model: ModelUnderTest, inputs: PairInputs, seed: int) -> np.ndarray:
    """The default Generator: :func:`model.animate.animate` with the config's sampling settings."""
    from model.animate import animate

    transformer, encoders = _loaded(config, model)
    return animate(
        transformer,
        encoders,
        inputs.reference,
        inputs.driving,
        inputs.driving_size,
        inputs.prompt,
        config.animate,
        frames=config.clip.frames,
        fps=config.clip.fps,
        seed=seed,
        reference_pose=inputs.reference_pose,
        already_aligned=inputs.same_source,
        alignment="official" if config.pose.compat else "robust",
    )


_LOADED: dict[str, Any] = {}


def _loaded(config: Config, model: ModelUnderTest):
    """Transformer and encoders; a worker process keeps the last pair of them."""
    key = f"{model.id}-{section_hash(config, 'seed', 'encode', 'model')}-{config.animate.precision}"
    if key not in _LOADED:
        import torch

        from model.checkpoint import PRECISION, build_model, cast, load_model
        from model.encoders import build_encoders

        _LOADED.clear()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = PRECISION[config.animate.precision]
        if model.commit:
            transformer = load_model(model.commit.path / "model", dtype, device)
        else:
            transformer = cast(build_model(config.model, config.seed), dtype).to(device)
        _LOADED[key] = transformer.eval(), build_encoders(config.encode, config.model, device)
    return _LOADED[key]


def generate_pairs(
    config: Config,
    units: Path,
    dataset: Commit,
    models: list[ModelUnderTest],
    pairs: list[Pair],
    clips: dict[str, Clip],
    generator: Generator = animate_pair,
) -> dict[tuple[str, str], Commit | Failure]:
    """A committed unit with ``generated.mp4``, or a Failure, for every (model label, pair id). Needs a Ray session.

    Units found under ``units`` are kept: their name hashes everything they depend on. Failures are tried again by the
    next run.
    """
    found: dict[tuple[str, str], Commit] = {}
    calls = {}
    for model in models:
        for pair in pairs:
            unit = units / _unit_name(config, dataset, model, pair)
            if (commit := _find(unit)) is not None:
                found[model.label, pair.id] = commit
            else:
                inputs = dataset, pair, clips[pair.reference], clips[pair.driving]
                calls[model.label, pair.id] = (unit, config, model, inputs, generator)
    made = run_tasks(_generate, calls, label="Generating videos", done=len(found), gpu=True) if calls else {}
    return {(m.label, p.id): found.get((m.label, p.id)) or made[m.label, p.id] for m in models for p in pairs}


def _find(unit: Path) -> Commit | None:
    try:
        commit = commits.find(unit)
        return commit and commits.verify(commit)
    except CorruptArtifact:
        return None  # it is made again over the damaged one


def _unit_name(config: Config, dataset: Commit, model: ModelUnderTest, pair: Pair) -> str:
    identity = (section_hash(config, *SECTIONS), dataset.id, model.id, pair.id, pair.prompt)
    return f"{model.label}-{pair.id}-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:16]}"


def pair_seed(config: Config, pair: Pair) -> int:
    """The sampling seed of a pair: the same for every model, another for every pair."""
    return int.from_bytes(hashlib.sha256(f"{config.seed}\0{pair.id}".encode()).digest()[:4], "big")


def _generate(
    unit: Path,
    config: Config,
    model: ModelUnderTest,
    inputs: tuple[Commit, Pair, Clip, Clip],
    generator: Generator,
) -> Commit:
    from model.video import write

    dataset, pair, _, _ = inputs
    seed = pair_seed(config, pair)
    frames = generator(config, model, read_inputs(*inputs), seed)
    identity = {**section_values(config, *SECTIONS), "model": model.id, "pair": pair.id, "sampling_seed": seed}
    parents = [dataset, *([model.commit] if model.commit else [])]
    provenance = {"comment": f"steadydancer model={model.id} pair={pair.id} dataset={dataset.id} seed={seed}"}
    with commits.write(unit, "generation", config=identity, parents=parents, replace=True) as folder:
        write(folder / VIDEO, frames, config.clip.fps, metadata=provenance)
    return commits.read(unit)
