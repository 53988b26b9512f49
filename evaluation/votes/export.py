"""Pairs of videos for people to vote on: one page that does not say which model made which, and the key to it."""

import hashlib
import json
from collections.abc import Sequence
from itertools import combinations, cycle
from pathlib import Path
from random import Random

from rich.console import Console
from rich.markup import escape

from evaluation.comparison import Comparison, held_together
from evaluation.media import Media
from evaluation.page import fill
from evaluation.votes.ballots import KEY, PAGE, Item, Key
from infra.commits import Commit
from infra.errors import SteadyDancerError, UsageError


def export_votes(
    evaluations: Sequence[Commit],
    out: Path,
    seed: int,
    models: Sequence[str] = (),
    most: int | None = None,
    console: Console | None = None,
) -> Key:
    """Writes votes.html, for raters, and key.json, for whoever counts, into ``out``.

    Every two of ``models`` (none named: of all) meet on every pair that has both videos; order and sides are by the
    seed, each of two models on either side equally often. ``most`` keeps that many items, by the seed.

    Raises UsageError for a model that is not there, SteadyDancerError if there is nothing to vote on or an export lies
    there already.
    """
    console = console or Console()
    if (out / KEY).exists():
        raise SteadyDancerError(f"{out} holds an export already; its votes need its key.", "Name another folder.")
    comparison = held_together(evaluations)
    items, missing = _items(comparison, _chosen(comparison, models), Random(seed), most)
    if not items:
        raise SteadyDancerError(
            "No two models have videos of the same pair, so there is nothing to vote on.", "Evaluate at least two."
        )
    content = {
        "seed": seed,
        "evaluations": [commit.id for commit in evaluations],
        "models": [model for model in comparison.models if any(model in (item.left, item.right) for item in items)],
        "items": {str(number): item for number, item in enumerate(items, 1)},
    }
    key = Key(format=1, export=_digest(content), **content)
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(_page(comparison, key))
    (out / KEY).write_text(key.model_dump_json(indent=1) + "\n")
    if missing:
        console.print(f"[bold yellow]{missing} items left out: a video of the two is not there.[/]")
    console.print(f"{len(items)} items. For raters: {escape(str(out / PAGE))}", soft_wrap=True)
    console.print(f"To count their votes: {escape(str(out / KEY))}; raters must not see it.", soft_wrap=True)
    return key


def _chosen(comparison: Comparison, models: Sequence[str]) -> list[str]:
    for model in models:
        if model not in comparison.models:
            raise UsageError(f"There is no model {model!r}.", f"There are: {', '.join(comparison.models)}.")
    return [model for model in comparison.models if model in models or not models]


def _items(comparison: Comparison, models: list[str], random: Random, most: int | None) -> tuple[list[Item], int]:
    """The items in the order they are shown, and how many there are not for want of a video."""
    asked = [(pair.id, two) for pair in comparison.pairs for two in combinations(models, 2)]
    there = [(pair, two) for pair, two in asked if all(_has_video(comparison, pair, model) for model in two)]
    random.shuffle(there)
    turns = {two: cycle(random.sample((False, True), 2)) for two in combinations(models, 2)}
    items = []
    for pair, two in there[:most]:
        left, right = reversed(two) if next(turns[two]) else two
        items.append(Item(pair=pair, left=left, right=right))
    return items, len(asked) - len(there)


def _video(comparison: Comparison, pair: str, model: str) -> tuple[Commit, str]:
    commit, label = comparison.origin[model]
    return commit, f"videos/{label}/{pair}.mp4"


def _has_video(comparison: Comparison, pair: str, model: str) -> bool:
    commit, name = _video(comparison, pair, model)
    return name in commit.files


def _digest(content: dict) -> str:
    items = {number: item.model_dump() for number, item in content["items"].items()}
    return hashlib.sha256(json.dumps({**content, "items": items}, sort_keys=True).encode()).hexdigest()[:16]


def _page(comparison: Comparison, key: Key) -> str:
    """Media are named in the order they are met, so that no name in the page leads to a model."""
    media, first = Media(0, alike=True), comparison.evaluations[0]
    known: dict[tuple[str, str], dict] = {}

    def player(commit: Commit, name: str) -> dict:
        if (commit.uri, name) not in known:
            known[commit.uri, name] = media.add(str(len(known)), commit, name)
        return known[commit.uri, name]

    shown = [
        {
            "item": number,
            "reference": player(first, f"references/{item.pair}.png"),
            "driving": player(first, f"drivings/{item.pair}.mp4"),
            "left": player(*_video(comparison, item.pair, item.left)),
            "right": player(*_video(comparison, item.pair, item.right)),
        }
        for number, item in key.items.items()
    ]
    return fill("votes.html", data={"export": key.export, "items": shown}, media=media.uris)
