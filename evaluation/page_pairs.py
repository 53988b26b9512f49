"""What the comparison page says of each pair: players, scores, curves and costs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from evaluation.comparison import Comparison
from evaluation.media import Media
from evaluation.metrics.metric import ERROR
from evaluation.pairs import Pair

THIRDS = 3
DIGITS = 4
"""Of a curve's values."""


def pairs_of(comparison: Comparison, media: Media, with_players: int) -> list[dict[str, Any]]:
    """One entry per pair, in the comparison's order. What there is by model is a list in the order of its models.

    ``scores`` and ``curves`` are by metric id: (value, status, reason, badness) and the values by frame; a model
    without any has None.
    """
    strata = _labelled(comparison.pairs)
    scores, curves, costs = _scores(comparison), _curves(comparison), _costs(comparison)
    found = []
    for place, pair in enumerate(comparison.pairs):
        mine = scores.get(pair.id, {})
        players = _players(comparison, pair, media, place, mine) if place < with_players else _none(comparison)
        told = {"id": pair.id, "prompt": pair.prompt, "strata": strata[pair.id]}
        found.append(
            {**told, **players, "scores": mine, "curves": curves.get(pair.id, {}), "costs": costs.get(pair.id)}
        )
    return found


def strata_of(pairs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The values of each stratum, those of fewer than two left out: they part nothing."""
    names = dict.fromkeys(name for pair in pairs for name in pair["strata"])
    values = {name: list(dict.fromkeys(p["strata"][name] for p in pairs if name in p["strata"])) for name in names}
    return {name: sorted(found) for name, found in values.items() if len(found) > 1}


def _labelled(pairs: Sequence[Pair]) -> dict[str, dict[str, str]]:
    """The kind and the strata of each pair as text; of a number, in which third of the pairs it lies."""
    labels = {pair.id: {"kind": pair.kind} for pair in pairs}
    for name in sorted({name for pair in pairs for name in pair.strata}):
        values = {pair.id: pair.strata[name] for pair in pairs if name in pair.strata}
        numbers = [value for value in values.values() if not isinstance(value, str)]
        distinct = sorted(set(numbers))
        edges = np.quantile(numbers, [1 / THIRDS, 1 - 1 / THIRDS]) if len(distinct) > THIRDS else None
        for pair, value in values.items():
            labels[pair][name] = value if isinstance(value, str) else _third(value, edges)
    return labels


def _third(value: float, edges: np.ndarray | None) -> str:
    if edges is None:
        return f"{value:g}"
    low, high = (f"{edge:.3g}" for edge in edges)
    if value <= edges[0]:
        return f"low (up to {low})"
    return f"middle (up to {high})" if value <= edges[1] else f"top (above {high})"


def _players(comparison: Comparison, pair: Pair, media: Media, place: int, scores: dict) -> dict[str, Any]:
    first = comparison.evaluations[0]
    videos = []
    for number, model in enumerate(comparison.models):
        commit, label = comparison.origin[model]
        mine = [by_model[number] for by_model in scores.values() if by_model[number]]
        reason = next((reason for _, status, reason, _ in mine if status == ERROR), None)
        videos.append(media.add(f"{place}/{number}", commit, f"videos/{label}/{pair.id}.mp4", reason))
    return {
        "reference": media.add(f"{place}/reference", first, f"references/{pair.id}.png"),
        "driving": media.add(f"{place}/driving", first, f"drivings/{pair.id}.mp4"),
        "pose": media.add(f"{place}/pose", first, f"poses/{pair.id}.mp4"),
        "videos": videos,
    }


def _none(comparison: Comparison) -> dict[str, Any]:
    nothing = {"reason": "not on this page: only the first pairs have players"}
    return {"reference": nothing, "driving": nothing, "pose": nothing, "videos": [nothing] * len(comparison.models)}


def _scores(comparison: Comparison) -> dict[str, dict[str, list]]:
    scores: dict[str, dict[str, list]] = {}
    for row in comparison.scores:
        by_model = _by_model(scores, comparison, row["pair"], row["metric_id"])
        by_model[comparison.models.index(row["model"])] = (row["value"], row["status"], row["reason"], row["badness"])
    return scores


def _curves(comparison: Comparison) -> dict[str, dict[str, list]]:
    curves: dict[str, dict[str, list]] = {}
    ids = {(row["model"], row["metric"]): row["metric_id"] for row in comparison.scores}
    for number, row in _of_the_played(comparison, "curves.parquet"):
        metric_id = ids.get((comparison.models[number], row["metric"]), row["metric_id"])
        by_model = _by_model(curves, comparison, row["pair"], metric_id)
        course = by_model[number] = by_model[number] or []
        course += [None] * (row["frame"] + 1 - len(course))
        course[row["frame"]] = None if row["value"] is None else float(f"{row['value']:.{DIGITS}g}")
    return curves


def _costs(comparison: Comparison) -> dict[str, list]:
    costs: dict[str, list] = {}
    for number, row in _of_the_played(comparison, "costs.parquet"):
        by_model = costs.setdefault(row["pair"], [None] * len(comparison.models))
        by_model[number] = {name: row[name] for name in ("seconds", "peak_mib", "device", "nfe")}
    return costs


def _of_the_played(comparison: Comparison, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """:func:`rows_of` the lowest seeds, whose videos the page plays. Old evaluations have no seeds."""
    played = {(comparison.models.index(row["model"]), row["pair"], row.get("seed", 0)) for row in comparison.scores}
    return (
        (number, row)
        for number, row in rows_of(comparison, name)
        if (number, row["pair"], row.get("seed", 0)) in played
    )


def _by_model(found: dict[str, dict[str, list]], comparison: Comparison, pair: str, metric_id: str) -> list:
    return found.setdefault(pair, {}).setdefault(metric_id, [None] * len(comparison.models))


def rows_of(comparison: Comparison, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the model, row) of a table that an evaluation may have."""
    numbers = {(c.uri, label): comparison.models.index(m) for m, (c, label) in comparison.origin.items()}
    for commit in comparison.evaluations:
        if name in commit.files:
            with commit.open(name) as file:
                rows = pq.read_table(file).to_pylist()
            yield from ((numbers[commit.uri, row["model"]], row) for row in rows)
