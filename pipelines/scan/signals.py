"""What is measured of a source, moment by moment, while it is decoded once. Windows are scored from it alone.

An hour at 30 fps takes some 190 MB: 1 kB a frame while its span lasts, most of it a tiny picture to tell cuts by, and,
twice a second, some 10 kB that stay, most of it a thumbnail (JPEG).
"""

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from pipelines.scan import camera, letterbox, lettering, sharpness, shots
from pipelines.scan.fingerprints import PER_SECOND, picture_hash
from pipelines.scan.pictures import Geometry, Planes, small_colour, small_luma
from pipelines.scan.shots import CutDetector, Shot

SMALL_SIDE = 160
"""Pixels of the shorter side at which light, motion and bars are looked at."""
CUT_SIDE = 80
"""Pixels of the shorter side at which cuts are looked for, in colour."""
SAMPLE_SIDE = 480
"""Pixels of the shorter side at which sharpness and text are looked at."""
SAMPLES_PER_SECOND = 2
FLOWS_PER_SECOND = 8
TINY = 12
THUMBNAIL_SIDE = 120
MOMENT = 1e-3
"""Seconds: containers round times."""


@dataclass(frozen=True)
class Sample:
    """One of the pictures that are looked at closely."""

    time: float
    brightness: float
    contrast: float
    blur: float
    text: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    thumbnail: bytes


@dataclass(frozen=True)
class Pair:
    """Two pictures some 1/8 s apart."""

    begin: float
    end: float
    change: float
    moved: camera.Moved


