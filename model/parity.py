"""Our numbers against the official release's: `python -m model.parity DIR`.

DIR holds the release's inputs and results, as safetensors (a JSON text ``meta`` in their metadata) and JSON:

- modules.safetensors: the three parts that read a pose, each on its own
- dit_case_*.safetensors with dit_tiny_weights and dit_clip_inputs: forwards of a small model, with what passes through
- schedulers.safetensors: the solvers' timesteps, noise levels, and where they lead
- resolutions.json: sizes for an area and a picture; clip_preprocess.safetensors: the pixels that CLIP sees
- pipeline_toy.safetensors: the whole generation with toy encoders and a toy model
- all that :mod:`model.pose.parity` compares

A table shows the largest absolute difference of everything that is there. Exit status: 0 all within tolerance; 1 a file
is off, unreadable, incomplete, or missing though MANIFEST.json names it (a dit_case_* or pipeline_toy.safetensors may
be missing); 2 no folder, or nothing in it to compare.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from model.parity_pipeline import generations
from model.parity_values import (
    POSE_MODULES,
    clip_pixels,
    features,
    forward,
    load_weights,
    modules,
    schedule,
    sizes,
    weights,
)
from model.pose.comparison import FAULTS, Ours, Row, Unusable, absent, failed, report, unjudged
from model.pose.parity import Comparison as PoseComparison
from model.transformer import SteadyDancerTransformer

MODULES, SCHEDULERS, SIZES = "modules.safetensors", "schedulers.safetensors", "resolutions.json"
PIXELS, PIPELINE = "clip_preprocess.safetensors", "pipeline_toy.safetensors"
WEIGHTS, CLIP, CASE = "dit_tiny_weights.safetensors", "dit_clip_inputs.safetensors", r"dit_case_.*\.safetensors"


class Comparison(PoseComparison):
    covers = (MODULES, "dit_case_*.safetensors", SCHEDULERS, SIZES, PIXELS, PIPELINE, *PoseComparison.covers)

    def covered(self) -> set[str]:
        return super().covered() | {MODULES, SCHEDULERS, SIZES, PIXELS, PIPELINE, WEIGHTS, CLIP, *self._named()}

    def comparisons(self) -> Iterator[Row]:
        if MODULES in self.every:
            for name in POSE_MODULES:
                yield from self.compared(MODULES, name, lambda n=name: modules(self.numbers(MODULES), n))
        yield from self._forwards()
        if SCHEDULERS in self.every:
            yield from self._schedules()
        if SIZES in self.every:
            yield from self.compared(SIZES, "", self._sizes)
        if PIXELS in self.every:
            yield from self.compared(PIXELS, "", lambda: clip_pixels(self.numbers(PIXELS)))
        if PIPELINE in self.present:
            yield from self.compared(PIPELINE, "", lambda: generations(self.numbers(PIPELINE)))
        elif PIPELINE in self.every:
            yield absent(PIPELINE, "named in MANIFEST.json, not here to be compared")
        yield from super().comparisons()

    def _named(self) -> list[str]:
        return sorted(name for name in self.every if re.fullmatch(CASE, name))

    def _forwards(self) -> Iterator[Row]:
        model, read = cache(self._model), []
        for case in self._named():
            if case not in self.present:
                yield absent(case, "named in MANIFEST.json, not here to be compared")
                continue
            rows = [*self.compared(case, "", lambda c=case: forward(self.numbers(c), self.numbers(CLIP), model()))]
            read.append(max(rows, key=lambda row: (row.off, row.difference)))
            yield from rows
        for file in (WEIGHTS, CLIP):
            if file in self.every or read:
                yield from self._inputs(file, model, read)

    def _inputs(self, file: str, model: Callable[[], SteadyDancerTransformer], read: list[Row]) -> Iterator[Row]:
        """What several cases read: all of them are off where it is."""
        try:
            numbers = self.numbers(file)
            values = weights if file == WEIGHTS else features
            yield from self.compared(file, "", lambda: values(numbers, model()))
        except Unusable as error:
            yield failed(file, "", error)
            return
        nearest = min(read, key=lambda row: (row.off, row.difference), default=Row(file, "", 0, np.inf))
        row = nearest._replace(file=file, what="in forwards that read it", note="")
        if not read:
            row = unjudged(row, "no dit_case_* reads it")
        elif row.off and len(read) == 1:
            row = unjudged(row, f"{nearest.file}, which reads it, is off")
        yield row

    def _schedules(self) -> Iterator[Row]:
        try:
            numbers = self.numbers(SCHEDULERS)
            keys = sorted({*numbers["keys"], *numbers.cases(".x_end")})
        except FAULTS as error:
            yield failed(SCHEDULERS, "", error)
            return
        if not keys:
            yield failed(SCHEDULERS, "", "tells of no walk")
        for key in keys:
            yield from self.compared(SCHEDULERS, key, lambda k=key: schedule(numbers, k))

    def _model(self) -> SteadyDancerTransformer:
        return load_weights(self.folder / WEIGHTS, self.numbers(WEIGHTS)["config"])

    def _sizes(self) -> Ours:
        if SIZES not in self.present:
            raise Unusable(f"{SIZES} is missing")
        entries = json.loads((self.folder / SIZES).read_text())
        if not entries:
            raise Unusable("has no entry")
        yield from sizes(entries)


def main(arguments: list[str] | None = None) -> int:
    return report(Comparison, "python -m model.parity", arguments)


if __name__ == "__main__":
    sys.exit(main())
