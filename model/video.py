"""Reading and writing video. Frames are (T, H, W, 3) uint8 RGB, upright (rotation metadata applied), pixels square.

PyAV streams and tells corrupt frames, so sources are read with it; decord picks single frames out of files of our own.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from infra.errors import SteadyDancerError

SEEK_MARGIN = 1.0
"""Seconds."""
SAME_MOMENT = 1e-3
"""Seconds: containers round the times of their frames, Matroska to a thousandth."""
LARGEST_SIDE = 16384
"""Pixels. A larger size is taken for damage: the header says it, and the decoder would ask for the memory."""
DECODING_FAILED = (av.FFmpegError, IndexError)
"""What PyAV raises on damage; IndexError where a stream turns up in the middle of a file."""
WIDEST_PIXEL = 8
"""A sample aspect ratio beyond 8:1 or 1:8 is taken for damage, and its pixels for square."""
FASTEST = 1000
"""Frames a second. More is taken for damage."""
CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "rm", "wtv", "dv", "nut", "ivf"),
    "gif",
)
"""FFmpeg's demuxers of files that hold their frames themselves. Others (concat, HLS, DASH, numbered pictures ...) read
what a file names: its pictures would come from where its hash and its rights do not reach.
"""


class UnreadableVideo(SteadyDancerError):
    """The file is no video, is damaged, or holds no frame."""


@dataclass(frozen=True)
class VideoInfo:
    """What the container declares. ``width`` and ``height`` are as seen: upright, pixels square."""

    container: str
    codec: str
    width: int
    height: int
    fps: float
    seconds: float
    declared_frames: int
    rotation: int


class RawFrame(NamedTuple):
    """A frame as it is stored: not turned, its pixels as they are, no colour converted.

    ``time`` is in seconds from the first frame, None where the file does not say; ``rotation`` the counter-clockwise
    degrees that stand it upright; ``pixel_aspect`` a stored pixel's width by its height.
    """

    time: float | None
    picture: av.VideoFrame
    rotation: int
    pixel_aspect: float


def _open(path: Path | str):
    """The container, one of CONTAINERS; its first video stream a video of a size that can be."""
    images = sorted(name for name in av.formats_available if name.endswith("_pipe"))  # opened, to be told as such
    only = {"format_whitelist": ",".join([*CONTAINERS, *images]), "protocol_whitelist": "file"}
    try:
        container = av.open(str(path), container_options=only)
    except av.ArgumentError as error:  # what FFmpeg says of a demuxer that is not listed, before it reads the header
        raise UnreadableVideo(
            f"{path}: its container is broken, or none of those that are read ({', '.join(CONTAINERS)})."
        ) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: not a readable video ({error}).", "Give an mp4, mov, mkv or webm.") from error
    try:
        if not container.streams.video:
            raise UnreadableVideo(f"{path}: holds no video stream.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise UnreadableVideo(f"{path}: its codec is not known.")
        pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.still_image
        if container.format.name.endswith("_pipe") or stream.disposition & pictures:
            raise UnreadableVideo(f"{path}: holds a picture, not a video.")
        size = stream.codec_context.width, stream.codec_context.height
        if max(size) > LARGEST_SIDE:
            raise UnreadableVideo(
                f"{path}: declares {size[0]}x{size[1]} pixels, at most {LARGEST_SIDE} a side are read."
            )
    except BaseException:
        container.close()
        raise
    return container


def _rotation(frame: av.VideoFrame) -> int:
    """Counter-clockwise degrees, 0 to 270, by which the stored picture must be turned to stand upright. A matrix may
    hold any angle: the nearest quarter turn.
    """
    angle = frame.rotation
    return round(angle / 90) * 90 % 360 if abs(angle) <= 360 else 0  # a matrix of zeros gives the least integer


def _pixel_aspect(stream) -> float:
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 1 / WIDEST_PIXEL <= ratio <= WIDEST_PIXEL else 1.0


def upright_size(raw: RawFrame) -> tuple[int, int]:
    """(height, width) of the frame when it stands upright and its pixels are square."""
    height, width = raw.picture.height, max(1, round(raw.picture.width * raw.pixel_aspect))
    return (width, height) if raw.rotation % 180 else (height, width)


def _upright(raw: RawFrame) -> np.ndarray:
    size = {} if raw.pixel_aspect == 1 else {"width": max(1, round(raw.picture.width * raw.pixel_aspect))}
    return np.ascontiguousarray(np.rot90(raw.picture.to_ndarray(format="rgb24", **size), raw.rotation // 90))


def _first_frame(container, stream) -> av.VideoFrame:
    """The first that can be decoded, without waiting for those that may come before it. Raises StopIteration."""
    decoder = stream.codec_context
    decoder.thread_count = 1
    packet = next(container.demux(stream))
    if packet.is_keyframe and (decoded := [*decoder.decode(packet), *decoder.decode(None)]):
        return decoded[0]
    container.seek(0)
    return next(container.decode(stream))


def probe(path: Path | str) -> VideoInfo:
    """Container facts, from its header and first frame. Raises UnreadableVideo."""
    with _open(path) as container:
        stream = container.streams.video[0]
        try:
            first = _first_frame(container, stream)
        except (*DECODING_FAILED, StopIteration) as error:
            raise UnreadableVideo(f"{path}: no frame of it can be decoded.") from error
        raw = RawFrame(None, first, _rotation(first), _pixel_aspect(stream))
        height, width = upright_size(raw)
        if max(height, width) > LARGEST_SIDE:
            raise UnreadableVideo(f"{path}: {width}x{height} pixels, at most {LARGEST_SIDE} a side are read.")
        rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
        rate = next((rate for rate in rates if 0 < rate <= FASTEST), None)
        if rate is None:
            said = f"{rates[0]:g} frames a second" if rates else "no frame rate"
            raise UnreadableVideo(f"{path}: declares {said}, up to {FASTEST} are read.")
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoInfo(
            container=container.format.name,
            codec=stream.codec_context.name,
            width=width,
            height=height,
            fps=rate,
            seconds=seconds,
            # no frame takes less than a byte: a header that says more of them says nothing
            declared_frames=stream.frames if 0 < stream.frames <= container.size else 0,
            rotation=raw.rotation,
        )


def raw_frames(path: Path | str) -> Iterator[RawFrame]:
    """Every frame as it is stored, corrupt ones (``picture.is_corrupt``) too. Raises UnreadableVideo where decoding
    fails, after the frames before it. On one thread, which takes the least CPU time.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        aspect, origin = _pixel_aspect(stream), None
        try:
            for frame in container.decode(stream):
                time = None if frame.pts is None else float(frame.pts * frame.time_base)
                origin = time if origin is None else origin
                yield RawFrame(None if time is None else time - origin, frame, _rotation(frame), aspect)
        except DECODING_FAILED as error:
            raise UnreadableVideo(f"{path}: decoding failed ({error}).") from error