@dataclass
class Signals:
    """All spans of a source joined. A span is a run of sound frames; nothing here reaches from one into another."""

    shots: list[Shot] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    hashes: list[tuple[float, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cut_signs: list[float] = field(default_factory=list)
    flashes: list[float] = field(default_factory=list)

    def samples_in(self, begin: float, end: float) -> list[Sample]:
        first, last = np.searchsorted(self._sample_times, (begin - MOMENT, end - MOMENT))
        return self.samples[first:last]

    def pairs_in(self, begin: float, end: float) -> list[Pair]:
        """Those that begin and end inside."""
        first = np.searchsorted(self._pair_begins, begin - MOMENT)
        last = np.searchsorted(self.pair_ends, end - MOMENT)
        return self.pairs[first:last]

    def cut_sign(self, begin: float, end: float) -> float:
        """The highest after ``begin``: the first frame of a window has none before it."""
        first = np.searchsorted(self._frame_times, begin + MOMENT, side="right")
        last = np.searchsorted(self._frame_times, end, side="left")
        return max(self.cut_signs[first:last], default=0.0)

    def hashes_in(self, begin: float, end: float) -> list[int]:
        first, last = np.searchsorted(self._hash_times, (begin - MOMENT, end - MOMENT))
        return [value for _, value in self.hashes[first:last]]

    def flashes_in(self, begin: float, end: float) -> int:
        first, last = np.searchsorted(self.flashes, (begin - MOMENT, end - MOMENT))
        return int(last - first)

    # of an hour these are long: an array each, made when the first window is asked for

    @cached_property
    def _sample_times(self) -> np.ndarray:
        return np.array([sample.time for sample in self.samples])

    @cached_property
    def _hash_times(self) -> np.ndarray:
        return np.array([time for time, _ in self.hashes])

    @cached_property
    def _pair_begins(self) -> np.ndarray:
        return np.array([pair.begin for pair in self.pairs])

    @cached_property
    def _frame_times(self) -> np.ndarray:
        return np.array(self.times)

    @cached_property
    def pair_ends(self) -> np.ndarray:
        return np.array([pair.end for pair in self.pairs])

    @cached_property
    def motion_before(self) -> np.ndarray:
        """(pairs + 1,): what moved, in picture heights, in all pairs before each."""
        return np.concatenate([[0.0], np.cumsum([pair.moved.content for pair in self.pairs])])


class Recorder:
    """Takes the sound frames of a source in their order and keeps their signals."""

    def __init__(self, geometry: Geometry):
        self.signals = Signals()
        self._geometry = geometry
        whole = (0, 0, geometry.height, geometry.width)
        self._uncropped = Geometry(geometry.height, geometry.width, geometry.rotation, geometry.pixel_aspect, whole)
        self._flow = camera.new_flow()
        self._next_sample = self._next_hash = self._next_pair = 0
        self._begin_span()

    def _begin_span(self) -> None:
        self._cuts, self._times, self._tiny, self._brightness = CutDetector(), [], [], []
        self._before: tuple[float, np.ndarray] | None = None

    def add(self, time: float, planes: Planes) -> None:
        """The next frame of the span. Times rise."""
        luma = small_luma(planes, self._geometry, SMALL_SIDE)
        colour = small_colour(planes, self._geometry, CUT_SIDE)
        self._cuts.add(colour)
        self._times.append(time)
        self._tiny.append(cv2.resize(colour, (TINY, TINY), interpolation=cv2.INTER_AREA))
        self._brightness.append(cv2.mean(luma)[0])
        if time >= self._next_hash / PER_SECOND - MOMENT:
            self._next_hash = int((time + MOMENT) * PER_SECOND) + 1
            self.signals.hashes.append((time, picture_hash(luma)))
        if time >= self._next_sample / SAMPLES_PER_SECOND - MOMENT:
            self._next_sample = int((time + MOMENT) * SAMPLES_PER_SECOND) + 1
            self.signals.samples.append(self._sample(time, planes))
        if time >= self._next_pair / FLOWS_PER_SECOND - MOMENT:
            self._next_pair = int((time + MOMENT) * FLOWS_PER_SECOND) + 1
            if self._before is not None:
                self.signals.pairs.append(self._pair(*self._before, time, luma))
            self._before = time, luma

    def _sample(self, time: float, planes: Planes) -> Sample:
        colour = small_colour(planes, self._geometry, SMALL_SIDE)
        luma = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
        closer = small_luma(planes, self._geometry, SAMPLE_SIDE)
        uncropped = luma if self._geometry.whole else small_luma(planes, self._uncropped, SMALL_SIDE)
        rows, columns = letterbox.profiles(uncropped)
        scale = THUMBNAIL_SIDE / min(luma.shape)
        size = max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale))
        small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        return Sample(
            time=time,
            brightness=float(luma.mean()),
            contrast=float(luma.std()),
            blur=sharpness.blur(closer),
            text=(lettering.text_map(closer) * 255).astype(np.uint8),
            rows=rows,
            columns=columns,
            thumbnail=cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes(),
        )

    def _pair(self, begin: float, before: np.ndarray, end: float, after: np.ndarray) -> Pair:
        change = float(cv2.absdiff(before, after).mean())
        if min(after.shape) < 2 * camera.STEP:  # DIS needs some pixels
            return Pair(begin, end, change, camera.Moved((0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0))
        flow = camera.flow_between(before, after, self._flow)
        return Pair(begin, end, change, camera.moved(flow, end - begin))

    def end_span(self, *, broken_before: bool, broken_after: bool) -> None:
        """What was added since the last call is a span; does damage make its ends?"""
        times = self._times
        if times:
            step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
            signs = shots.cut_signs(np.stack(self._tiny), 1 / max(step, MOMENT) if step > 0 else 30.0)
            flashed = shots.flashes(np.array(self._brightness), np.array(times))
            cuts = shots.without_flashes(self._cuts.cuts(), signs, flashed)
            bounds = [times[0], *(times[number] for number in cuts), times[-1] + step]
            for number, (begin, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
                before, after = number > 0 or broken_before, number < len(cuts) or broken_after
                self.signals.shots.append(Shot(round(begin, 6), round(end, 6), before, after))
            self.signals.times += times
            self.signals.cut_signs += signs.tolist()
            self.signals.flashes += [times[first] for first, _ in flashed]
        self._begin_span()
