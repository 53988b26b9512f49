"""All metrics of one generated video: it is decoded once, and what was computed is kept at once."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation import set_scoring
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.generation import files_named, preprocessed
from evaluation.metrics.evidence import Embedder, Estimator, Evidence
from evaluation.metrics.metric import ERROR, Metric, Score
from evaluation.metrics.registry import select
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.pairs import Pair, PairInputs
from evaluation.tasks import Failure, in_one_line
from infra.config import section_hash
from infra.schema import Config, Encode, Model, Pose

if TYPE_CHECKING:
    from model.video import VideoInfo

SECTIONS = ("clip", "pose", "encode", "animate")
MOST_FRAMES = 1000
MOST_PIXELS = 600 * 1920 * 1080
"""Of a generated video, all its frames together: 3.5 GiB decoded."""

EstimatorBuilder = Callable[[Pose], Estimator]


def pose_estimator(config: Pose) -> Estimator:
    """The default EstimatorBuilder: the config's own, built once by a process."""
    return _estimator(config.model_dump_json())


@lru_cache(maxsize=1)
def _estimator(settings: str) -> Estimator:
    from model.pose.estimator import build_estimator

    return build_estimator(Pose.model_validate_json(settings))


def evidence_of(
    video: Path, inputs: PairInputs, config: Config, metrics: list[Metric], estimator: EstimatorBuilder, ours: bool
) -> Evidence:
    """What the metrics may look at: the video decoded, and what of its pair they need. Raises UnreadableVideo.

    ``ours``: made here, so that it is known what the model was fed.
    """
    from model.video import probe

    needs = frozenset().union(*(metric.needs for metric in metrics))
    info = probe(video)
    generated = _decoded(video, info)
    reference = preprocessed(inputs.reference, config.animate.area)
    size = inputs.reference.shape[:2]
    fed = inputs.fed_pose(config) if "control" in needs and ours else None
    reference_pose = inputs.reference_pose
    return Evidence(
        generated=generated,
        fps=info.fps,
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


def _decoded(video: Path, info: "VideoInfo") -> np.ndarray:
    """(T, H, W, 3) uint8. Raises UnreadableVideo, for too large a one before it is decoded where its header says so."""
    from model.video import UnreadableVideo, frames

    most = min(MOST_FRAMES, MOST_PIXELS // (info.height * info.width))

    def refuse_beyond(count: int) -> None:
        if count > most:
            raise UnreadableVideo(
                f"{video}: {count} frames of {info.width}x{info.height} pixels, up to {most} of that size are scored "
                f"(limits: {MOST_FRAMES} frames, {MOST_PIXELS:,} pixels in all)."
            )

    refuse_beyond(info.declared_frames)
    generated, count = np.empty((most, info.height, info.width, 3), np.uint8), 0  # no memory before it is written to
    for count, (_, image) in enumerate(frames(video), 1):
        refuse_beyond(count)
        generated[count - 1] = image
    return generated[:count]


def _round_trip(reference: np.ndarray, config: Config) -> np.ndarray:
    """A picture through the latent codec and back: what the best of models gives back of it."""
    import torch

    from model.inputs import to_pixels, to_signed

    only_codec = config.encode.model_copy(update={"image": "embedded", "text": "embedded"})
    codec = _codec(only_codec.model_dump_json(), config.model.model_dump_json())
    with torch.no_grad():
        video_BCTHW = to_signed(reference[None]).transpose(0, 1)[None]
        return to_pixels(codec.decode(codec.encode(video_BCTHW)))[0]


@lru_cache(maxsize=1)
def _codec(encode: str, model: str):
    from model.encoders import build_encoders

    return build_encoders(Encode.model_validate_json(encode), Model.model_validate_json(model)).codec


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
        draft = self.path.with_suffix(f".{uuid.uuid4().hex}")
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
        settings = section_hash(self.config, *SECTIONS), *files_named(self.config)
        told = (pair.content, str(benchmark.by_index), str(ours), *settings, "")
        digest = hashlib.sha256("\0".join(told).encode())
        with video.open("rb") as file:
            digest.update(file.read())
        return self.folder / f"{digest.hexdigest()}.json"

    def rows(self, book: Path) -> dict[str, Path]:
        """Where what each set metric needs of the same video is kept."""
        names = {name: hashlib.sha256(key.encode()).hexdigest()[:16] for name, key in self.set_keys.items()}
        return {name: book.with_name(f"{book.stem}-{name}-{key}.npz") for name, key in names.items()}


def score_video(
    video: Path, pair: Pair, benchmark: Benchmark, asked: Asked, ours: bool
) -> tuple[dict[str, Score], dict[str, Path | Failure]]:
    """The scores of one mp4 by metric, and the files of its set metrics; what is kept already is not made again.

    ``ours``: see :func:`evidence_of`. Raises UnreadableVideo, or what opening the pair raises. What one metric or set
    metric raises is its own answer, and tried again by the next run.
    """
    path = asked.book(video, benchmark, pair, ours)
    kept, rows = Book(path), asked.rows(path)
    missing = [metric for metric in select(list(asked.keys)) if asked.keys[metric.name] not in kept.scores]
    missing_rows = [name for name in rows if set_scoring.read(rows[name]) is None]
    failed: dict[str, Score] = {}
    failed_rows: dict[str, Failure] = {}
    if missing or missing_rows:
        evidence = evidence_of(video, benchmark.open(pair), asked.config, missing, asked.estimator, ours)
        evidence.embedder = asked.embedder
        for metric in missing:
            try:
                kept.add(asked.keys[metric.name], metric.score(evidence))
            except Exception as error:  # noqa: BLE001 - of any kind
                failed[metric.name] = Score(None, ERROR, in_one_line(error))
        for name in missing_rows:
            try:
                set_scoring.keep(SET_METRICS[name], evidence, rows[name])
            except Exception as error:  # noqa: BLE001 - of any kind
                failed_rows[name] = Failure(in_one_line(error))
    return {name: failed.get(name) or kept.scores[key] for name, key in asked.keys.items()}, rows | failed_rows
