"""Strengths and agreement against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.votes.agreement import krippendorff_alpha
from evaluation.votes.ballots import Vote
from evaluation.votes.bradley_terry import bootstrap, strengths
from evaluation.votes.preferences import preference

MODELS = ["a", "b", "c"]


@pytest.mark.parametrize(("won", "lost"), [(3, 1), (7, 7), (0.5, 12.5), (40, 0)])
def test_two_models_differ_by_the_log_odds(won, lost):
    first, second = strengths(np.array([[0, won], [lost, 0]]))
    assert first - second == pytest.approx(math.log((won + 0.5) / (lost + 0.5)), abs=1e-8)
    assert first + second == pytest.approx(0, abs=1e-12)


def test_three_models_whose_odds_multiply():
    """Of 13.5 meetings each (with the prior), 2 : 1, 2 : 1 and 4 : 1 fit strengths 4 : 2 : 1 exactly."""
    wins = np.array([[0, 9, 10.8], [4.5, 0, 9], [2.7, 4.5, 0]]) - 0.5 * (1 - np.eye(3))
    assert np.exp(strengths(wins)) == pytest.approx([2, 1, 0.5], abs=1e-8)


def test_three_models_at_the_maximum():
    """Circular votes fit no strengths; at the maximum each has as many wins as it is expected to."""
    wins = np.array([[0, 5, 1], [2, 0, 6], [4, 1, 0]])
    s = strengths(wins)
    made_up = wins + 0.5 * (1 - np.eye(3))
    chance = 1 / (1 + np.exp(s[None, :] - s[:, None]))
    expected = ((made_up + made_up.T) * chance * (1 - np.eye(3))).sum(1)
    assert expected == pytest.approx(made_up.sum(1), abs=1e-7)


def test_a_model_that_always_wins_and_ones_that_never_met_stay_finite():
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[2, 3] = 1000
    found = strengths(wins)
    assert np.isfinite(found).all() and found[0] > found[1] and found[0] == pytest.approx(found[2], abs=1e-7)


choices = st.sampled_from(["left", "same", "right"])
sides = st.permutations(MODELS).map(lambda order: tuple(order[:2]))
ballots = st.lists(st.tuples(sides, choices, st.sampled_from("pqrs")), min_size=1, max_size=25)


def votes_of(found) -> list[Vote]:
    return [
        Vote(f"r{n % 3}", f"{pair}{sorted(two)}", pair, "motion", *two, choice)
        for n, (two, choice, pair) in enumerate(found)
    ]


@settings(max_examples=12, deadline=None)
@given(ballots, st.randoms(use_true_random=False), st.permutations(MODELS))
def test_order_of_votes_and_of_models_and_the_sides_change_nothing(found, random, order):
    votes = votes_of(found)
    once = preference(votes, MODELS, "motion")
    turned = {"left": "right", "same": "same", "right": "left"}
    other = [Vote(v.rater, v.item, v.pair, v.aspect, v.right, v.left, turned[v.choice]) for v in votes]
    random.shuffle(other)
    again = preference(other, order, "motion")
    assert (once.votes, once.ties, once.raters) == (again.votes, again.ties, again.raters)
    for name in ("strengths", "low", "high"):
        if (mine := getattr(once, name)) is not None:
            by_model = dict(zip(order, getattr(again, name), strict=True))
            assert mine == pytest.approx([by_model[model] for model in MODELS], abs=1e-6)
    for (model, rival), counts in once.counts.items():
        assert again.counts.get((model, rival), again.counts.get((rival, model), ())[::-1]) == counts


@given(ballots)
@settings(max_examples=12, deadline=None)
def test_a_further_win_raises_the_winner(found):
    before = preference(votes_of(found), MODELS, "motion").strengths
    after = preference([*votes_of(found), Vote("r", "i", "p", "motion", "a", "b", "left")], MODELS, "motion").strengths
    assert after[0] - after[1] > before[0] - before[1]


def test_intervals_are_over_pairs_and_the_seed_s():
    alike = np.tile([[0, 3.0], [1, 0]], (6, 1, 1))
    low, high = bootstrap(alike, 0)
    assert low == pytest.approx(high), "pairs that do not differ"
    assert low == pytest.approx(strengths(alike.sum(0)))
    mixed = alike.copy()
    mixed[:3] = mixed[:3].swapaxes(1, 2)
    low, high = bootstrap(mixed, 0)
    assert (low < -0.1).all() and (high > 0.1).all() and np.array_equal(bootstrap(mixed, 0)[0], low)
    assert bootstrap(mixed[:1], 0) is None


def test_many_votes_on_one_pair_give_no_interval():
    votes = [Vote(f"r{n}", "i", "p", "motion", "a", "b", "left") for n in range(50)]
    found = preference(votes, ["a", "b"], "motion")
    assert found.low is None and found.alpha is None and found.left == 1
    assert preference(votes, ["a", "b"], "quality") is None


def test_alpha_of_published_examples():
    """Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): B, two observers, and C, four with gaps."""
    two = zip("0100000010", "1110010000", strict=True)
    assert krippendorff_alpha(two) == pytest.approx(1 - 0.4 * (20 * 19) / (2 * 6 * 14))
    four = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    units = [[value for value in unit if value != "."] for unit in zip(*four, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_full_of_no_and_of_incomparable_agreement():
    assert krippendorff_alpha([["x", "x"], ["y", "y"]]) == 1
    assert krippendorff_alpha([["x", "y"], ["y", "x"]]) == pytest.approx(1 - 1 / (8 / 12))
    assert krippendorff_alpha([["x", "x"], ["x", "x"]]) is None
    assert krippendorff_alpha([["x"], ["y"]]) is None and krippendorff_alpha([]) is None