def key_frames(path: Path | str, count: int) -> list[RawFrame]:
    """Up to ``count`` different sound key frames spread over the file, found by seeking; fewer, or none, where that is
    all. Their ``time`` is None. Raises UnreadableVideo if the file cannot be opened.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1
        duration, begin = stream.duration, stream.start_time or 0
        if duration is None:
            duration = int((container.duration or 0) / av.time_base / stream.time_base)
        found: dict[int | None, RawFrame] = {}
        for number in range(count):
            try:
                container.seek(begin + duration * number // count, stream=stream)
                packet = next((packet for packet in container.demux(stream) if packet.is_keyframe), None)
                if packet is None or packet.pts in found:
                    continue
                # ended at once: the decoder would hold the frame back until those that may come before it are there
                decoded = [*decoder.decode(packet), *decoder.decode(None)][:1]
                decoder.flush_buffers()
            except DECODING_FAILED:
                continue  # the pass over all frames meets the same damage and tells it
            if decoded and not decoded[0].is_corrupt:
                found[packet.pts] = RawFrame(None, decoded[0], _rotation(decoded[0]), _pixel_aspect(stream))
        return list(found.values())


def frames(path: Path | str, start: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame as (seconds from the first frame, (H, W, 3) upright RGB). Raises UnreadableVideo on damage.

    From a key frame on that lies at least SEEK_MARGIN before ``start``: the cost of a window does not grow with its
    place in the file. Damage before ``start`` does no harm where a key frame follows it in time.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        aspect, origin, shape, broken = _pixel_aspect(stream), None, None, False
        try:
            if start > SEEK_MARGIN:
                first = next(container.decode(stream), None)
                if first is not None and first.pts is not None:
                    origin = float(first.pts * first.time_base)
                    target = int((origin + start - SEEK_MARGIN) / stream.time_base)
                    container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    broken = True
                    continue
                time = float(frame.pts * frame.time_base)
                origin = time if origin is None else origin
                time -= origin
                if frame.is_corrupt and time < start - SEEK_MARGIN / 2:
                    continue  # it leans on frames before the key frame, which were not decoded
                broken = frame.is_corrupt or (broken and not frame.key_frame)
                if broken and time < start:
                    continue
                if broken:
                    raise UnreadableVideo(f"{path}: a frame is damaged.")
                image = _upright(RawFrame(time, frame, _rotation(frame), aspect))
                shape = image.shape if shape is None else shape
                if image.shape != shape:
                    raise UnreadableVideo(f"{path}: the size of its pictures changes at {time:.2f} s.")
                yield time, image
        except DECODING_FAILED as error:
            raise UnreadableVideo(f"{path}: decoding failed ({error}).") from error
        if broken:
            raise UnreadableVideo(f"{path}: a frame is damaged.")
    if origin is None:
        raise UnreadableVideo(f"{path}: no frame of it can be decoded.")


def pick(path: Path | str, indices: Sequence[int]) -> np.ndarray:
    """The frames of those numbers, by decord: (n, H, W, 3). Raises UnreadableVideo. What decord cannot read is decoded
    from its begin: it expects lines without padding, and some widths (48 pixels) have it.

    For sound files of our own (upright, square pixels), where it beats decoding all before a frame. Never for sources:
    decord hands out the frame before a damaged one and says nothing.
    """
    os.environ["DECORD_EOF_RETRY_MAX"] = "64"  # a broken file is retried 10,240 times else, which looks like a hang
    import decord

    def check(count: int) -> None:
        if not indices or not 0 <= min(indices) <= max(indices) < count:
            raise UnreadableVideo(f"{path}: frames {list(indices)} asked for, it has {count} (from 0).")

    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        check(len(reader))
        return reader.get_batch(list(indices)).asnumpy()
    except (decord.DECORDError, RuntimeError):
        wanted = set(indices)
        found, count = {}, 0
        for count, (_, image) in enumerate(frames(path), 1):
            if count - 1 in wanted:
                found[count - 1] = image
        check(count)
        return np.stack([found[number] for number in indices])


def read_at(
    path: Path | str,
    start: float,
    count: int,
    fps: float,
    size: tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """``count`` frames at ``fps`` from ``start`` seconds on, resampled by time: each is the frame shown at that moment.

    ``size`` is (height, width), ``crop`` (top, left, height, width) in pixels of the upright frame, applied before.
    Returns (count, H, W, 3). Raises UnreadableVideo where the video ends more than one output frame too early.
    """
    out: list[np.ndarray] = []
    previous, previous_time = None, 0.0

    def fit(image: np.ndarray) -> np.ndarray:
        if crop is not None:
            top, left, height, width = crop
            image = image[top : top + height, left : left + width].copy()  # a view would keep the whole picture
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
