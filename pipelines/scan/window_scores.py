"""The scores of a window that need no person: from the signals of its source, over its span."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.columns import rounded
from pipelines.scan import camera, letterbox
from pipelines.scan.fingerprints import fingerprint
from pipelines.scan.signals import Pair, Sample, Signals
from pipelines.work.stage import Row, Stage

STAYS = 0.8
"""Share of the samples in which text that stays in its place is seen there."""


@dataclass(frozen=True)
class ScoreWindow(Stage):
    """Light, sharpness, motion, camera, text, bars and the fingerprint of a window; of a shot too short for one, of
    the shot. A score that has nothing to look at is None.
    """

    reads: ClassVar = ("signals",)
    writes: ClassVar = (
        "brightness", "contrast", "blur", "pixel_change", "motion", "moving_area", "camera_motion", "camera_shake",
        "flash", "cut", "text_area", "watermark_area", "letterbox", "fingerprint",
    )  # fmt: skip

    def __call__(self, row: Row) -> Row:
        signals: Signals | None = row["signals"]
        if signals is None or "shot_start" not in row:
            return {}
        if row.get("start") is None:
            begin, end = row["shot_start"], row["shot_end"]
        else:
            begin, end = row["start"], row["start"] + row["frames"] / row["fps"]
        return {
            **of_samples(signals.samples_in(begin, end)),
            **of_pairs(signals.pairs_in(begin, end)),
            "cut": rounded(signals.cut_sign(begin, end)),
            "fingerprint": fingerprint(signals.hashes_in(begin, end)),
            "flash": rounded(signals.flashes_in(begin, end) / max(end - begin, 1e-6)),
        }


def of_samples(samples: list[Sample]) -> Row:
    if not samples:
        return {}
    text = np.stack([sample.text for sample in samples]) / 255
    staying = np.quantile(text, 1 - STAYS, axis=0, method="lower")
    rows, columns = np.max([s.rows for s in samples], axis=0), np.max([s.columns for s in samples], axis=0)
    top, bottom, left, right = letterbox.picture_inside(rows, columns)
    return {
        "brightness": rounded(np.mean([sample.brightness for sample in samples])),
        "contrast": rounded(np.mean([sample.contrast for sample in samples])),
        "blur": rounded(np.median([sample.blur for sample in samples])),
        "text_area": rounded(text.mean()),
        "watermark_area": rounded(staying.mean()),
        "letterbox": rounded(1 - (bottom - top) * (right - left)),
    }


def of_pairs(pairs: list[Pair]) -> Row:
    if not pairs:
        return {}
    seconds = np.array([pair.end - pair.begin for pair in pairs])
    steps = np.array([(*pair.moved.shift, pair.moved.turn, pair.moved.zoom) for pair in pairs])
    return {
        "pixel_change": rounded(np.mean([pair.change for pair in pairs])),
        "motion": rounded(np.sum([pair.moved.content for pair in pairs]) / seconds.sum()),
        "moving_area": rounded(np.mean([pair.moved.moving for pair in pairs])),
        "camera_motion": rounded(np.sum([pair.moved.camera for pair in pairs]) / seconds.sum()),
        "camera_shake": rounded(camera.shake(steps, seconds)),
    }
