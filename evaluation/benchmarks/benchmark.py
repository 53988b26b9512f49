"""What every benchmark is: pairs, and how one is opened."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Literal, Protocol

from evaluation.pairs import Pair, PairInputs
from infra.commits import Commit


class Benchmark(Protocol):
    """Small and without open files: it goes to Ray tasks as it is."""

    name: str
    pairs: list[Pair]
    parents: tuple[Commit, ...]
    """what it was made from, for the lineage"""
    by_index: bool
    """whether drivers are played frame by frame (:class:`evaluation.pairs.PairInputs`)"""

    @property
    def id(self) -> str:
        """Hash of everything that decides what its pairs are."""

    def open(self, pair: Pair) -> PairInputs:
        """One pair's pictures and poses. Raises SteadyDancerError where a file of it is missing or damaged."""


def identify(name: str, pairs: Iterable[Pair], by_index: bool) -> str:
    """A benchmark's id: of its name, its pairs with all they say, whatever their order, and how drivers are played."""
    told = sorted([p.id, p.kind, p.reference, p.driving, p.prompt, p.content] for p in pairs)
    return hashlib.sha256(json.dumps([name, told, by_index]).encode()).hexdigest()


def played(benchmark: Benchmark, time_map: Literal["time", "index"] | None) -> Benchmark:
    """The same pairs with drivers played as a method played them; None: as the benchmark says."""
    return benchmark if time_map is None else dataclasses.replace(benchmark, by_index=time_map == "index")
