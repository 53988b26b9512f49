"""Our numbers and pictures against the official release's: `python -m model.pose.parity DIR`.

DIR holds the release's inputs and results as safetensors (a JSON text ``meta`` in their metadata) and PNG:

- pose_convert.safetensors: 133 joints to OpenPose points and to a drawn map, for one person and for several
- draw_inputs.safetensors with draw_*canvas*.png: the renderer, on canvases of the pictures' sizes
- align.safetensors with align_frame<index>_rgb.png: alignment, its ratios, and the frames drawn from it
- aug.safetensors with aug_frame<index>_rgb.png: the negative pose, its draws repeated from the seed

A table shows the largest absolute difference of everything that is there. Exit status: 0 all within tolerance; 1 a file
is off, unreadable, incomplete, or missing though MANIFEST.json names it; 2 no folder, or nothing in it to compare.
"""

import re
import sys
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from model.pose.comparison import EXACT, FAULTS, Folder, Ours, Row, Unusable, difference, failed, report, unjudged
from model.pose.drawing import draw_openpose
from model.pose.parity_values import alignment, augmentation, conversions, released
from model.pose.wholebody import OfficialPose, OpenPose, from_official

CONVERSIONS, DRAWING = "pose_convert.safetensors", "draw_inputs.safetensors"
ALIGNED, AUGMENTED = "align.safetensors", "aug.safetensors"
PICTURES = {
    DRAWING: r"draw_.*canvas.*\.png",
    ALIGNED: r"align_frame(\d+)_rgb\.png",
    AUGMENTED: r"aug_frame(\d+)_rgb\.png",
}

Drawn = Callable[[str, tuple[int, int]], Iterator[np.ndarray]]
"""Name of a picture, (height, width) -> what it may show, RGB, the likeliest first."""


class Comparison(Folder):
    covers = (CONVERSIONS, *PICTURES)

    def covered(self) -> set[str]:
        return {CONVERSIONS, *PICTURES, *sum(self._pictures().values(), [])}

    def comparisons(self) -> Iterator[Row]:
        pictures = self._pictures()
        if CONVERSIONS in self.every:
            yield from self.cases(CONVERSIONS, ".kps133", conversions)
        kinds = (DRAWING, self._drawing), (ALIGNED, self._alignment), (AUGMENTED, self._augmentation)
        for file, compare in kinds:
            if file in self.every or pictures[file]:
                yield from compare(pictures[file])

    def _pictures(self) -> dict[str, list[str]]:
        return {file: sorted(n for n in self.every if re.fullmatch(p, n)) for file, p in PICTURES.items()}

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
        rows = self.cases(ALIGNED, ".video.kps", lambda n, case: alignment(n, case, poses.setdefault(case, [])))
        case = "normal" if "normal" in poses else next(iter(poses), "normal")
        return rows + [self._picture(n, self._frame(ALIGNED, case, poses.get(case, []))) for n in names]

    def _augmentation(self, names: list[str]) -> list[Row]:
        poses: list[OpenPose] = []

        def values() -> Ours:
            numbers = self.numbers(AUGMENTED)
            # Made in one run with align.safetensors, it does not repeat the video's size.
            where = numbers if "video_wh" in numbers else self.numbers(ALIGNED)
            yield from augmentation(numbers, where["video_wh"], poses)

        rows = list(self.compared(AUGMENTED, "", values))
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


def main(arguments: list[str] | None = None) -> int:
    return report(Comparison, "python -m model.pose.parity", arguments)


if __name__ == "__main__":
    sys.exit(main())
