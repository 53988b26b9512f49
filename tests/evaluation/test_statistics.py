"""Means, intervals and tests over driving videos, against closed forms, hand counts and symmetries."""

import math
import runpy
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.pairs import Pair
from evaluation.statistics.clusters import (
    by_id,
    cluster_means,
    estimate,
    estimates,
    minimum_detectable_effect,
    t_interval,
)
from evaluation.statistics.holm import holm
from evaluation.statistics.paired import corrected, paired_difference
from evaluation.statistics.sign_flip import sign_flip_p
from evaluation.statistics.two_way import two_way_interval

CAMPAIGN = Path(__file__).parents[1] / "campaigns" / "interval_coverage.py"
T_2, T_11, T80_11 = 4.302652729749464, 2.200985160091639, 0.8755299127545126  # Student's 0.975 and 0.8, from tables
scores = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))


def crossed(values: list[list[float]]) -> tuple[dict[str, float], dict[str, Pair]]:
    """``values[driver][reference]`` by pair id, and the pairs."""
    made = [
        (Pair(f"d{d}r{r}", "different_source", f"r{r}", f"d{d}", "", {}), value)
        for d, row in enumerate(values)
        for r, value in enumerate(row)
    ]
    return {pair.id: value for pair, value in made}, by_id(pair for pair, _ in made)


designs = st.lists(st.lists(scores, min_size=1, max_size=4), min_size=1, max_size=6)


def test_a_driver_counts_once_however_many_pairs_it_has():
    found = estimate(*crossed([[1.0, 1.0, 1.0, 1.0], [2.0], [6.0]]))
    half = T_2 * math.sqrt(7) / math.sqrt(3)  # of 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2
    assert (found.n, found.n_clusters, found.mean) == (6, 3, 3.0)
    assert (found.low, found.high) == (pytest.approx(3 - half, rel=1e-12), pytest.approx(3 + half, rel=1e-12))


def test_one_driver_has_a_mean_and_nothing_else():
    values, pairs = crossed([[1.0, 2.0, 4.5]])
    assert astuple(estimate(values, pairs)) == (3, 1, 2.5, None, None)
    found = paired_difference(values, dict.fromkeys(values, 0.5), pairs)
    assert (found.n, found.n_clusters, found.mean) == (3, 1, 2.0)
    assert {found.low, found.high, found.p, found.p_holm, found.mde, found.two_way_low} == {None}


def test_no_common_pair_is_no_number():
    values, pairs = crossed([[1.0], [2.0]])
    found = paired_difference({"d0r0": 1.0}, {"d1r0": 2.0}, pairs)
    assert (found.n, found.n_clusters) == (0, 0) and set(astuple(found)[2:]) == {None}
    assert astuple(estimate({}, {})) == (0, 0, None, None, None)


def test_the_minimum_detectable_effect_of_twelve_drivers_is_3_08_errors():
    means = np.arange(12.0)
    assert minimum_detectable_effect(means) == pytest.approx((T_11 + T80_11) * np.std(means, ddof=1) / math.sqrt(12))
    assert minimum_detectable_effect(means / np.std(means, ddof=1)) == pytest.approx(0.89, abs=0.005)
    assert minimum_detectable_effect(means[:1]) is None


def test_an_effect_of_that_size_is_found_four_times_in_five():
    draws = np.random.default_rng(0).standard_normal((8000, 12))
    effect = (T_11 + T80_11) / math.sqrt(12)  # of a known deviation 1
    low, _ = t_interval(draws + effect)
    assert np.mean(low > 0) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("means", "p"),
    [
        (np.arange(1.0, 13.0), 2 / 4096),
        ([1.0, 2.0, 3.0], 2 / 8),
        ([1.0, 2.0, -3.0], 1.0),  # sum 0
        ([3.0, 2.0, -1.0], 4 / 8),  # |sum| >= 4 of the sums ±6 ±4 ±2 ±0: 6, 4 and their opposites
        ([0.1, 0.2, -0.3, 0.4], 10 / 16),  # 0.4: by hand; ties only up to rounding
        ([0.0, 0.0], 1.0),
    ],
)
def test_sign_flips_against_a_hand_count(means, p):
    assert sign_flip_p(np.array(means)) == pytest.approx(p, rel=1e-12)


