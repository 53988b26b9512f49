"""Looking through a source: what the container says, then every frame decoded once, small."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.columns import rounded
from pipelines.work.stage import Row, Stage

MISSING_SHARE = 0.02
"""A file that lacks more than this of its declared frames was cut off or damaged."""
LONGEST_GAP = 1.0
"""Seconds without a frame that end a span: something is missing, or nothing was shown."""
KEY_FRAMES = 6
"""Key frames on which bars are looked for before the source is decoded."""
DECODED_PER_SECOND = 30e6
"""Pixels of video that even a slow machine scans in a second, 14 frames of 1080p: the deadline of a source."""
LEAST_BITS = 0.005
"""Bits a pixel that a video takes at least: so much can a file hold, whatever its header says. 1080p at 30 fps with
hardly anything that moves takes 0.02 (1 Mbit/s); what takes less is decoded much faster too.
"""
LONGEST_SCAN = 12 * 3600.0
"""Seconds. Nobody waits longer for one file: 1080p at 30 fps for three hours, 4K for three quarters of one."""
LAST_MOMENT = 30 * 86400.0
"""Seconds. No source is longer than a month: a later time is damage."""


@dataclass(frozen=True)
class Probe(Stage):
    """What the container says. No frame can be decoded: fault ``unreadable``."""

    reads: ClassVar = ("path",)
    writes: ClassVar = (
        "container", "codec", "width", "height", "rotation", "source_fps", "declared_frames", "fault", "error",
    )  # fmt: skip

    def seconds_allowed(self, row: Row) -> float:
        from pipelines.ingest import fetching

        return self.deadline + fetching.seconds(row)

    def __call__(self, row: Row) -> Row:
        from model import video
        from pipelines.ingest.fetching import local

        path = local(row)
        try:
            info = video.probe(path)
        except video.UnreadableVideo as error:
            return {"fault": "unreadable", "error": without_path(error, path)}
        return {
            "container": info.container,
            "codec": info.codec,
            "width": info.width,
            "height": info.height,
            "rotation": info.rotation,
            "source_fps": info.fps,
            "declared_frames": info.declared_frames,
        }


@dataclass(frozen=True)
class Scan(Stage):
    """Decodes every frame once. ``signals`` are a :class:`pipelines.scan.signals.Signals`.

    Where frames are corrupt, nothing is used up to the next sound key frame. Where decoding fails, times run backwards
    or the picture's size changes, nothing after it is used. ``error`` then says what was found; it is MakeWindows that
    knows whether anything is left.
    """

    reads: ClassVar = ("path", "source_bytes", "width", "height", "declared_frames")
    writes: ClassVar = (
        "source_seconds", "source_frames", "corrupt_frames", "fps_variation", "bits_per_pixel", "short_side", "crop",
        "fault", "error",
    )  # fmt: skip
    local: ClassVar = ("signals", "damage")
    memory: ClassVar = 1 * 2**30

    def seconds_allowed(self, row: Row) -> float:
        """Twice over, since a source may be decoded again with other bars. Headers may say anything, the size of a
        file bounds what it holds. Getting the file comes on top: its copy may have been removed since it was probed.
        """
        from pipelines.ingest import fetching

        pixels = (row.get("source_bytes") or 0) * 8 / LEAST_BITS
        if row.get("declared_frames"):
            pixels = min(pixels, row["declared_frames"] * row["width"] * row["height"])
        return min(self.deadline + 2 * pixels / DECODED_PER_SECOND, LONGEST_SCAN) + fetching.seconds(row)

    def __call__(self, row: Row) -> Row:
        if row.get("fault"):
            return {"signals": None, "damage": None}
        import cv2

        from pipelines.ingest.fetching import local

        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # flow depends on how many there are, and one takes the least CPU time
        try:
            return self._scan(row, local(row))
        finally:
            cv2.setNumThreads(threads)

    def _scan(self, row: Row, path) -> Row:
        from model import video

        try:
            pass_ = _Pass(path, _crop_by_key_frames(path))
            if (better := pass_.better_crop()) is not None:
                pass_ = _Pass(path, better)
        except video.UnreadableVideo as error:
            return {"signals": None, "damage": None, "fault": "unreadable", "error": without_path(error, path)}
        times, declared = np.array(pass_.times), row["declared_frames"]
        if pass_.geometry is None or len(times) == 0:
            return {"signals": None, "damage": None, "fault": "damaged", "error": "no frame of it is whole"}
        damage = pass_.damage
        if damage is None and (missing := declared - pass_.decoded) > MISSING_SHARE * declared:
            damage = f"{missing} of {declared} declared frames are missing"
        damage = without_path(damage, path) if damage else None
        steps = np.diff(times)
        end = times[-1] + (times[-1] / (len(times) - 1) if len(times) > 1 else 0)
        spread = float(np.subtract(*np.percentile(steps, [95, 5])) / np.median(steps)) if len(steps) else 0.0
        crop = pass_.geometry.upright()
        return {
            "signals": pass_.recorder.signals,
            "damage": damage,
            "source_seconds": rounded(end),
            "source_frames": pass_.decoded,
            "corrupt_frames": pass_.corrupt,
            "fps_variation": rounded(spread),
            "bits_per_pixel": rounded(row["source_bytes"] * 8 / (row["width"] * row["height"] * pass_.decoded)),
            "crop": list(crop),
            "short_side": float(min(crop[2:])),
        }


class _Pass:
    """All frames of a source through a Recorder, once, cropped as ``crop`` says (stored pixels; None: not)."""

    def __init__(self, path, crop):
        from model import video

        self.times: list[float] = []
        self.geometry = self.recorder = None
        self.decoded = self.corrupt = 0
        self.damage: str | None = None
        self._broken = self._mended = False
        stream = video.raw_frames(path)
        while True:
            try:
                raw = next(stream, None)
            except video.UnreadableVideo as error:
                if not self.decoded:
                    raise
                self.damage = str(error)
                break
            if raw is None or not self._take(raw, crop):
                break
        stream.close()
        if self.recorder is not None:
            self._end_span(broken=self.damage is not None)

    def _take(self, raw, crop) -> bool:
        """Whether to go on."""
        from pipelines.scan.pictures import Geometry, planes
        from pipelines.scan.signals import Recorder

        geometry = Geometry.of(raw)
        if self.geometry is None:
            fits = crop is not None and crop[0] + crop[2] <= geometry.height and crop[1] + crop[3] <= geometry.width
            self.whole = geometry
            self.geometry = Geometry(*vars(geometry).values()) if not fits else _cropped(geometry, crop)
            self.recorder = Recorder(self.geometry)
        if geometry != self.whole:
            self.damage = f"the size of its pictures changes after {self.decoded} frames"
            return False
        self.decoded += 1
        if raw.time is None or raw.picture.is_corrupt:
            self.corrupt += 1
            self._end_span(broken=True)
            self._broken = self._mended = True
            return True
        if self._broken and not raw.picture.key_frame:
            return True
        self._broken = False
        if self.times and raw.time <= self.times[-1]:
            self.damage = f"its times run backwards after {self.decoded} frames"
            return False
        if raw.time > LAST_MOMENT:
            self.damage = f"its times leap to {raw.time:g} s after {self.decoded} frames"
            return False
        if self.times and raw.time - self.times[-1] > LONGEST_GAP:
            self._end_span(broken=True)
            self._mended = True
        self.times.append(raw.time)
        self.recorder.add(raw.time, planes(raw.picture))
        return True

    def _end_span(self, broken: bool) -> None:
        self.recorder.end_span(broken_before=self._mended, broken_after=broken)

    def better_crop(self):
        """Where all samples together show other bars than were cropped: the crop without them, else None."""
        from pipelines.scan import letterbox

        if self.recorder is None or not self.recorder.signals.samples:
            return None
        samples = self.recorder.signals.samples
        rows, columns = (np.max([getattr(s, name) for s in samples], axis=0) for name in ("rows", "columns"))
        turned = self.geometry.rotation // 90
        inside = _as_stored(letterbox.picture_inside(rows, columns), turned)
        top, left, height, width = self.geometry.crop
        tall, wide = self.geometry.height, self.geometry.width
        now = top / tall, (top + height) / tall, left / wide, (left + width) / wide
        if max(abs(a - b) for a, b in zip(inside, now, strict=True)) <= letterbox.SMALLEST:
            return None
        return _stored_crop(inside, tall, wide)


def _crop_by_key_frames(path):
    """The picture without bars in stored pixels, of what a few key frames show; None: no key frame was found."""
    from model import video
    from pipelines.scan import letterbox
    from pipelines.scan.pictures import planes

    rows, columns, size = [], [], None
    for raw in video.key_frames(path, KEY_FRAMES):
        picture = planes(raw.picture)
        size = size or picture.luma.shape
        if picture.luma.shape == size:
            fine = max(1, min(size) // 135)  # a part of each line's pixels tells as much
            rows.append(letterbox.profiles(picture.to_full_range(np.ascontiguousarray(picture.luma[:, ::fine])))[0])
            columns.append(letterbox.profiles(picture.to_full_range(np.ascontiguousarray(picture.luma[::fine])))[1])
    if size is None:
        return None
    return _stored_crop(letterbox.picture_inside(np.max(rows, axis=0), np.max(columns, axis=0)), *size)


def _stored_crop(inside, height: int, width: int):
    """Even pixels, inwards: chroma has half the lines, and a bar's edge is blurred."""
    top, bottom = (2 * int(np.ceil(inside[0] * height / 2))), 2 * int(inside[1] * height / 2 + 1e-6)
    left, right = (2 * int(np.ceil(inside[2] * width / 2))), 2 * int(inside[3] * width / 2 + 1e-6)
    bottom, right = (height if inside[1] == 1 else bottom), (width if inside[3] == 1 else right)
    return top, left, max(2, bottom - top), max(2, right - left)


def _cropped(geometry, crop):
    import dataclasses

    return dataclasses.replace(geometry, crop=crop)


def _as_stored(inside, quarter_turns: int):
    """(top, bottom, left, right) shares of the upright picture, in the picture as stored."""
    top, bottom, left, right = inside
    for _ in range(quarter_turns % 4):  # back, clockwise: what was left comes up
        top, bottom, left, right = left, right, 1 - bottom, 1 - top
    return top, bottom, left, right


def without_path(error: Exception | str, path) -> str:
    """A unit belongs to content: what it says must not depend on the file's name or place."""
    return str(error).replace(f"{path}: ", "").replace(str(path), "file")
