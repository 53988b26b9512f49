"""Buckets: crops of few aspects."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pipelines.clips import FitAspect, fitted

ASPECTS = ("9:16", "3:4", "1:1", "4:3", "16:9")
sides = st.integers(64, 4000)


@given(st.integers(0, 300), st.integers(0, 300), sides, sides, st.sets(st.sampled_from(ASPECTS), min_size=1))
def test_a_crop_lies_in_the_middle_and_has_one_of_the_aspects(top, left, height, width, aspects):
    t, x, h, w = fitted([top, left, height, width], sorted(aspects))
    assert t >= top and x >= left and t + h <= top + height + 1 and x + w <= left + width + 1
    assert abs((t - top) - (top + height - t - h)) <= 4 and abs((x - left) - (left + width - x - w)) <= 4
    assert any(abs(w - h * Fraction(a.replace(":", "/"))) <= 4 for a in aspects)
    assert h >= height - 2 or w >= width - 2, "more was cut off than the aspect asks for"


def test_known_crops():
    assert fitted([0, 0, 1080, 1920], ASPECTS) == [0, 0, 1080, 1920]
    assert fitted([0, 0, 1920, 1088], ASPECTS) == [0, 4, 1920, 1080]
    assert fitted([140, 0, 800, 1920], ["16:9"]) == [140, 248, 800, 1422]
    assert FitAspect(())({"crop": [0, 0, 10, 30]}) == {}
    assert FitAspect(ASPECTS)({"fault": "unreadable"}) == {}
