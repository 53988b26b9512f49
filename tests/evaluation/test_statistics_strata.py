"""Differences by stratum of the pairs and along a numeric one, and the decision of the gate."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.pairs import Pair
from evaluation.statistics.clusters import by_id, estimate
from evaluation.statistics.noninferiority import FAIL, INCONCLUSIVE, PASS, judge, overall
from evaluation.statistics.strata import by_stratum, slope
from infra.errors import UsageError


def paired(rows: list[tuple[str, float, dict]]) -> tuple[dict[str, float], dict[str, float], dict[str, Pair]]:
    """From (driver, difference, strata): candidate, baseline and pairs."""
    pairs = [Pair(f"p{i}", "different_source", f"r{i}", driver, "", of) for i, (driver, _, of) in enumerate(rows)]
    candidate = {pair.id: 10 + difference for pair, (_, difference, _) in zip(pairs, rows, strict=True)}
    return candidate, dict.fromkeys(candidate, 10.0), by_id(pairs)


def test_each_stratum_is_the_difference_of_its_own_pairs():
    rows = [(f"d{i}", float(i), {"style": "anime" if i % 2 else "real"}) for i in range(6)]
    candidate, baseline, pairs = paired([*rows, ("d9", 99.0, {})])
    found = by_stratum(candidate, baseline, pairs, "style")
    assert list(found) == ["anime", "real"]
    assert [(each.n, each.n_clusters, each.mean) for each in found.values()] == [(3, 3, 3.0), (3, 3, 2.0)]
    odd = {i: candidate[i] - 10 for i in ("p1", "p3", "p5")}
    assert (found["anime"].low, found["anime"].high) == (estimate(odd, pairs).low, estimate(odd, pairs).high)
    assert by_stratum(candidate, {}, pairs, "style") == {}


def test_a_stratum_nobody_has_or_of_another_kind_is_refused():
    candidate, baseline, pairs = paired([("d0", 1.0, {"style": "anime", "gap": 3.0})])
    with pytest.raises(UsageError, match=r"a stratum 'stile'(?s:.*)gap, style"):
        by_stratum(candidate, baseline, pairs, "stile")
    with pytest.raises(UsageError, match="'gap' is a number"):
        by_stratum(candidate, baseline, pairs, "gap")
    with pytest.raises(UsageError, match="'style' is not a number"):
        slope(candidate, baseline, pairs, "style")


def test_a_line_has_its_slope_and_no_doubt():
    found = slope(*paired([(f"d{i % 5}", 3 - 0.25 * i, {"gap": float(i)}) for i in range(20)]), "gap")
    assert (found.n, found.n_clusters) == (20, 5)
    assert (found.slope, found.low, found.high) == pytest.approx((-0.25, -0.25, -0.25))


def test_one_pair_per_driver_is_least_squares_with_the_jackknife():
    random = np.random.default_rng(0)
    gap, difference = random.uniform(0, 90, 12), random.normal(size=12)
    found = slope(*paired([(f"d{i}", difference[i], {"gap": gap[i]}) for i in range(12)]), "gap")
    without = [np.polyfit(np.delete(gap, i), np.delete(difference, i), 1)[0] for i in range(12)]
    error = math.sqrt(11 / 12 * np.sum((without - np.mean(without)) ** 2))
    assert found.slope == pytest.approx(np.polyfit(gap, difference, 1)[0])
    assert found.high - found.slope == pytest.approx(2.200985160091639 * error)
    assert found.slope - found.low == pytest.approx(2.200985160091639 * error)


def test_a_driver_weighs_the_same_along_a_gap_too():
    few = [("a", 0.0, {"gap": 0.0}), ("b", 1.0, {"gap": 1.0}), ("c", 5.0, {"gap": 2.0})]
    once, often = slope(*paired(few), "gap"), slope(*paired(few + 7 * few[2:]), "gap")
    assert often.n == 10 and (often.slope, often.low, often.high) == pytest.approx((once.slope, once.low, once.high))


def test_what_has_no_slope_says_none():
    flat = [(f"d{i}", float(i), {"gap": 1.0}) for i in range(5)]
    assert slope(*paired(flat), "gap").slope is None
    two = slope(*paired([("a", 0.0, {"gap": 0.0}), ("b", 1.0, {"gap": 1.0})]), "gap")
    assert (two.slope, two.low, two.high) == (1.0, None, None)
    lone = [*flat, ("z", 9.0, {"gap": 2.0})]  # without z there is no spread
    assert slope(*paired(lone), "gap").slope is not None and slope(*paired(lone), "gap").low is None
    candidate, _, pairs = paired(flat)
    assert slope(candidate, {}, pairs, "gap").slope is None


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(8)), st.floats(-5, 5), st.floats(0.1, 10))
def test_the_slope_follows_shift_scale_and_no_order(order, shift, scale):
    random = np.random.default_rng(3)
    rows = [(f"d{i // 2}", float(random.normal()), {"gap": float(random.uniform(0, 9))}) for i in range(8)]
    found = slope(*paired(rows), "gap")
    moved = slope(*paired([(rows[i][0], scale * rows[i][1] + shift, rows[i][2]) for i in order]), "gap")
    assert (moved.slope, moved.low, moved.high) == pytest.approx(
        (scale * found.slope, scale * found.low, scale * found.high), rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.9, 3.0, PASS),
        (0.5, 3.0, PASS),
        (-1.0, 3.0, INCONCLUSIVE),  # at the margin itself nothing is shown
        (-1.5, -0.5, INCONCLUSIVE),
        (-1.5, 0.5, INCONCLUSIVE),
        (-3.0, -1.0, INCONCLUSIVE),
        (-3.0, -1.1, FAIL),
        (None, None, INCONCLUSIVE),
    ],
)
def test_the_truth_table_of_a_margin_of_one(low, high, verdict):
    assert judge(low, high, 1.0) == verdict


def test_one_fail_fails_and_all_must_pass():
    for verdicts in itertools.product((PASS, FAIL, INCONCLUSIVE), repeat=3):
        wanted = FAIL if FAIL in verdicts else INCONCLUSIVE if INCONCLUSIVE in verdicts else PASS
        assert overall(verdicts) == wanted
    assert overall([]) == INCONCLUSIVE
