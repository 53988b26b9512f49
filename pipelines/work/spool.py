"""Rows under way: where they wait before they are handed to workers, and which of them came out at the end."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

BLOCK_BYTES = 64 * 2**10

Item = dict[str, Any]
"""A row under way: ``row``, the number of its next ``step``, an ``id`` (its number in the spool, then its places among
the rows made of one) and its ``share`` (those of all rows made of one in the spool sum to 1). Travels as JSON text.
"""


class Spool:
    """Items that wait, a line of JSON each, in a file that all workers can read."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._ends, self._steps = path, array("Q", [0]), array("B")
        self._file: BinaryIO = path.open("w+b")

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, item: Item) -> None:
        self._ends.append(self._ends[-1] + self._file.write(json.dumps(item).encode() + b"\n"))
        self._steps.append(item["step"])

    @property
    def steps(self) -> Counter:
        """How many of them wait for which step."""
        return Counter(self._steps)

    def read(self, number: int) -> Item:
        self._file.seek(self._ends[number])
        return json.loads(self._file.readline())

    def blocks(self, most: int) -> list[str]:
        """All items in so many blocks at most: texts that :func:`items` reads."""
        self._file.flush()
        count = min(len(self), most)
        edges = [self._ends[len(self) * block // count] for block in range(count + 1)]
        return [json.dumps({"spool": str(self.path), "from": first, "to": last}) for first, last in pairwise(edges)]

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def items(block: str) -> Iterator[Item]:
    """The items of a block: they are in its text, or it says where in a spool."""
    content = json.loads(block)
    if isinstance(content, list):
        yield from content
        return
    with Path(content["spool"]).open("rb") as file:
        file.seek(content["from"])
        while file.tell() < content["to"]:
            yield json.loads(file.readline())


def blocks(under_way: Iterable[Item]) -> Iterator[str]:
    """The same items in blocks of some ``BLOCK_BYTES``, so that all workers share what was made of one row."""
    texts, size = [], 0
    for item in under_way:
        texts.append(json.dumps(item))
        size += len(texts[-1])
        if size > BLOCK_BYTES:
            yield f"[{','.join(texts)}]"
            texts, size = [], 0
    if texts:
        yield f"[{','.join(texts)}]"


class Arrived:
    """Which items came out at the end, by what they were in the spool."""

    def __init__(self, count: int):
        self._complete = bytearray(count)
        self._parts: dict[int, dict[str, float]] = {}

    def add(self, item: Item) -> bool:
        """False if it had come before."""
        number = int(item["id"].partition("/")[0])
        parts = self._parts.setdefault(number, {})
        if self._complete[number] or item["id"] in parts:
            return False
        parts[item["id"]] = item["share"]
        if sum(parts.values()) > 1 - 1e-9:
            self._complete[number] = True
            del self._parts[number]
        return True

    def incomplete(self) -> list[int]:
        return [number for number, complete in enumerate(self._complete) if not complete]
