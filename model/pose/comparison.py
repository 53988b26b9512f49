"""A folder of reference values, and the table of how far ours are from them.

The folder holds safetensors files with a JSON text ``meta`` in their metadata, JSON and pictures; MANIFEST.json, where
there is one, names what belongs into it.
"""

import argparse
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from safetensors import SafetensorError, safe_open

from infra.errors import SteadyDancerError

EXACT = 0.0


class Unusable(Exception):
    """A file, or a part of one, that cannot be compared."""


# What a file with the wrong types, numbers of dimensions, sizes or entries leads to.
FAULTS = (Unusable, SteadyDancerError, OSError, RuntimeError, ArithmeticError)
FAULTS += (ValueError, LookupError, TypeError, AttributeError)


class Row(NamedTuple):
    file: str
    what: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def off(self) -> bool:
        return not self.difference <= self.tolerance


def failed(file: str, what: str, error: object) -> Row:
    return Row(file, what, np.inf, EXACT, str(error))


def unjudged(row: Row, why: object) -> Row:
    """Shown, but not held against the file."""
    return row._replace(tolerance=np.inf, note=str(why))


def absent(file: str, why: str) -> Row:
    """A file that need not be there."""
    return Row(file, "", -np.inf, np.inf, why)


class Value(NamedTuple):
    """A value of ours, and the name that the file has it by."""

    name: str
    ours: Any
    tolerance: float
    how: str = ""
    """What tells it from other values of that name."""
    theirs: Any = None
    """Where the file's value is not the one to compare with as it stands."""


Ours = Iterator[Value | tuple[str, Any, float]]


class Numbers:
    """A safetensors file: tensors by name, entries of ``meta`` by their path with dots; Unusable where neither is."""

    def __init__(self, path: Path, listed: Iterable[str] = ()):
        try:
            with safe_open(path, framework="numpy") as file:
                self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                self._meta = json.loads((file.metadata() or {}).get("meta", "{}"))
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise Unusable(f"cannot be read: {error}") from error
        self.names = {*listed, *self._tensors}

    def __contains__(self, name: str) -> bool:
        try:
            return self[name] is not None
        except Unusable:
            return False

    def __getitem__(self, name: str) -> Any:
        if name in self._tensors:
            return self._tensors[name]
        value = self._meta
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                raise Unusable(f"{name} is missing")
            value = value[key]
        return value

    def cases(self, ending: str) -> list[str]:
        """What stands before ``ending`` in the names of the tensors."""
        return sorted(name.removesuffix(ending) for name in self.names if name.endswith(ending))

    def part(self, beginning: str) -> dict[str, np.ndarray]:
        """The tensors whose names start so, by what follows."""
        return {n.removeprefix(beginning): tensor for n, tensor in self._tensors.items() if n.startswith(beginning)}


