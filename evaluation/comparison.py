"""Several evaluations held together: their models on the pairs all of them have, and what to know about it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair, read_pairs
from evaluation.seeds import averaged
from evaluation.summary import SummaryRow, stage_before, summarise
from infra import commits
from infra.commits import Commit
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError


@dataclass(frozen=True)
class Comparison:
    """Models of one or several evaluations on the pairs all of them have.

    ``scores`` are rows of :func:`evaluation.seeds.averaged` under the models' names here, ``metric_id`` with the
    weights where those differ; ``origin`` says where a model's videos are: (evaluation, its name there). ``losses``
    maps a model's name to its (step, loss) history. ``notices`` is what a reader has to know before believing the
    numbers.
    """

    evaluations: list[Commit]
    models: list[str]
    pairs: list[Pair]
    scores: list[dict[str, Any]]
    summary: list[SummaryRow]
    origin: dict[str, tuple[Commit, str]]
    losses: dict[str, list[tuple[int, float]]]
    notices: list[str]


def held_together(evaluations: Sequence[Commit]) -> Comparison:
    """The models of all evaluations on the intersection of their pairs.

    With one evaluation each model is held against the one before it; with several, against the model of the same
    name in the first. Raises UsageError for a commit of another kind and SteadyDancerError if no pair is common, or a
    metric is not known here.
    """
    for commit in evaluations:
        if commit.kind != "evaluation":
            raise UsageError(f"{commit.uri} is a commit of kind {commit.kind!r}; an evaluation was expected.")
    if not evaluations:
        raise UsageError("Nothing to compare: name at least one evaluation.")
    names = _run_names(evaluations)
    opened = [_open(commit) for commit in evaluations]
    pairs, notices = _common_pairs(opened, names)
    kept = {pair.id for pair in pairs}

    models: list[str] = []
    origin: dict[str, tuple[Commit, str]] = {}
    scores: list[dict[str, Any]] = []
    losses: dict[str, list[tuple[int, float]]] = {}
    for commit, name, (_, rows) in zip(evaluations, names, opened, strict=True):
        notices += [f"{name}: {notice}" if name else notice for notice in commit.meta["notices"]]
        labels = {label: f"{name}/{label}" if name else label for label in commit.meta["models"]}
        models += labels.values()
        origin |= {shown: (commit, label) for label, shown in labels.items()}
        scores += [{**row, "model": labels[row["model"]]} for row in rows if row["pair"] in kept]
        history, missing = _losses(commit)
        losses |= {f"{name}/{label}" if name else label: curve for label, curve in history.items()}
        notices += missing
    against = stage_before(models) if len(evaluations) == 1 else _against_first(origin, names)
    scores = by_definition(scores)
    notices += _several_definitions(scores)
    summary = summarise(scores, pairs, models, against)
    return Comparison(list(evaluations), models, pairs, averaged(scores), summary, origin, losses, notices)


def _open(commit: Commit) -> tuple[list[Pair], list[dict[str, Any]]]:
    with commit.open("pairs.parquet") as pairs, commit.open("scores.parquet") as scores:
        opened = read_pairs(pairs), pq.read_table(scores).to_pylist()
    if unknown := sorted({row["metric"] for row in opened[1]} - METRICS.keys()):
        raise SteadyDancerError(
            f"{commit.uri} has scores of {unknown[0]!r}, a metric that this version does not know.",
            f"Compare it with the code that scored it, {commit.code_version}, or evaluate it again.",
        )
    return opened


def _run_names(evaluations: Sequence[Commit]) -> list[str]:
    """Nothing for a single evaluation; else the work folder's name, with the commit where names repeat."""
    if len(evaluations) == 1:
        return [""]
    folders = [commit.path.absolute().parent.name for commit in evaluations]
    unique = len(set(folders)) == len(folders)
    names = folders if unique else [f"{f}@{c.id[:8]}" for f, c in zip(folders, evaluations, strict=True)]
    if len(set(names)) < len(names):
        raise UsageError("The same evaluation is named twice.")
    return names


