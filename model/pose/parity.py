"""Our numbers and pictures against the official release's: `python -m model.pose.parity DIR`.

DIR holds the release's inputs and results as safetensors (a JSON text ``meta`` in their metadata) and PNG:

- pose_convert.safetensors: 133 joints to OpenPose points and to a drawn map, for one person and for several
- draw_inputs.safetensors with draw_*canvas*.png: the renderer, on canvases of the pictures' sizes
- align.safetensors with align_frame<index>_rgb.png: alignment, its ratios, and the frames drawn from it
- aug.safetensors with aug_frame<index>_rgb.png: the negative pose, its draws repeated from the seed

A table shows the largest absolute difference of everything that is there. Exit status: 0 all within tolerance; 1 a file
is off, unreadable, incomplete, or missing though MANIFEST.json names it; 2 no folder, or nothing in it to compare.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.errors import SteadyDancerError
from model.pose.drawing import draw_openpose
from model.pose.parity_values import (
    EXACT,
    Numbers,
    Ours,
    Unusable,
    alignment,
    augmentation,
    conversions,
    difference,
    released,
)
from model.pose.wholebody import OfficialPose, OpenPose, from_official

CONVERSIONS, DRAWING = "pose_convert.safetensors", "draw_inputs.safetensors"
ALIGNED, AUGMENTED = "align.safetensors", "aug.safetensors"
PICTURES = {
    DRAWING: r"draw_.*canvas.*\.png",
    ALIGNED: r"align_frame(\d+)_rgb\.png",
    AUGMENTED: r"aug_frame(\d+)_rgb\.png",
}

# What a file with the wrong types, numbers of dimensions, frames or persons leads to.
FAULTS = (Unusable, SteadyDancerError, ValueError, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError)


class Row(NamedTuple):
    file: str
    what: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def off(self) -> bool:
        return not self.difference <= self.tolerance


Drawn = Callable[[str, tuple[int, int]], Iterator[np.ndarray]]
"""Name of a picture, (height, width) -> what it may show, RGB, the likeliest first."""


def unjudged(row: Row, why: object) -> Row:
    """A picture whose numbers are at fault."""
    return row._replace(tolerance=np.inf, note=str(why))


def failed(file: str, what: str, error: object) -> Row:
    return Row(file, what, np.inf, EXACT, str(error))


class Comparison:
    """All that a folder holds, or should hold by its MANIFEST.json."""

    def __init__(self, folder: Path):
        self.folder, self.numbers = folder, cache(self._numbers)
        self.present = {path.name for path in folder.iterdir() if path.is_file()}
        self.listed: dict[str, Any] = {}
        self.manifest: list[Row] = []
        if "MANIFEST.json" in self.present:
            try:
                self.listed = dict(json.loads((folder / "MANIFEST.json").read_text())["files"])
            except FAULTS as error:
                self.manifest = [failed("MANIFEST.json", "", f"cannot be read: {error!r}")]

    def rows(self) -> list[Row]:
        """Empty where the folder holds nothing that is covered."""
        every = self.present | set(self.listed)
        pictures = {f: sorted(n for n in every if re.fullmatch(pattern, n)) for f, pattern in PICTURES.items()}
        if self.present.isdisjoint([CONVERSIONS, *PICTURES, *sum(pictures.values(), [])]):
            return []
        rows = self.manifest.copy()
        if CONVERSIONS in every:
            rows += self._cases(CONVERSIONS, ".kps133", conversions)
        if DRAWING in every or pictures[DRAWING]:
            rows += self._drawing(pictures[DRAWING])
        for file, compare in ((ALIGNED, self._alignment), (AUGMENTED, self._augmentation)):
            if file in every or pictures[file]:
                rows += compare(pictures[file])
        return rows

    def _numbers(self, file: str) -> Numbers:
        if file not in self.present:
            raise Unusable(f"{file} is missing")
        tensors = (self.listed.get(file) or {}).get("tensors", {})
        return Numbers(self.folder / file, tensors if isinstance(tensors, dict) else ())

    def _compared(self, file: str, what: str, values: Callable[[], Ours]) -> Iterator[Row]:
        try:
            numbers = self.numbers(file)
            for name, ours, tolerance in values():
                try:
                    yield Row(file, name, difference(ours, numbers[name]), tolerance)
                except FAULTS as error:
                    yield failed(file, name, error)
        except FAULTS as error:
            yield failed(file, what, error)

    def _cases(self, file: str, ending: str, values: Callable[[Numbers, str], Ours]) -> list[Row]:
        try:
            cases = self.numbers(file).cases(ending)
        except Unusable as error:
            return [failed(file, "", error)]
        if not cases:
            return [failed(file, "", f"no tensor's name ends in {ending}")]
        return [row for c in cases for row in self._compared(file, c, lambda c=c: values(self.numbers(file), c))]

    def _drawing(self, names: list[str]) -> list[Row]:
        def drawn(name: str, size: tuple[int, int]) -> Iterator[np.ndarray]:
            numbers = self.numbers(DRAWING)
            candidate, subset, hands, faces = (numbers[part] for part in OfficialPose._fields)
            # The renderer takes the first person and the first two hands.
            pose = from_official(OfficialPose(candidate[:18], subset[:1], hands[:2], faces[:1]))[0]
            yield draw_openpose(pose, size, face="face" in name)[..., ::-1]

        rows = [self._picture(name, drawn) for name in names]
        try:
            self.numbers(DRAWING)
        except Unusable as error:
            return [failed(DRAWING, "", error), *rows]
        if not rows:
            return [failed(DRAWING, "", "no draw_*canvas*.png beside it")]
        nearest = min(row.difference for row in rows)
        if nearest > EXACT and len(rows) > 1:
            rows = [unjudged(row, f"{DRAWING} is off") for row in rows]
            return [Row(DRAWING, "", nearest, EXACT, "no picture is drawn from its numbers"), *rows]
        return [Row(DRAWING, "pixels", nearest, EXACT), *rows]

    def _alignment(self, names: list[str]) -> list[Row]:
        poses: dict[str, list[OpenPose]] = {}
        rows = self._cases(ALIGNED, ".video.kps", lambda n, case: alignment(n, case, poses.setdefault(case, [])))
        case = "normal" if "normal" in poses else next(iter(poses), "normal")
        return rows + [self._picture(n, self._frame(ALIGNED, case, poses.get(case, []))) for n in names]

    def _augmentation(self, names: list[str]) -> list[Row]:
        poses: list[OpenPose] = []

        def values() -> Ours:
            numbers = self.numbers(AUGMENTED)
            # Made in one run with align.safetensors, it does not repeat the video's size.
            where = numbers if "video_wh" in numbers else self.numbers(ALIGNED)
            yield from augmentation(numbers, where["video_wh"], poses)

        rows = list(self._compared(AUGMENTED, "", values))
        return rows + [self._picture(n, self._frame(AUGMENTED, "neg", poses)) for n in names]

    def _frame(self, file: str, prefix: str, poses: list[OpenPose]) -> Drawn:
        """Frame <index>, drawn from our numbers and from the file's: where these differ, the file is off by itself."""

        def drawn(name: str, size: tuple[int, int]) -> Iterator[np.ndarray]:
            index = int(re.fullmatch(PICTURES[file], name)[1])
            yield from (draw_openpose(pose[index], size) for pose in poses)
            yield draw_openpose(released(self.numbers(file), prefix)[index], size)

        return drawn

    def _picture(self, name: str, drawn: Drawn) -> Row:
        try:
            if name not in self.present:
                raise Unusable("is missing")
            picture = cv2.imread(str(self.folder / name), cv2.IMREAD_COLOR)
            if picture is None:
                raise Unusable("cannot be read as a picture")
        except Unusable as error:
            return failed(name, "pixels", error)
        apart = np.inf
        try:
            for ours in drawn(name, picture.shape[:2]):
                apart = min(apart, difference(ours, picture[..., ::-1]))
                if apart == 0:
                    break
        except Unusable as error:
            return unjudged(Row(name, "pixels", apart, EXACT), error)
        except FAULTS as error:
            return failed(name, "pixels", error)
        return Row(name, "pixels", apart, EXACT)


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
            verdict = "[red]off[/]" if row.off else "?" if row.note else "[green]equal[/]"
            name = file if row is lines[0] else ""
            out.add_row(verdict, f"{row.difference:.3g}", f"{row.tolerance:g}", name, row.what)
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.pose.parity", description="Ours against the release's.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    rows = Comparison(folder).rows() if folder.is_dir() else []
    if not rows:
        why = f"nothing to compare; {', '.join((CONVERSIONS, *PICTURES))} or their pictures expected"
        print(f"{folder}: {why if folder.is_dir() else 'no such folder'}.", file=sys.stderr)
        return 2
    console = Console()
    console.print(table(rows))
    for row in rows:
        if row.note:
            console.print(f"{row.file}: {row.what + ': ' if row.what else ''}{escape(row.note)}", soft_wrap=True)
    files, off = {row.file for row in rows}, {row.file for row in rows if row.off}
    console.print(
        f"{len(files)} files, {len(off)} off" + (f": {', '.join(sorted(off))}" if off else "."), soft_wrap=True
    )
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