def test_above_sixteen_drivers_sign_flips_are_drawn_and_never_zero():
    means = np.linspace(1, 2, 40)
    assert sign_flip_p(means) == 1 / 20000
    mixed = np.random.default_rng(1).normal(0.3, 1, 17)
    estimated, exact = sign_flip_p(mixed, seed=3), _all_flips(mixed)
    assert estimated == sign_flip_p(mixed, seed=3) != sign_flip_p(mixed, seed=4)
    assert estimated == pytest.approx(exact, abs=4 * math.sqrt(exact / 20000))


def _all_flips(means: np.ndarray) -> float:
    sums = np.zeros(1)
    for mean in means:
        sums = np.concatenate([sums + mean, sums - mean])
    return float(np.mean(np.abs(sums) >= abs(means.sum()) - 1e-9))


def test_holm_against_a_hand_made_reference():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.6, "b": 0.5}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.01, "untested": None, "too": None}) == {"a": pytest.approx(0.03), "untested": None, "too": None}
    assert holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p):
    found = holm({str(i): value for i, value in enumerate(p)})
    standing = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for place, i in enumerate(standing):  # Holm 1979: stop at the first that is not below its level
        if p[i] * (len(p) - place) >= 0.05:
            break
        rejected.add(str(i))
    assert {name for name, value in found.items() if value < 0.05} == rejected


@settings(deadline=None, max_examples=40)
@given(designs, st.randoms())
def test_neither_order_nor_names_change_a_bit(design, random):
    values, pairs = crossed(design)
    ids = list(values)
    random.shuffle(ids)
    baseline = dict.fromkeys(ids, 0.0)
    found = paired_difference(values, baseline, pairs)
    assert paired_difference({i: values[i] for i in ids}, baseline, pairs) == found
    old = [*pairs, *dict.fromkeys(pair.driving for pair in pairs.values())]
    name = dict(zip(old, random.sample([f"z{i}" for i in range(len(old))], len(old)), strict=True))
    renamed = [Pair(name[p.id], p.kind, p.reference, name[p.driving], "", {}) for p in pairs.values()]
    moved = {name[i]: value for i, value in values.items()}
    again = paired_difference(moved, dict.fromkeys(moved, 0.0), by_id(renamed))
    fields = ("n", "n_clusters", "mean", "low", "high", "p", "mde")  # the bootstrap deals its draws out by name
    assert [getattr(again, field) for field in fields] == [getattr(found, field) for field in fields]


