"""Reading and writing video, on PyAV. Frames are (T, H, W, 3) uint8 RGB, upright (rotation metadata applied)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from infra.errors import SteadyDancerError

SEEK_MARGIN = 1.0
"""Seconds."""
SAME_MOMENT = 1e-3
"""Seconds: containers round the times of their frames, Matroska to a thousandth."""


class UnreadableVideo(SteadyDancerError):
    """The file is no video, is damaged, or holds no frame."""


@dataclass(frozen=True)
class VideoInfo:
    """What the container declares. ``width`` and ``height`` are as seen, after rotation."""

    container: str
    codec: str
    width: int
    height: int
    fps: float
    seconds: float
    declared_frames: int
    rotation: int


def _open(path: Path | str):
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: not a readable video ({error}).") from error
    if not container.streams.video:
        container.close()
        raise UnreadableVideo(f"{path}: holds no video stream.")
    return container


def _rotation(frame: av.VideoFrame) -> int:
    """Counter-clockwise degrees by which the stored picture must be turned to stand upright."""
    return int(frame.rotation) % 360


def _upright(frame: av.VideoFrame) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _rotation(frame) // 90))


def probe(path: Path | str) -> VideoInfo:
    """Container facts, from its header and first frame. Raises UnreadableVideo."""
    with _open(path) as container:
        stream = container.streams.video[0]
        try:
            first = next(container.decode(stream))
        except (av.FFmpegError, StopIteration) as error:
            raise UnreadableVideo(f"{path}: no frame of it can be decoded.") from error
        rotation = _rotation(first)
        width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise UnreadableVideo(f"{path}: declares no frame rate.")
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoInfo(
            container=container.format.name,
            codec=stream.codec_context.name,
            width=width,
            height=height,
            fps=float(rate),
            seconds=seconds,
            declared_frames=stream.frames,
            rotation=rotation,
        )


def frames(path: Path | str, start: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame as (seconds from the first frame, (H, W, 3) upright RGB). Raises UnreadableVideo on damage.

    From a key frame on that lies at least SEEK_MARGIN before ``start``: the cost of a window does not grow with its
    place in the file.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = None
        try:
            if start > SEEK_MARGIN:
                first = next(container.decode(stream), None)
                if first is not None and first.pts is not None:
                    origin = float(first.pts * first.time_base)
                    target = int((origin + start - SEEK_MARGIN) / stream.time_base)
                    container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise UnreadableVideo(f"{path}: a frame is damaged.")
                time = float(frame.pts * frame.time_base)
                origin = time if origin is None else origin
                if frame.is_corrupt:
                    if time - origin < start - SEEK_MARGIN / 2:
                        continue  # it leans on frames before the key frame, which were not decoded
                    raise UnreadableVideo(f"{path}: a frame is damaged.")
                yield time - origin, _upright(frame)
        except av.FFmpegError as error:
            raise UnreadableVideo(f"{path}: decoding failed ({error}).") from error
    if origin is None:
        raise UnreadableVideo(f"{path}: no frame of it can be decoded.")


def read_at(path: Path | str, start: float, count: int, fps: float, size: tuple[int, int] | None = None) -> np.ndarray:
    """``count`` frames at ``fps`` from ``start`` seconds on, resampled by time: each is the frame shown at that moment.

    ``size`` is (height, width). Returns (count, H, W, 3). Raises UnreadableVideo where the video ends more than one
    output frame too early.
    """
    out: list[np.ndarray] = []
    previous, previous_time = None, 0.0

    def fit(image: np.ndarray) -> np.ndarray:
        return image if size is None else resize(image, size)

    for time, image in frames(path, start):
        if previous is not None:
            while len(out) < count and start + len(out) / fps < time - SAME_MOMENT:
                out.append(fit(previous))
        if len(out) == count:
            break
        previous, previous_time = image, time
    while previous is not None and len(out) < count and start + len(out) / fps <= previous_time + 1 / fps:
        out.append(fit(previous))
    if len(out) < count:
        raise UnreadableVideo(
            f"{path}: {count} frames at {fps:g} fps from {start:.2f} s asked for, {len(out)} there.",
            f"Use a video of at least {start + count / fps:.2f} s, or fewer frames (clip.frames).",
        )
    return np.stack(out)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 to ``size`` (height, width): area average when shrinking, cubic when enlarging."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrink = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def write(
    path: Path | str,
    images: Iterable[np.ndarray],
    fps: float,
    *,
    crf: int = 18,
    metadata: dict[str, str] | None = None,
    times: Iterable[float] | None = None,
    rotation: int = 0,
) -> Path:
    """H.264 mp4 of (H, W, 3) uint8 RGB frames; the same frames give the same bytes. Odd sizes are refused.

    ``times`` (seconds, rising) makes the frame rate vary; ``fps`` is then nominal. With ``rotation`` (0, 90, 180,
    270) the pictures are stored turned, and the metadata says by how many degrees counter-clockwise a player must
    turn them back.
    """
    path = Path(path)
    rate = Fraction(fps).limit_denominator(1001 * 60)
    moments = None if times is None else iter(times)
    options = {"movflags": "use_metadata_tags"} if metadata else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(metadata or {})
        stream = None
        for image in images:
            image = np.rot90(image, -rotation // 90)
            if stream is None:
                stream = _h264(container, image.shape[:2], rate, crf, clock=_CLOCK if moments else 1 / rate)
                if rotation:
                    stream.set_display_rotation(rotation)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if moments is not None:
                frame.pts, frame.time_base = round(next(moments) / _CLOCK), _CLOCK
            for packet in stream.encode(frame):
                container.mux(packet)
        if stream is None:
            raise ValueError(f"{path}: no frame to write")
        for packet in stream.encode():
            container.mux(packet)
    return path


_CLOCK = Fraction(1, 90_000)


def _h264(container, size: tuple[int, int], rate: Fraction, crf: int, clock: Fraction):
    height, width = size
    if height % 2 or width % 2:
        raise ValueError(f"H.264 needs even sizes, not {width}x{height}")
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = clock
    stream.thread_count = 1
    stream.options = {"crf": str(crf), "preset": "veryfast"}
    return stream
