"""All metrics of one generated video: it is decoded once, and so is what it is held against."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.clips import Clip
from evaluation.generation import VIDEO, preprocessed, read_inputs
from evaluation.metrics.evidence import Estimator, Evidence
from evaluation.metrics.metric import ERROR, Score
from evaluation.metrics.registry import METRICS, select
from evaluation.pairs import Pair
from evaluation.tasks import Failure, run_tasks
from infra.commits import Commit
from infra.schema import Config, Pose

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("pair", pa.string()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("metric_id", pa.string()),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row per model, pair and metric. ``value`` is null unless ``status`` is "ok"; then ``reason`` is null."""

EstimatorBuilder = Callable[[Pose], Estimator]


def pose_estimator(config: Pose) -> Estimator:
    """The default EstimatorBuilder: the config's own."""
    from model.pose.estimator import build_estimator

    return build_estimator(config)


def score_video(
    video: Path, config: Config, metrics: list[str], inputs: tuple, estimator: EstimatorBuilder
) -> list[Score]:
    """The scores of one mp4, in the order of ``metrics``. ``inputs``: dataset, pair, reference clip, driving clip.

    Raises UnreadableVideo, or CorruptArtifact where the pair's clips are damaged.
    """
    from model.video import frames, probe

    asked = select(metrics)
    opened = read_inputs(*inputs)
    evidence = Evidence(
        generated=np.stack([image for _, image in frames(video)]),
        fps=probe(video).fps,
        reference=preprocessed(opened.reference, config.animate.area),
        driving_frames=opened.driving_frames,
        same_source=opened.same_source,
        driving=opened.driving,
        driving_fps=opened.driving_fps,
        estimator=estimator(config.pose) if any("pose" in metric.needs for metric in asked) else None,
    )
    return [metric.score(evidence) for metric in asked]


def _score_unit(unit: Commit, config: Config, metrics: list[str], inputs: tuple, estimator: EstimatorBuilder):
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file, unit.open(VIDEO) as video:
        file.write(video.read())
        file.flush()
        return score_video(Path(file.name), config, metrics, inputs, estimator)


def score_pairs(
    config: Config,
    dataset: Commit,
    pairs: list[Pair],
    clips: dict[str, Clip],
    generated: dict[tuple[str, str], Commit | Failure],
    estimator: EstimatorBuilder = pose_estimator,
) -> pa.Table:
    """The scores of every (model label, pair id) of ``generated`` as a table of SCHEMA. Needs a Ray session.

    What could not be generated, decoded or scored has rows of status "error" with the reason.
    """
    metrics = list(dict.fromkeys(config.evaluate.metrics))
    by_id = {pair.id: pair for pair in pairs}
    calls = {
        (model, pair): (
            unit,
            config,
            metrics,
            (dataset, by_id[pair], clips[by_id[pair].reference], clips[by_id[pair].driving]),
            estimator,
        )
        for (model, pair), unit in generated.items()
        if not isinstance(unit, Failure)
    }
    scored = run_tasks(_score_unit, calls, label="Scoring") if calls else {}
    rows: list[dict[str, Any]] = []
    for key, unit in generated.items():
        outcome = unit if isinstance(unit, Failure) else scored[key]
        if isinstance(outcome, Failure):
            outcome = [Score(None, ERROR, outcome.reason)] * len(metrics)
        for name, score in zip(metrics, outcome, strict=True):
            model, pair = key
            identity = {"model": model, "pair": pair, "kind": by_id[pair].kind, "metric": name}
            metric_id = METRICS[name].identify(config.pose.estimator)
            answer = {"value": score.value, "status": score.status, "reason": score.reason}
            rows.append({**identity, "metric_id": metric_id, **answer})
    return pa.Table.from_pylist(rows, SCHEMA)