@settings(deadline=None, max_examples=40)
@given(designs)
def test_the_other_way_round_is_the_same_with_the_other_sign(design):
    values, pairs = crossed(design)
    zero = dict.fromkeys(values, 0.0)
    there, back = paired_difference(values, zero, pairs), paired_difference(zero, values, pairs)
    assert (there.p, there.n) == (back.p, back.n) and there.mde == pytest.approx(back.mde, abs=1e-9)
    assert there.mean == pytest.approx(-back.mean, abs=1e-9)
    if there.low is not None:
        assert (there.low, there.high) == (pytest.approx(-back.high, abs=1e-9), pytest.approx(-back.low, abs=1e-9))
        assert all(map(math.isfinite, astuple(there)[:5])) and 0 < there.p <= 1 and there.low <= there.high
    if there.two_way_low is not None:
        assert there.two_way_low == pytest.approx(-back.two_way_high, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(designs, scores)
def test_what_is_added_to_all_moves_the_interval_and_not_its_width(design, step):
    values, pairs = crossed(design)
    here, there = (estimate({i: v + by for i, v in values.items()}, pairs) for by in (0.0, step))
    assert there.mean == pytest.approx(here.mean + step, abs=1e-9)
    if here.low is not None:
        assert (there.low, there.high) == pytest.approx((here.low + step, here.high + step), abs=1e-9)


def test_the_p_of_all_metrics_are_corrected_together():
    values, pairs = crossed([[float(d)] for d in range(1, 13)])
    zero = dict.fromkeys(values, 0.0)
    alone = paired_difference(values, zero, pairs)
    found = corrected({"a": alone, "b": alone, "none": paired_difference({}, {}, {})})
    assert alone.p == 2 / 4096 and alone.p_holm is None
    assert (found["a"].p_holm, found["b"].p_holm, found["none"].p_holm) == (6 / 4096, 6 / 4096, None)


def test_the_two_way_bootstrap_is_seeded_and_sees_references():
    random = np.random.default_rng(0)
    by_reference = np.broadcast_to(random.normal(size=6), (12, 6)) + 0.01 * random.normal(size=(12, 6))
    values, pairs = crossed(by_reference.tolist())
    low, high = two_way_interval(values, pairs, seed=1)
    assert (low, high) == two_way_interval(values, pairs, seed=1) != two_way_interval(values, pairs, seed=2)
    one_way = estimate(values, pairs)
    assert high - low > 20 * (one_way.high - one_way.low)  # drivers alone look certain, as if references were fixed
    error = np.std(by_reference.mean(0)) / math.sqrt(6)  # of the mean of six references drawn with replacement
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < one_way.mean < high
    assert two_way_interval(*crossed([[1.0], [2.0]])) is None  # one reference


def test_the_two_way_bootstrap_of_unequal_numbers_is_about_the_same_mean():
    values, pairs = crossed([[0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [3.0, 3.0]])
    low, high = two_way_interval(values, pairs)
    assert (low, high) == (0.0, 3.0) and cluster_means(values, pairs).tolist() == [0.0, 0.0, 3.0]
    rows = [(d, (d + r) % 8, float(d % 2)) for d in range(40) for r in range(2 + 6 * (d % 2))]
    pairs = by_id(Pair(f"d{d}r{r}", "different_source", f"r{r}", f"d{d}", "", {}) for d, r, _ in rows)
    low, high = two_way_interval({f"d{d}r{r}": value for d, r, value in rows}, pairs)
    assert low < 0.5 < high < 0.75  # by pairs it would be about 0.8


def test_the_interval_over_drivers_holds_the_truth_where_that_over_pairs_does_not():
    coverage = runpy.run_path(str(CAMPAIGN))["coverage"]
    found = coverage(seed=0, repetitions=1500)
    assert 0.93 <= found["t over drivers"] <= 0.97
    assert found["bootstrap over pairs"] < 0.85 and found["bootstrap over drivers"] < found["t over drivers"]


@settings(deadline=None, max_examples=40)
@given(designs, st.data())
def test_many_groups_at_once_are_each_group_by_itself(design, data):
    values, pairs = crossed(design)
    ids = list(values)
    known = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    groups = data.draw(st.lists(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)), min_size=1, max_size=4))
    value_P = np.array([value if there else math.nan for value, there in zip(values.values(), known, strict=True)])
    cluster_P = np.unique([pairs[pair].cluster for pair in ids], return_inverse=True)[1]
    for found, group in zip(estimates(value_P, np.array(groups), cluster_P), groups, strict=True):
        of_group = {p: values[p] for p, there, inside in zip(ids, known, group, strict=True) if there and inside}
        wanted = astuple(estimate(of_group, pairs))
        for ours, theirs in zip(astuple(found), wanted, strict=True):
            assert ours is theirs is None or ours == pytest.approx(theirs, abs=1e-6)


def test_pairs_of_two_clips_of_one_video_are_one_observation():
    values, pairs = crossed([[1.0], [3.0], [8.0]])
    pairs = {name: replace(pair, cluster="one" if pair.driving != "d2" else "two") for name, pair in pairs.items()}
    assert cluster_means(values, pairs).tolist() == [2.0, 8.0]
    difference = paired_difference(values, dict.fromkeys(values, 0.0), pairs)
    assert (difference.n, difference.n_clusters) == (3, 2)
    moved = {name: replace(pair, reference=f"r{name}") for name, pair in pairs.items()}
    assert two_way_interval(values, moved) == two_way_interval(
        values, {n: replace(p, driving=p.cluster) for n, p in moved.items()}
    )
