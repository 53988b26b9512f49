"""All metrics of one generated video: it is decoded once, and what was computed is kept at once."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import set_scoring
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.generation import preprocessed
from evaluation.metrics.evidence import Embedder, Estimator, Evidence
from evaluation.metrics.metric import ERROR, Metric, Score
from evaluation.metrics.registry import select
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.pairs import Pair, PairInputs
from infra.config import section_hash
from infra.schema import Config, Pose

SECTIONS = ("clip", "pose", "encode", "animate")

EstimatorBuilder = Callable[[Pose], Estimator]


def pose_estimator(config: Pose) -> Estimator:
    """The default EstimatorBuilder: the config's own."""
    from model.pose.estimator import build_estimator

    return build_estimator(config)


def evidence_of(
    video: Path, inputs: PairInputs, config: Config, metrics: list[Metric], estimator: EstimatorBuilder, ours: bool
) -> Evidence:
    """What the metrics may look at: the video decoded, and what of its pair they need. Raises UnreadableVideo.

    ``ours``: made here, so that it is known what the model was fed.
    """
    from model.video import frames, probe

    needs = frozenset().union(*(metric.needs for metric in metrics))
    generated = np.stack([image for _, image in frames(video)])
    reference = preprocessed(inputs.reference, config.animate.area)
    size = inputs.reference.shape[:2]
    fed = inputs.fed_pose(config) if "control" in needs and ours else None
    reference_pose = inputs.reference_pose
    return Evidence(
        generated=generated,
        fps=probe(video).fps,
        reference=reference,
        reference_pose=reference_pose and reference_pose.resized(size, reference.shape[:2]),
        ceiling=_round_trip(reference, config) if "ceiling" in needs else None,
        driving_frames=inputs.driving_frames,
        driving=inputs.driving,
        driving_fps=inputs.driving_fps,
        control=fed and fed.resized(size, generated.shape[1:3]),
        same_source=inputs.same_source,
        time_map=np.arange(len(generated)) if inputs.by_index else None,
        estimator=estimator(config.pose) if "pose" in needs else None,
    )


def _round_trip(reference: np.ndarray, config: Config) -> np.ndarray:
    """A picture through the latent codec and back: what the best of models gives back of it."""
    import torch

    from model.encoders import build_encoders
    from model.inputs import to_pixels, to_signed

    only_codec = config.encode.model_copy(update={"image": "embedded", "text": "embedded"})
    codec = build_encoders(only_codec, config.model).codec
    with torch.no_grad():
        video_BCTHW = to_signed(reference[None]).transpose(0, 1)[None]
        return to_pixels(codec.decode(codec.encode(video_BCTHW)))[0]


class Book:
    """The scores of one video in one pair, by metric; a file that is written anew after each."""

    def __init__(self, path: Path):
        self.path = path
        try:
            rows = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):  # not there, or cut short: computed again
            rows = {}
        self.scores = {key: _score(row) for key, row in rows.items()}

    def add(self, key: str, score: Score) -> None:
        self.scores[key] = score
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({name: asdict(each) for name, each in self.scores.items()}))
        draft.replace(self.path)


def _score(row: dict[str, Any]) -> Score:
    curve = row["curve"]
    return Score(row["value"], row["status"], row["reason"], None if curve is None else tuple(curve))


@dataclass(frozen=True)
class Asked:
    """What is computed of every video. ``keys`` and ``set_keys``: metric -> its id with that of the weights it uses,
    under which its answer is kept in ``folder``.
    """

    config: Config
    keys: Mapping[str, str]
    set_keys: Mapping[str, str]
    embedder: Embedder
    estimator: EstimatorBuilder
    folder: Path

    def book(self, video: Path, benchmark: Benchmark, pair: Pair, ours: bool) -> Path:
        """Where the scores of this video in this pair are kept: by the content of all that decides them."""
        settings = section_hash(self.config, *SECTIONS)
        digest = hashlib.sha256("\0".join((benchmark.id, pair.id, settings, str(ours), "")).encode())
        with video.open("rb") as file:
            digest.update(file.read())
        return self.folder / f"{digest.hexdigest()}.json"

    def rows(self, book: Path) -> dict[str, Path]:
        """Where what each set metric needs of the same video is kept."""
        names = {name: hashlib.sha256(key.encode()).hexdigest()[:16] for name, key in self.set_keys.items()}
        return {name: book.with_name(f"{book.stem}-{name}-{key}.npz") for name, key in names.items()}


def score_video(
    video: Path, pair: Pair, benchmark: Benchmark, asked: Asked, ours: bool
) -> tuple[dict[str, Score], dict[str, Path]]:
    """The scores of one mp4 by metric, and the files of its set metrics; what is kept already is not made again.

    ``ours``: see :func:`evidence_of`. Raises UnreadableVideo, or what opening the pair raises.
    """
    path = asked.book(video, benchmark, pair, ours)
    kept, rows = Book(path), asked.rows(path)
    missing = [metric for metric in select(list(asked.keys)) if asked.keys[metric.name] not in kept.scores]
    missing_rows = [name for name in rows if set_scoring.read(rows[name]) is None]
    failed: dict[str, Score] = {}
    if missing or missing_rows:
        evidence = evidence_of(video, benchmark.open(pair), asked.config, missing, asked.estimator, ours)
        evidence.embedder = asked.embedder
        for metric in missing:
            try:
                kept.add(asked.keys[metric.name], metric.score(evidence))
            except Exception as error:  # noqa: BLE001 - one metric's fault is its own row; tried again by the next run
                failed[metric.name] = Score(None, ERROR, f"{type(error).__name__}: {error}")
        for name in missing_rows:
            set_scoring.keep(SET_METRICS[name], evidence, rows[name])
    return {name: failed.get(name) or kept.scores[key] for name, key in asked.keys.items()}, rows
