"""Probing, cuts, damage and windows."""

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import video
from pipelines.dataset import read_manifest, write_manifest
from pipelines.scan.camera import Moved, shake
from pipelines.scan.pictures import Geometry, Planes
from pipelines.scan.shots import CLEAR_CUT, Shot, cut_signs, flashes
from pipelines.scan.signals import Pair, Recorder, Signals
from pipelines.scan.source import LONGEST_SCAN, Probe, Scan
from pipelines.scan.window_scores import ScoreWindow
from pipelines.scan.windows import MakeWindows, clip_id, liveliest
from pipelines.work.stage import run

WINDOWS = MakeWindows(frames=9, fps=10.0, min_shot_seconds=0.3, trim_seconds=0.05, candidates=1)


def texture(seed, move=0):
    picture = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.roll(picture, move, axis=1)


def film(path, shots, fps=25.0):
    """``shots``: frames of each; every shot is a texture of its own, drifting a pixel a frame."""
    return video.write(path, (texture(s, n) for s, count in enumerate(shots) for n in range(count)), fps)


def scan(path, windows=WINDOWS):
    row = {"path": str(path), "source": path.name, "source_id": "0" * 64, "source_bytes": path.stat().st_size}
    return run([Probe(), Scan(), windows, ScoreWindow()], row)


def test_cuts_are_found_to_the_frame_and_windows_keep_off_them(tmp_path):
    rows = scan(film(tmp_path / "cuts.mp4", [40, 10, 45]))
    assert [(round(r["shot_start"] * 25), round(r["shot_end"] * 25)) for r in rows] == [(0, 40), (40, 50), (50, 95)]
    assert [r.get("fault") for r in rows] == [None, "too_short", None]
    assert [r["siblings"] for r in rows] == [3, 3, 3]
    assert rows[2]["start"] >= 2.0 + 0.05 and rows[2]["start"] + 0.9 <= 3.8
    for row in (rows[0], rows[2]):
        assert row["cut"] < CLEAR_CUT
        frames = video.read_at(tmp_path / "cuts.mp4", row["start"], 9, 10.0)
        assert np.abs(np.diff(frames.astype(float).mean(axis=(1, 2, 3)))).max() < 3, "a cut inside the window"


def test_the_cut_sign_knows_cuts_from_flashes_and_motion():
    def tiny(seed):
        return np.random.default_rng(seed).integers(40, 200, (12, 12, 3)).astype(np.uint8)

    still = [tiny(0)] * 40
    drifting = [np.roll(tiny(0), n, axis=0) for n in range(40)]
    bright = [np.full((12, 12, 3), 255, np.uint8)] * 3
    assert cut_signs(np.stack(still + [tiny(1)] * 40), 25.0).argmax() == 40
    assert cut_signs(np.stack(still + [tiny(1)] * 40), 25.0)[40] > 2 * CLEAR_CUT
    assert cut_signs(np.stack(still + bright + still), 25.0).max() < 0.1
    assert cut_signs(np.stack(drifting), 25.0).max() < 1.5
    assert cut_signs(np.stack(still[:1]), 25.0).tolist() == [0]


def test_strobes_are_counted_and_a_changed_light_is_none():
    times = np.arange(50) / 25
    strobes = np.where(np.isin(np.arange(50), [10, 11, 25, 40, 41, 42]), 200.0, 100.0)
    assert flashes(strobes, times) == [(10, 12), (25, 26), (40, 43)]
    assert flashes(np.where(times > 1, 180.0, 100.0), times) == []
    assert flashes(np.linspace(0, 255, 50), times) == []


def test_a_window_never_holds_a_clear_cut_that_the_detector_missed():
    signals = Signals(shots=[Shot(0.0, 3.0, False, False)], times=[k / 25 for k in range(75)], cut_signs=[0.0] * 75)
    signals.cut_signs[30] = CLEAR_CUT + 1
    (row,) = WINDOWS({"source_id": "s", "signals": signals, "damage": None})
    assert row["start"] >= 30 / 25 or row["start"] + 0.9 <= 30 / 25
    signals.cut_signs[15] = signals.cut_signs[45] = signals.cut_signs[60] = CLEAR_CUT + 1
    (row,) = WINDOWS({"source_id": "s", "signals": signals, "damage": None})
    assert row["fault"] == "too_short" and "cut inside" in row["error"]


def test_a_clip_id_follows_content_and_span_only():
    assert clip_id("a", 1.5, 81, 16.0) == clip_id("a", 1.5, 81, 16) != clip_id("a", 1.501, 81, 16.0)
    assert len({clip_id("a", 1.5, 81, 16.0), clip_id("b", 1.5, 81, 16.0), clip_id("a", 1.5, 77, 16.0)}) == 3


