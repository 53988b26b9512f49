"""The key of a blinded export and the files that raters send back, read strictly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.errors import SteadyDancerError, UsageError

KEY = "key.json"
PAGE = "votes.html"
ASPECTS = ("motion", "identity", "quality")
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Item(_Strict):
    """What a rater compared: two models' videos of a pair."""

    pair: Text
    left: Text
    right: Text


class Key(_Strict):
    """Which side is which: for whoever counts, not for raters. Items are numbered in the order they are shown."""

    format: Literal[1]
    export: Text
    seed: int
    evaluations: list[Text]
    models: list[Text]
    items: dict[Text, Item]


class BallotVote(_Strict):
    item: Text
    aspect: Literal["motion", "identity", "quality"]
    choice: Literal["left", "same", "right"]


class Ballot(_Strict):
    """One rater's file, as the page of an export writes it."""

    format: Literal[1]
    export: Text
    rater: Text
    votes: Annotated[list[BallotVote], Field(min_length=1)]


@dataclass(frozen=True)
class Vote:
    """A rater's answer with the sides made known. ``choice``: the side as it was shown, or "same"."""

    rater: str
    item: str
    pair: str
    aspect: str
    left: str
    right: str
    choice: Literal["left", "same", "right"]


def read_key(folder: Path) -> Key:
    """The key of an export's folder. Raises UsageError where there is none, SteadyDancerError where it is damaged."""
    if not (folder / KEY).is_file():
        raise UsageError(f"{folder} holds no {KEY}.", "Name the folder that `votes export` wrote.")
    return _read(folder / KEY, Key)


def read_votes(key: Key, files: Sequence[Path]) -> tuple[list[Vote], int]:
    """The votes of all files, and how many of them were there more than once and are counted once.

    Raises SteadyDancerError, naming the file, where it is no ballot of this export, votes on an unknown item, or holds
    another answer of the same rater to the same question than a file before it.
    """
    votes: dict[tuple[str, str, str], tuple[Vote, Path]] = {}
    repeated = 0
    for path in files:
        ballot = _read(path, Ballot)
        if ballot.export != key.export:
            raise SteadyDancerError(
                f"{path}: votes on export {ballot.export}, this is {key.export}.", "Name the folder it was made from."
            )
        for each in ballot.votes:
            if each.item not in key.items:
                raise SteadyDancerError(f"{path}: votes on item {each.item!r}, the key has 1 to {len(key.items)}.")
            item = key.items[each.item]
            vote = Vote(ballot.rater, each.item, item.pair, each.aspect, item.left, item.right, each.choice)
            before, where = votes.setdefault((ballot.rater, each.item, each.aspect), (vote, path))
            if before.choice != vote.choice:
                raise SteadyDancerError(
                    f"{path}: {ballot.rater} says {vote.choice!r} to the {each.aspect} of item {each.item}, "
                    f"but {before.choice!r} in {where}.",
                    "Keep the file that counts. Two people of one name need two names.",
                )
            repeated += before is not vote
    return [vote for vote, _ in votes.values()], repeated


Record = TypeVar("Record", bound=BaseModel)


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SteadyDancerError(f"{path}: {place}: {first['msg']}.", "Use the file as the page wrote it.") from None
