"""Cleaning where frames are not evenly spaced in time."""

import numpy as np
import pytest
from dancing_tracks import FPS, UNUSED, dancing, still, track
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose import wholebody as wb
from model.pose.cleaning import clean
from model.pose.tracks import PoseTrack

TRUNK = [wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, wb.LEFT_HIP, wb.RIGHT_HIP]


def held(frames=40, at=20, seconds=1.0):
    """(T,) times at FPS; the frame before ``at`` is shown ``seconds`` longer."""
    return np.arange(frames) / FPS + np.where(np.arange(frames) >= at, seconds, 0)


def mean_rate(times):
    return (len(times) - 1) / (times[-1] - times[0])


@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([16, 24, 24_000 / 1001, 30, 60]), st.integers(1, 20))
@settings(max_examples=12, deadline=None)
def test_even_times_are_no_times(seed, frames, fps, fill):
    before, times = dancing(seed, frames), 0.4 + np.arange(frames) / fps
    wanted = {"fill_seconds": fill / fps, "smooth_seconds": 0.4}  # the limit is a whole number of frames
    expected = clean(before, fps, **wanted)
    for given_times in (times, np.round(times, 3)):  # as Matroska has them
        out = clean(before, fps, times=given_times, **wanted)
        assert np.array_equal(out.track.keypoints, expected.track.keypoints)
        assert np.array_equal(out.track.scores, expected.track.scores) and np.array_equal(out.filled, expected.filled)


@pytest.mark.parametrize("seconds, longer, filled", [(1.0, 0.25, False), (1.0, 1.2, True), (0.05, 0.25, True)])
def test_a_gap_in_which_a_frame_is_held_is_as_long_as_it_lasts(seconds, longer, filled):
    times = held(seconds=seconds)
    points, scores = still()
    points += times[:, None, None] * (60, -30)  # px a second: even motion in uneven time
    scores[18:23, wb.LEFT_ANKLE] = scores[30:37, wb.RIGHT_ANKLE] = 0.1  # 5 frames and the hold, and 7 frames
    lost = points.copy()
    lost[scores < wb.VISIBLE] = UNUSED
    out = clean(track(lost, scores), mean_rate(times), times=times, fill_seconds=longer, smooth_seconds=0)
    assert out.filled[18:23, wb.LEFT_ANKLE].all() == out.filled[18:23, wb.LEFT_ANKLE].any() == filled
    assert out.filled[30:37, wb.RIGHT_ANKLE].all()  # whatever the mean rate
    assert np.abs(out.track.keypoints - points)[out.filled].max() < 0.01


@given(st.integers(0, 2**32), st.integers(5, 35), st.floats(0.1, 2))
@settings(max_examples=8, deadline=None)
def test_what_a_hold_divides_is_smoothed_like_two_clips(seed, at, seconds):
    whole, times = dancing(seed, share_seen=1), held(at=at, seconds=seconds)
    points = whole.keypoints.copy()
    points[:, TRUNK] = still(1)[0][:, TRUNK]  # one torso length for both
    whole = PoseTrack(points, whole.scores)
    wanted = {"fill_seconds": 0.0, "smooth_seconds": 0.3}
    out = clean(whole, mean_rate(times), times=times, **wanted).track.keypoints
    for part in (slice(0, at), slice(at, 40)):
        alone = clean(PoseTrack(points[part], whole.scores[part]), FPS, **wanted).track.keypoints
        assert np.allclose(out[part], alone, atol=1e-3)
    assert not np.allclose(out, clean(whole, FPS, **wanted).track.keypoints, atol=0.05)


def test_who_is_elsewhere_before_and_after_a_hold_did_not_leap():
    points, scores = still()
    points[20, wb.LEFT_WRIST] += (40, -30)
    once = track(points, scores)
    for times, spike in ((held(at=20), False), (held(at=21), False), (held(at=10), True), (None, True)):
        out = clean(once, FPS, times=times, fill_seconds=0.1, smooth_seconds=0)
        assert out.filled[20, wb.LEFT_WRIST] == out.filled.any() == spike


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_without_filling_uneven_times_fill_nothing(seed):
    times = np.cumsum(np.random.default_rng(seed).uniform(0.002, 0.04, 40))
    before = dancing(seed)
    out = clean(before, mean_rate(times), times=times, fill_seconds=0, smooth_seconds=0)
    assert not out.filled.any() and np.array_equal(out.track.keypoints, before.keypoints)


@pytest.mark.parametrize(
    "times, named",
    [
        (np.arange(39) / FPS, r"\(39,\) times given for a track of 40 frames"),
        (np.where(np.arange(40) == 7, np.nan, np.arange(40)), "frame 7 is at nan"),
        (np.where(np.arange(40) == 7, 6, np.arange(40)), "frame 7 is at 6.0 s after 6.0 s"),
        (-np.arange(40), "rising"),
    ],
)
def test_what_is_no_timing_is_refused(times, named):
    with pytest.raises(SteadyDancerError, match=named):
        clean(dancing(0), FPS, times=times, fill_seconds=0.25, smooth_seconds=0.3)