@given(
    st.floats(0, 1000),
    st.floats(0.01, 60),
    st.booleans(),
    st.booleans(),
    st.integers(1, 20).map(lambda k: 4 * k + 1),
    st.sampled_from([8.0, 12.5, 16.0, 24.0]),
    st.integers(1, 3),
)
def test_windows_lie_in_the_trimmed_shot_or_the_shot_is_too_short(begin, length, before, after, frames, fps, count):
    make = MakeWindows(frames, fps, 0.5, 0.1, count)
    signals = Signals(shots=[Shot(begin, begin + length, before, after)])
    rows = make({"source_id": "s", "signals": signals, "damage": None})
    usable = length - 0.1 * (before + after)
    if "fault" in rows[0]:
        assert usable < frames / fps + 1e-9 or length < 0.5
        assert len(rows) == 1 and "start" not in rows[0]
        return
    assert 1 <= len(rows) <= count and {row["siblings"] for row in rows} == {len(rows)}
    first, last = begin + 0.1 * before, begin + length - 0.1 * after
    for row in rows:
        assert first - 1e-9 <= row["start"] and row["start"] + frames / fps <= last + 0.001 + 1e-9
        assert row["start"] == round(row["start"], 3)
    starts = sorted(row["start"] for row in rows)
    assert all(b - a >= frames / fps - 1e-9 for a, b in zip(starts, starts[1:], strict=False))
    assert abs(rows[0]["start"] - (first + last - frames / fps) / 2) < 0.002, "without motion: the middle"


def test_the_liveliest_windows_come_first():
    def pair(k):
        content = {3: 1.0, 12: 0.5}.get(k // 8, 0.0)
        return Pair(k / 8, (k + 1) / 8, 0.0, Moved((0, 0), 0, 0, 0, content, 0))

    signals = Signals(pairs=[pair(k) for k in range(160)])
    starts = [k / 4 for k in range(70)]
    one, two = liveliest(starts, 2.0, signals, 9.0, 2)
    assert one <= 3 and one + 2 >= 4 and two <= 12 and two + 2 >= 13
    assert liveliest(starts, 2.0, Signals(), 9.0, 1) == [9.0]


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 50])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    path = tmp_path / "no.mp4"
    path.write_bytes(content)
    (row,) = scan(path)
    assert row["fault"] == "unreadable" and "clip_id" not in row and row["siblings"] == 1
    assert str(tmp_path) not in row["error"] and row["error"]


def test_pictures_and_sounds_are_no_videos(tmp_path):
    import cv2

    (tmp_path / "picture.mp4").write_bytes(cv2.imencode(".png", texture(0))[1].tobytes())
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    for name, said in (("picture.mp4", "picture"), ("sound.mp4", "no video stream")):
        (row,) = scan(tmp_path / name)
        assert row["fault"] == "unreadable" and said in row["error"]


