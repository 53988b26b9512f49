"""Probing, cuts and windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import video
from pipelines.shots import FindShots, Probe
from pipelines.stage import run
from pipelines.windows import MakeWindows, clip_id

WINDOWS = MakeWindows(frames=9, fps=10.0, min_shot_seconds=0.3, trim_seconds=0.05)


def texture(seed, move=0):
    picture = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.roll(picture, move, axis=1)


def film(path, shots, fps=25.0):
    """``shots``: frames of each; every shot is a texture of its own, drifting a pixel a frame."""
    return video.write(path, (texture(s, n) for s, count in enumerate(shots) for n in range(count)), fps)


def scan(path):
    return run([Probe(), FindShots(), WINDOWS], {"path": str(path), "source": path.name, "source_id": "0" * 64})


def test_cuts_are_found_to_the_frame_and_windows_keep_off_them(tmp_path):
    rows = scan(film(tmp_path / "cuts.mp4", [40, 10, 45]))
    assert [(round(r["shot_start"] * 25), round(r["shot_end"] * 25)) for r in rows] == [(0, 40), (40, 50), (50, 95)]
    assert [r.get("fault") for r in rows] == [None, "too_short", None]
    assert [r["siblings"] for r in rows] == [3, 3, 3]
    assert rows[0]["start"] == pytest.approx((1.6 - 0.05 - 0.9) / 2, abs=0.001)
    assert rows[2]["start"] >= 2.0 + 0.05 and rows[2]["start"] + 0.9 <= 3.8
    for row in (rows[0], rows[2]):
        frames = video.read_at(tmp_path / "cuts.mp4", row["start"], 9, 10.0)
        assert np.abs(np.diff(frames.astype(float).mean(axis=(1, 2, 3)))).max() < 3, "a cut inside the window"


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
)
def test_a_window_lies_in_the_trimmed_shot_or_the_shot_is_too_short(begin, length, before, after, frames, fps):
    make = MakeWindows(frames, fps, 0.5, 0.1)
    (row,) = make({"source_id": "s", "shots": [(begin, begin + length, before, after)]})
    usable = length - 0.1 * (before + after)
    if "fault" in row:
        assert usable < frames / fps + 1e-9 or length < 0.5
        assert "start" not in row
    else:
        first, last = begin + 0.1 * before, begin + length - 0.1 * after
        assert first - 1e-9 <= row["start"] and row["start"] + frames / fps <= last + 0.001 + 1e-9
        assert row["start"] == round(row["start"], 3)


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 50])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    path = tmp_path / "no.mp4"
    path.write_bytes(content)
    (row,) = scan(path)
    assert row["fault"] == "unreadable" and "clip_id" not in row
    assert str(tmp_path) not in row["error"] and row["error"]


def test_a_file_that_breaks_off_is_damaged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 96, 128, 3), np.uint8)
    whole = video.write(tmp_path / "whole.mp4", noise, 25.0)
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat") + 4
    length = data.index(b"moov") - start
    data[start + length // 2 : start + length * 3 // 4] = bytes(length * 3 // 4 - length // 2)
    (tmp_path / "broken.mp4").write_bytes(data)
    (row,) = scan(tmp_path / "broken.mp4")
    assert row["fault"] == "damaged" and row["shots"] == []
    assert all(row.get("fault") != "damaged" for row in scan(whole))
