"""Probing, cuts, damage and windows."""

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import video
from pipelines.scan.camera import Moved
from pipelines.scan.shots import CLEAR_CUT, Shot, cut_signs, flashes
from pipelines.scan.signals import Pair, Signals
from pipelines.scan.source import Probe, Scan
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