def noise_film(path, frames=100, key_every=20):
    """Every frame is noise of its own, so that damage anywhere is noticed; a key frame every ``key_every``."""
    draw = np.random.default_rng(0)
    base = draw.integers(0, 255, (96, 128, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"g": str(key_every), "keyint_min": str(key_every), "sc_threshold": "0", "bf": "0"}
        for _ in range(frames):
            image = np.clip(base + draw.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def packet_places(path):
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def test_a_corrupt_frame_costs_what_follows_up_to_the_next_key_frame(tmp_path):
    path = noise_film(tmp_path / "a.mp4")
    at, size = packet_places(path)[45]
    data = bytearray(path.read_bytes())
    for k in range(at + 40, at + size - 10):
        data[k] ^= 0xA5
    path.write_bytes(data)
    rows = scan(path)
    assert {row["corrupt_frames"] for row in rows} >= {1} or rows[0]["corrupt_frames"] > 1
    spans = [(row["shot_start"], row["shot_end"]) for row in rows]
    assert spans[0][0] == 0 and spans[0][1] <= 45 / 25 + 1e-6
    assert spans[-1] == (pytest.approx(60 / 25), pytest.approx(4.0))
    for row in rows:
        assert row.get("fault") is None
        assert row["start"] + 0.9 <= 45 / 25 or row["start"] >= 60 / 25
        assert len(video.read_at(path, row["start"], 9, 10.0)) == 9, "a window beside damage can be read"


def test_a_file_that_breaks_off_is_damaged_if_no_window_is_left(tmp_path):
    whole = noise_film(tmp_path / "whole.mp4", 60, key_every=250)
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat") + 4
    length = data.index(b"moov") - start
    data[start + length // 4 : start + length * 3 // 4] = bytes(length * 3 // 4 - length // 4)
    (tmp_path / "broken.mp4").write_bytes(data)
    (row,) = scan(tmp_path / "broken.mp4")
    assert row["fault"] == "damaged" and "clip_id" not in row and str(tmp_path) not in row["error"]
    assert [row.get("fault") for row in scan(whole)] == [None]


def test_a_stream_that_lacks_frames_is_used_as_far_as_it_goes(tmp_path):
    path = film(tmp_path / "a.mkv", [60])
    whole = scan(path)
    assert [row.get("fault") for row in whole] == [None]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    rows = scan(path)
    assert [row.get("fault") for row in rows] == [None] and rows[0]["source_frames"] < 60
    assert rows[0]["start"] + 0.9 <= rows[0]["shot_end"]


def test_what_follows_a_change_of_size_is_not_used(tmp_path):
    parts = []
    for number, size in enumerate([(96, 128), (64, 96)]):
        made = io.BytesIO()
        with av.open(made, "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            for k in range(40):
                image = video.resize(texture(0, k), size)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts = number * 40 + k
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        parts.append(made.getvalue())
    (tmp_path / "two.ts").write_bytes(b"".join(parts))
    rows = scan(tmp_path / "two.ts")
    assert rows[0].get("fault") is None and max(row["shot_end"] for row in rows) <= 1.61
    assert rows[0]["source_frames"] == 40


def motion_jpeg(path, turned=0):
    """64 x 96, full range: the decoder pads the lines of such a narrow picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuvj420p"
        if turned:
            stream.set_display_rotation(turned)
        for k in range(40):
            image = np.ascontiguousarray(texture(0, k)[:, :64])
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
    return path


@pytest.mark.parametrize(("turned", "size"), [(0, (96, 64)), (44, (96, 64)), (100, (64, 96))])
def test_padded_lines_at_full_range_are_scanned_at_any_angle(tmp_path, turned, size):
    (row,) = scan(motion_jpeg(tmp_path / "a.mp4", turned))
    assert row.get("fault") is None and row["motion"] is not None
    assert (row["height"], row["width"]) == size and row["crop"] == [0, 0, *size]


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [(32, 0xF0000000, None), (24, 10**9, "unreadable"), (20, 0xFFFFFFFF, "damaged"), (20, 2000, "too_short")],
)
def test_headers_that_lie_cost_their_own_file_and_fit_the_manifest(tmp_path, place, value, fault):
    path = motion_jpeg(tmp_path / "a.avi")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"strh") + 8 + place, value)
    path.write_bytes(data)
    rows = scan(path)
    assert {row.get("fault") for row in rows} == {fault} and all(row["error"] for row in rows if fault)
    write_manifest(tmp_path / "manifest.parquet", rows)
    assert len(read_manifest(tmp_path / "manifest.parquet")) == len(rows)


def test_frames_a_nanosecond_apart_take_no_memory():
    geometry = Geometry(96, 128, 0, 1.0, (0, 0, 96, 128))
    recorder = Recorder(geometry)
    for k in range(9):
        recorder.add(0.125 + (k - 5) * 1e-9, Planes(texture(0, k)[..., 0], None, True, "601"))
    recorder.end_span(broken_before=False, broken_after=False)
    assert len(recorder.signals.cut_signs) == 9 and max(recorder.signals.cut_signs) < CLEAR_CUT
    assert shake(np.zeros((1, 4)), np.array([1e-9])) == 0


def test_the_deadline_follows_what_a_file_can_hold(tmp_path):
    def hours(**row):
        row = {"path": str(tmp_path / "a.mp4"), "width": 1920, "height": 1080, "declared_frames": 0} | row
        return Scan().seconds_allowed(row) / 3600

    hour = {"declared_frames": 108_000, "source_bytes": 10**9}
    assert 4 < hours(**hour) < 6, "14 frames a second, twice over"
    assert hours(**hour | {"declared_frames": 2**31}) == LONGEST_SCAN / 3600
    assert hours(source_bytes=10**8) < 4
    assert hours(source_bytes=10**5, declared_frames=2**31) < 0.05
    assert hours(source_bytes=10**15) == LONGEST_SCAN / 3600
    assert Scan().seconds_allowed({"path": "a.mp4", "source_bytes": None}) == Scan.deadline


@pytest.mark.parametrize("stage", [Probe(), Scan()])
def test_a_source_from_a_store_has_the_time_to_get_here(stage):
    row = {"source_bytes": 10**9, "declared_frames": 100, "width": 64, "height": 64}
    here, there = (stage.seconds_allowed(row | {"path": path}) for path in ("/a.mp4", "s3://bucket/a.mp4"))
    assert there - here > 900
