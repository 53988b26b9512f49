"""Several videos of one pair, each from another seed: what is compared is their mean."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from evaluation.metrics.metric import ERROR, OK
from evaluation.metrics.registry import METRICS

VideoKey = tuple[str, str, int]
"""Model, pair id, seed."""
Found = TypeVar("Found")


def lowest(found: Mapping[VideoKey, Found]) -> dict[tuple[str, str], Found]:
    """By model and pair, what the lowest seed has: it stands for the pair where one video is shown or counted."""
    return {(model, pair): found[model, pair, seed] for model, pair, seed in sorted(found, reverse=True)}


def file_names(keys: Iterable[VideoKey]) -> dict[VideoKey, str]:
    """Where videos lie in an evaluation: the lowest seed's is videos/<model>/<pair>.mp4, others end in -<seed>.mp4."""
    keys = list(keys)
    first = lowest({key: key for key in keys})
    return {
        (model, pair, seed): f"videos/{model}/{pair}{'' if first[model, pair][2] == seed else f'-{seed}'}.mp4"
        for model, pair, seed in keys
    }


def averaged(scores: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per model, pair and metric id, from rows of :data:`evaluation.scoring.SCHEMA`, with the mean over seeds.

    ``badness`` (:meth:`evaluation.metrics.metric.Metric.badness`) is the mean of theirs: values on both sides of a
    target do not cancel. A pair without a value of every seed has none: what a model cannot do on one seed must not
    make its mean better.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in scores:
        groups.setdefault((row["model"], row["pair"], row["metric_id"]), []).append(row)
    return [_averaged(rows) for rows in groups.values()]


def _averaged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``seed`` is the lowest. Of several reasons the lowest seed's is told, what broke before what has no value."""
    rows = sorted(rows, key=lambda row: row.get("seed", 0))
    missing = sorted((row for row in rows if row["status"] != OK), key=lambda row: row["status"] != ERROR)
    row = {**rows[0], "badness": None}
    if missing:
        status, reason = missing[0]["status"], missing[0]["reason"]
        same = sum(each["reason"] == reason for each in missing)
        told = reason if same == len(rows) else f"{same} of {len(rows)} seeds: {reason}"
        return {**row, "value": None, "status": status, "reason": told}
    values = sorted(row["value"] for row in rows)
    badness = [METRICS[row["metric"]].badness(value) for value in values]
    return {**row, "value": sum(values) / len(rows), "badness": sum(badness) / len(rows)}
