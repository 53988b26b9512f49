"""Scores of all generated videos as tables, computed side by side, each backbone in an actor of its own."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from evaluation.backbones import actors
from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.weights import WeightFiles
from evaluation.benchmarks.benchmark import Benchmark, played
from evaluation.features import Features
from evaluation.metrics.evidence import NotComputable
from evaluation.metrics.metric import ERROR, OK, Metric, Score
from evaluation.metrics.registry import select
from evaluation.metrics.sets.registry import select_sets
from evaluation.metrics.sets.set_metric import SetMetric
from evaluation.seeds import VideoKey, lowest
from evaluation.set_scoring import score_sets
from evaluation.tasks import Failure, run_tasks
from evaluation.video_scoring import Asked, EstimatorBuilder, pose_estimator, score_video
from infra.errors import UsageError
from infra.schema import Config

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("pair", pa.string()),
        ("seed", pa.int64()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("metric_id", pa.string()),
        ("weights", pa.string()),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row per model, pair, seed and metric. ``value`` is null unless ``status`` is "ok"; then ``reason`` is null.

``weights``: id and SHA-256 of the backbones that the metric asked.
"""
CURVES = pa.schema(
    [
        ("model", pa.string()),
        ("pair", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("metric_id", pa.string()),
        ("frame", pa.int32()),
        ("value", pa.float64()),
    ]
)
"""The course of a metric over a video, where it has one; null where a frame has no value."""


class Scored(NamedTuple):
    """Tables of SCHEMA, CURVES and :data:`evaluation.set_scoring.SCHEMA`."""

    scores: pa.Table
    curves: pa.Table
    sets: pa.Table


def weights_of(backbones: Collection[str], weights: WeightFiles) -> str:
    """Their ids with the hashes of their files; "" for none of them, "none" where one has no weights."""
    try:
        return " ".join(weights.id_of(BACKBONES[name]) for name in sorted(backbones))
    except NotComputable:
        return "none"


def check(config: Config) -> list[Metric]:
    """The metrics asked for. Raises UsageError for names that are not known of evaluate.metrics, sets and weights, and
    SteadyDancerError for weights of theirs that are not there, or not what they should be.
    """
    metrics, sets = select(config.evaluate.metrics), select_sets(config.evaluate.sets)
    known = sorted({weights.key for backbone in BACKBONES.values() for weights in backbone.weights})
    for field in ("weights", "weights_sha256"):
        for key in getattr(config.evaluate, field):
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"evaluate.{field}.{key}: no backbone has such weights.{hint}", f"Known: {', '.join(known)}."
                )
    weights = WeightFiles(config.evaluate)
    for name in sorted(_backbones(metrics, sets)):
        weights_of({name}, weights)
    return metrics


def used_weights(config: Config) -> dict[str, str]:
    """By metric and set metric, :func:`weights_of` what it asks. Raises as :func:`check`."""
    metrics, sets = select(config.evaluate.metrics), select_sets(config.evaluate.sets)
    weights = WeightFiles(config.evaluate)
    asked = {metric.name: metric.backbones for metric in metrics} | {metric.name: {metric.backbone} for metric in sets}
    return {name: weights_of(backbones, weights) for name, backbones in asked.items()}


def _backbones(metrics: Iterable[Metric], sets: Iterable[SetMetric]) -> set[str]:
    return {name for metric in metrics for name in metric.backbones} | {metric.backbone for metric in sets}


def score_pairs(
    config: Config,
    benchmark: Benchmark,
    videos: Mapping[VideoKey, Path | Failure],
    folder: Path,
    estimator: EstimatorBuilder = pose_estimator,
) -> Scored:
    """The scores of every (model label, pair id, seed) of ``videos``. Needs a Ray session.

    The metrics of sets take one video of a pair, that of the lowest seed: a driver's real frames count once.
    What could not be generated, decoded or scored has rows of status "error" with the reason. Under ``folder`` scores
    and features are kept for later runs.
    """
    metrics, sets = select(config.evaluate.metrics), select_sets(config.evaluate.sets)
    weights = WeightFiles(config.evaluate)
    used = used_weights(config)
    ids = {metric.name: metric.identify(config) for metric in metrics}
    asked = Asked(
        config,
        keys={name: f"{ids[name]} {used[name]}".strip() for name in ids},
        set_keys={m.name: f"{m.definition_id} {used[m.name]}" for m in sets},
        embedder=Features(folder / "features", weights, actors.start(_backbones(metrics, sets), weights)),
        estimator=estimator,
        folder=folder / "scores",
    )
    by_id, calls = {pair.id: pair for pair in benchmark.pairs}, {}
    of_sets = set(lowest({key: key for key in videos}).values())
    for key, video in videos.items():
        if not isinstance(video, Failure):
            theirs = config.evaluate.videos.get(key[0])
            shown = played(benchmark, theirs and theirs.time_map)
            of_this = asked if key in of_sets else replace(asked, set_keys={})
            calls[key] = (video, by_id[key[1]], shown, of_this, theirs is None)
    scored = run_tasks(score_video, calls, label="Scoring") if calls else {}
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    kept: dict[tuple[str, str], dict[str, Path | Failure]] = {}
    for key, video in videos.items():
        model, pair, seed = key
        outcome = video if isinstance(video, Failure) else scored[key]
        scores, set_rows = ({}, {}) if isinstance(outcome, Failure) else outcome
        if key in of_sets:
            kept[model, pair] = set_rows
        if isinstance(outcome, Failure):
            scores = dict.fromkeys(ids, Score(None, ERROR, outcome.reason))
        for name, score in scores.items():
            about = {"model": model, "pair": pair, "seed": seed, "metric": name, "metric_id": ids[name]}
            answer = {"value": score.value, "status": score.status, "reason": score.reason}
            rows.append({**about, "kind": by_id[pair].kind, "weights": used[name], **answer})
            if score.status == OK and score.curve is not None:
                curves += [{**about, "frame": frame, "value": value} for frame, value in enumerate(score.curve)]
    sets_table = score_sets(
        kept, {pair.id: pair.kind for pair in benchmark.pairs}, {metric.name: used[metric.name] for metric in sets}
    )
    return Scored(pa.Table.from_pylist(rows, SCHEMA), pa.Table.from_pylist(curves, CURVES), sets_table)
