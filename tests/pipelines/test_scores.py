"""The frames that everything of the unit `pose` is measured on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import video
from pipelines.pose.window import ANALYSIS_AREA, ReadWindow, analysis_size, sampled

sides = st.integers(2, 8000)


@given(sides, sides)
def test_larger_pictures_are_scored_at_one_area_in_their_aspect_and_smaller_ones_as_they_are(height, width):
    scored = analysis_size(height, width)
    if height * width <= ANALYSIS_AREA:
        assert scored == (height, width)
    else:
        scale = (ANALYSIS_AREA / (height * width)) ** 0.5
        assert scored == pytest.approx((height * scale, width * scale), abs=0.5) or 2 in scored


@given(st.integers(1, 100), st.integers(1, 40))
def test_samples_lie_evenly_from_end_to_end(frames, samples):
    places = sampled(np.arange(frames), samples)
    assert len(places) == min(frames, samples) == len(set(places))
    steps = np.diff([-1 - places[0], *places, 2 * frames - places[-1] - 1])
    assert steps.max() - steps.min() <= 2 and places[0] <= frames / (2 * len(places)) < frames - places[-1] + 1


def test_windows_are_read_at_the_analysis_size_of_what_is_left_of_the_picture(tmp_path):
    frames = (np.full((96, 64, 3), 2 * n, np.uint8) for n in range(60))
    path = video.write(tmp_path / "v.mp4", frames, 30.0)
    row = {"path": str(path), "start": 0.5, "frames": 9, "fps": 10.0, "crop": [0, 0, 96, 64]}
    images = ReadWindow()(row)["images"]
    assert images.shape == (9, 96, 64, 3)
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([30 + 6 * n for n in range(9)], abs=1.5)


def test_bars_are_cut_off_before_the_picture_is_made_smaller(tmp_path):
    image = np.zeros((1000, 800, 3), np.uint8)
    image[100:900] = 200
    path = video.write(tmp_path / "v.mp4", [image] * 10, 10.0)
    row = {"path": str(path), "start": 0.0, "frames": 5, "fps": 10.0, "crop": [100, 0, 800, 800]}
    images = ReadWindow()(row)["images"]
    assert images.shape == (5, 640, 640, 3) and images.min() > 190