def difference(ours: Any, theirs: Any) -> float:
    """Largest absolute difference, infinite for other shapes; equal infinities and equal NaN differ by 0.

    Ours is first rounded as theirs is: a neck computed in float64 may lie in the file as float32.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if np.issubdtype(theirs.dtype, np.floating):
        ours = ours.astype(theirs.dtype)
    if ours.shape != theirs.shape:
        raise Unusable(f"{theirs.shape} given, {ours.shape} expected")
    if np.array_equal(ours, theirs):
        return 0.0
    if ours.dtype.kind == "U" or theirs.dtype.kind == "U":
        raise Unusable(f"{theirs} given, {ours} expected")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    apart = np.abs(np.where(same, 0.0, ours) - np.where(same, 0.0, theirs))
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0.0))


class Folder(ABC):
    """What a folder holds, or should hold by its MANIFEST.json, compared kind by kind."""

    covers: tuple[str, ...]
    """For the message that there is nothing to compare."""

    def __init__(self, folder: Path):
        self.folder, self.numbers = folder, cache(self._numbers)
        self.present = {path.name for path in folder.iterdir() if path.is_file()}
        self.listed: dict[str, Any] = {}
        self._manifest: list[Row] = []
        if "MANIFEST.json" in self.present:
            try:
                self.listed = dict(json.loads((folder / "MANIFEST.json").read_text())["files"])
            except FAULTS as error:
                self._manifest = [failed("MANIFEST.json", "", f"cannot be read: {error!r}")]
        self.every = self.present | set(self.listed)

    @abstractmethod
    def covered(self) -> set[str]:
        """The files that are compared, present or only listed."""

    @abstractmethod
    def comparisons(self) -> Iterator[Row]:
        """A row or more for each of them."""

    def rows(self) -> list[Row]:
        """Empty where the folder holds nothing that is covered."""
        return [] if self.present.isdisjoint(self.covered()) else [*self._manifest, *self.comparisons()]

    def compared(self, file: str, what: str, values: Callable[[], Ours]) -> Iterator[Row]:
        """A row for each value of ``file``; one for ``what`` where they end with a fault."""
        try:
            for name, ours, tolerance, how, theirs in (Value(*value) for value in values()):
                label = f"{name} {how}".rstrip()
                try:
                    theirs = self.numbers(file)[name] if theirs is None else theirs
                    yield Row(file, label, difference(ours, theirs), tolerance)
                except FAULTS as error:
                    yield failed(file, label, error)
        except FAULTS as error:
            yield failed(file, what, error)

    def cases(self, file: str, ending: str, values: Callable[[Numbers, str], Ours]) -> list[Row]:
        """The rows of each case of a file: a name to which its tensors, ``ending`` among them, add theirs."""
        try:
            cases = self.numbers(file).cases(ending)
        except Unusable as error:
            return [failed(file, "", error)]
        if not cases:
            return [failed(file, "", f"no tensor's name ends in {ending}")]
        return [row for c in cases for row in self.compared(file, c, lambda c=c: values(self.numbers(file), c))]

    def _numbers(self, file: str) -> Numbers:
        if file not in self.present:
            raise Unusable(f"{file} is missing")
        entry = self.listed.get(file)
        tensors = entry.get("tensors") if isinstance(entry, dict) else None
        return Numbers(self.folder / file, tensors if isinstance(tensors, dict) else ())


def table(rows: list[Row]) -> Table:
    """What is off line by line; of the rest the largest difference per file and tolerance."""
    out = Table(title="Largest absolute difference to the official release", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "difference", "bound", "file", "what"):
        out.add_column(column, no_wrap=column != "what", overflow="fold")
    for file in dict.fromkeys(row.file for row in rows):
        lines = [row for row in rows if row.file == file and row.off]
        for tolerance in sorted({row.tolerance for row in rows if row.file == file}):
            fine = [row for row in rows if row.file == file and row.tolerance == tolerance and not row.off]
            if fine:
                worst = max(fine, key=lambda row: row.difference)
                lines.append(worst._replace(what=f"{len(fine)} values") if len(fine) > 1 else worst)
        for row in lines:
            name = file if row is lines[0] else ""
            if row.difference < 0:
                out.add_row("not here", "", "", name, "")
                continue
            verdict = "[red]off[/]" if row.off else "?" if row.note else "[green]equal[/]"
            out.add_row(verdict, f"{row.difference:.3g}", f"{row.tolerance:g}", name, escape(row.what))
    return out


def report(kind: type[Folder], program: str, arguments: list[str] | None) -> int:
    """The command line of a comparison: prints the table and what there is to say; the exit status."""
    parser = argparse.ArgumentParser(prog=program, description="Ours against the official release's.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    rows = kind(folder).rows() if folder.is_dir() else []
    if not rows:
        why = f"nothing to compare; {', '.join(kind.covers)} or their pictures expected"
        print(f"{folder}: {why if folder.is_dir() else 'no such folder'}.", file=sys.stderr)
        return 2
    console = Console()
    console.print(table(rows))
    for row in rows:
        if row.note:
            text = f"{row.file}: {row.what + ': ' if row.what else ''}{row.note}"
            console.print(escape(text), soft_wrap=True)
    files, off = {row.file for row in rows if row.difference >= 0}, {row.file for row in rows if row.off}
    console.print(
        f"{len(files)} files, {len(off)} off" + (f": {', '.join(sorted(off))}" if off else "."), soft_wrap=True
    )
    return 1 if off else 0