def _common_pairs(opened: list[tuple[list[Pair], Any]], names: list[str]) -> tuple[list[Pair], list[str]]:
    common = set.intersection(*({(pair.id, pair.content) for pair in pairs} for pairs, _ in opened))
    if not common:
        raise SteadyDancerError(
            "These evaluations have no pair in common, so nothing of them can be compared.",
            "Evaluate both on the same benchmark; of a dataset, with the same seed and numbers of pairs.",
        )
    notices = []
    others = set.intersection(*({pair.id for pair in pairs} for pairs, _ in opened)) - {name for name, _ in common}
    if others:
        notices.append(f"DIFFERENT INPUTS under the names of {len(others)} pairs, such as {min(others)}: left out.")
    if any(len(pairs) != len(common) for pairs, _ in opened):
        sizes = ", ".join(f"{name} has {len(pairs)}" for name, (pairs, _) in zip(names, opened, strict=True))
        notices.append(f"DIFFERENT PAIR SETS: compared on the {len(common)} pairs all runs share ({sizes}).")
    return [pair for pair in opened[0][0] if (pair.id, pair.content) in common], notices


def by_definition(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of scores with the weights in the id of a metric that was computed by several: these are several metrics."""
    used: dict[str, set[str]] = {}
    for row in scores:
        if row["value"] is not None:
            used.setdefault(row["metric_id"], set()).add(row.get("weights") or "")
    several = {metric_id for metric_id, weights in used.items() if len(weights) > 1}
    return [_with_weights(row) if row["metric_id"] in several else row for row in scores]


def _with_weights(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "metric_id": f"{row['metric_id']} {row.get('weights') or ''}".rstrip(), "weights": ""}


def _several_definitions(scores: list[dict[str, Any]]) -> list[str]:
    ids: dict[str, set[str]] = {}
    for row in scores:
        ids.setdefault(row["metric"], set()).add(row["metric_id"])
    return [
        f"DIFFERENT DEFINITIONS of {name}: {', '.join(sorted(found))}; their values are not set against each other."
        for name, found in sorted(ids.items())
        if len(found) > 1
    ]


def _against_first(origin: dict[str, tuple[Commit, str]], names: list[str]) -> dict[str, str]:
    shown = set(origin)
    pairs = {model: f"{names[0]}/{label}" for model, (_, label) in origin.items()}
    return {model: other for model, other in pairs.items() if other in shown and other != model}


def _losses(evaluation: Commit) -> tuple[dict[str, list[tuple[int, float]]], list[str]]:
    """The (step, loss) histories of the checkpoints an evaluation was made of, and what is not there any more."""
    labels: dict[str, list[str]] = {}
    for label, checkpoint_id in evaluation.meta.get("checkpoints", {}).items():
        labels.setdefault(checkpoint_id, []).append(label)
    curves: dict[str, list[tuple[int, float]]] = {}
    missing = []
    for parent in evaluation.parents:
        if parent.kind != "checkpoint":
            continue
        try:
            checkpoint = commits.read(evaluation.parent_uri(parent))
        except (commits.NotCommitted, CorruptArtifact):
            checkpoint = None
        if checkpoint is None or checkpoint.id != parent.id:
            missing.append(f"No loss curve: checkpoint {parent.id[:12]} is not at {parent.uri} any more.")
        elif "history.parquet" in checkpoint.files:
            with checkpoint.open("history.parquet") as file:
                rows = pq.read_table(file, columns=["step", "loss"]).to_pylist()
            curve = [(row["step"], row["loss"]) for row in rows]
            curves |= dict.fromkeys(labels.get(parent.id, [_stage(checkpoint, curves)]), curve)
    return curves, missing


def _stage(checkpoint: Commit, taken: Collection[str]) -> str:
    """The name of a checkpoint in an evaluation that does not say what it calls it."""
    name = f"stage{checkpoint.meta['stage']}"
    return f"{name}@{checkpoint.id[:8]}" if name in taken else name
