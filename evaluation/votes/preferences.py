"""What people prefer: votes counted by aspect, with strengths, intervals and how far raters agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.votes.agreement import krippendorff_alpha
from evaluation.votes.ballots import ASPECTS, Vote, read_key, read_votes
from evaluation.votes.bradley_terry import TIE, bootstrap, strengths


@dataclass(frozen=True)
class Preference:
    """One aspect. ``counts``: (model, other): how often it was better, the same, worse.

    ``strengths`` and bounds are in the order of the models, log scale, mean 0. ``left`` is the share of "left" among
    votes for a side: far from one half, raters did not look. ``alpha`` is over the sides as shown. What cannot be said
    is None.
    """

    aspect: str
    votes: int
    raters: int
    ties: int
    left: float | None
    counts: dict[tuple[str, str], tuple[int, int, int]]
    strengths: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    alpha: float | None


def preference(votes: Sequence[Vote], models: Sequence[str], aspect: str, seed: int = 0) -> Preference | None:
    """The votes on one aspect, or None without any; their order is irrelevant."""
    votes = [vote for vote in votes if vote.aspect == aspect]
    if not votes:
        return None
    place = {model: number for number, model in enumerate(models)}
    pairs = {pair: number for number, pair in enumerate(sorted({vote.pair for vote in votes}))}
    wins_PMM = np.zeros((len(pairs), len(models), len(models)))
    counts = {two: [0, 0, 0] for two in combinations(models, 2)}
    units: dict[str, list[str]] = {}
    for vote in votes:
        left, right = place[vote.left], place[vote.right]
        share = {"left": 1.0, "same": TIE, "right": 0.0}[vote.choice]
        wins_PMM[pairs[vote.pair], left, right] += share
        wins_PMM[pairs[vote.pair], right, left] += 1 - share
        first, second = sorted((vote.left, vote.right), key=place.__getitem__)
        won = share if first == vote.left else 1 - share
        counts[first, second][round(2 - 2 * won)] += 1
        units.setdefault(vote.item, []).append(vote.choice)
    bounds = bootstrap(wins_PMM, seed)
    sides = [vote.choice for vote in votes if vote.choice != "same"]
    return Preference(
        aspect=aspect,
        votes=len(votes),
        raters=len({vote.rater for vote in votes}),
        ties=len(votes) - len(sides),
        left=sides.count("left") / len(sides) if sides else None,
        counts={two: tuple(found) for two, found in counts.items() if any(found)},
        strengths=tuple(strengths(wins_PMM.sum(0)).tolist()),
        low=None if bounds is None else tuple(bounds[0].tolist()),
        high=None if bounds is None else tuple(bounds[1].tolist()),
        alpha=krippendorff_alpha(units.values()),
    )


def import_votes(folder: Path, files: Sequence[Path], console: Console | None = None) -> list[Preference]:
    """Prints what ballots say on the export in ``folder``. Raises as :func:`evaluation.votes.ballots.read_votes`."""
    console = console or Console()
    key = read_key(folder)
    votes, repeated = read_votes(key, files)
    if repeated:
        console.print(f"[bold yellow]{repeated} votes were there more than once and are counted once.[/]")
    found = [each for aspect in ASPECTS if (each := preference(votes, key.models, aspect, key.seed))]
    raters = sorted({vote.rater for vote in votes})
    asked = len(key.items) * len(ASPECTS) * len(raters)
    console.print(f"{len(raters)} raters, {len(votes)} of {asked} votes: {escape(', '.join(raters))}", soft_wrap=True)
    for each in found:
        _print(console, each, key.models)
    console.print(
        "Strengths are Bradley-Terry's on the log scale, mean 0: a difference of 1 is a preference of 73 %. A tie is "
        "half a win each; half a win of each over each is added. Intervals: 95 %, pairs drawn anew.",
        style="dim",
    )
    return found


def _print(console: Console, found: Preference, models: Sequence[str]) -> None:
    alpha = "not computable" if found.alpha is None else f"{found.alpha:.2f}"
    left = "" if found.left is None else f", {found.left:.0%} of the others for the left"
    console.print(
        f"\n[bold]{found.aspect}[/]: {found.votes} votes, {found.ties} ties{left}, Krippendorff's alpha {alpha}"
    )
    table = Table("model", "strength", "interval")
    for place in sorted(range(len(models)), key=lambda place: -found.strengths[place]):
        interval = "n/a" if found.low is None else f"{found.low[place]:+.2f} to {found.high[place]:+.2f}"
        table.add_row(escape(models[place]), f"{found.strengths[place]:+.2f}", interval)
    console.print(table)
    table = Table("model", "against", "good", "same", "bad")
    for (model, other), counts in found.counts.items():
        table.add_row(escape(model), escape(other), *map(str, counts))
    console.print(table)
