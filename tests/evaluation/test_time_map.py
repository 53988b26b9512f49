"""Frames that belong together by the time on screen, however a container rounds its rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.time_map import ROUNDING, by_time

rates = st.sampled_from([8, 12, 15, 16, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60]) | st.floats(5, 120)


@pytest.mark.parametrize("rounded", [29.97003, 29.999, 30.0, 30.0001, 30.03])
def test_rounded_rates_are_one_rate(rounded):
    assert by_time(600, 30.0, rounded).tolist() == by_time(600, rounded, 30.0).tolist() == list(range(600))


@pytest.mark.parametrize("error", [-1e-5, -1e-7, 0, 1e-7, 1e-5])
@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_multiple_is_one_too_when_it_is_rounded(times, error):
    assert by_time(300, 12.0, 12.0 * times * (1 + error)).tolist() == list(range(0, 300 * times, times))


@given(st.integers(1, 300), rates, rates)
def test_no_frame_is_of_another_moment(frames, fps, driving_fps):
    index = by_time(frames, fps, driving_fps)
    exact = np.arange(frames) / fps * driving_fps
    drift = 0.005 * frames if abs(driving_fps / fps - 1) < 0.005 else 0
    assert len(index) == frames and index[0] == 0 and (np.diff(index) >= 0).all()
    assert (index <= exact + ROUNDING + drift + 1e-9).all() and (index > exact - 1 - drift).all()


@given(st.integers(1, 100), st.integers(1, 9), st.integers(5, 60))
def test_a_driver_that_is_a_multiple_as_fast_is_taken_at_every_so_many_frames(frames, times, fps):
    assert by_time(frames, fps, fps * times).tolist() == [n * times for n in range(frames)]
