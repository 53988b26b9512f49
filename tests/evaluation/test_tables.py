"""Summaries on a terminal: readable with many metrics and models, and never more certain than the numbers."""

import re

import pytest
from rich.console import Console

from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair
from evaluation.summary import SummaryRow, summarise
from evaluation.tables import print_differences, print_means, print_missing, probability, with_interval

MODELS = ["untrained", "stage1", "stage2", "stage3"]
PAIRS = [Pair(f"p{i}", "different_source", f"r{i % 4}", f"d{i // 4}", "", {}) for i in range(48)]


def score(model: str, pair: str, number: int, value: float | None, metric: str = "psnr") -> dict:
    status, reason = ("ok", None) if value is not None else ("not_computable", "nobody")
    names = {"model": model, "pair": pair, "metric": metric, "metric_id": f"{metric}@{number}"}
    return names | {"value": value, "status": status, "reason": reason}


def rows(metrics: int, models=MODELS, missing=()) -> list[SummaryRow]:
    scores = [
        score(
            m,
            p.id,
            n,
            None if (m, p.driving) in missing else 20 + n + 0.37 * (place + 1) * (3 + int(p.driving[1:]) % 5),
        )
        for n in range(metrics)
        for place, m in enumerate(models)
        for p in PAIRS
    ]
    return summarise(scores, PAIRS, models)


def printed(function, summary, width: int) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        function(console, summary, "Title")
    return captured.get()


@pytest.mark.parametrize("function", [print_means, print_differences])
def test_thirty_metrics_of_four_models_fit_100_columns_in_two_lines_each(function):
    text = printed(function, rows(30), 100)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.count("48 pairs, 12 drivers") == 30 and text.count("metric") >= 1
    assert len(re.findall(r"\[[-+.\d]+, [-+.\d]+\]", text)) == 30 * (4 if function is print_means else 3)
    body = [line for line in text.splitlines() if "psnr" in line or "pairs," in line]
    assert len(body) == 60


def test_more_models_than_fit_stand_below_one_another():
    many = [f"a/rather/long/run/name/stage{i}" for i in range(9)]
    text = printed(print_means, rows(2, many), 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.count("48 pairs, 12 drivers") == 2 * 3 and text.count("Title") == 1
    assert len(re.findall(r"\[[.\d]+, [.\d]+\]", text)) == 2 * 9


def test_a_cell_of_fewer_pairs_says_so_and_nothing_is_n_a():
    missing = {("stage1", f"d{i}") for i in range(5)} | {("stage2", f"d{i}") for i in range(12)}
    text = printed(print_means, rows(1, missing=missing), 100)
    assert "28 pairs, 7 drivers" in text and "n/a" in text and "0 pairs, 0 drivers" in text
    text = printed(print_means, rows(1, missing={("stage1", f"d{i}") for i in range(1, 12)}), 100)
    assert "4 pairs, 1 driver" in text and "With one driver there is none" in " ".join(text.split())
    assert len(re.findall(r"\[[.\d]+, [.\d]+\]", text)) == 3


def test_the_best_is_green_and_a_clear_difference_bold():
    console = Console(width=100, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        print_means(console, rows(1), "Title")
        print_differences(console, rows(1), "Title")
    best = re.findall(r"\x1b\[1;32m([\d.]+)\x1b\[0m", captured.get())
    assert len(best) == 1
    assert len(re.findall(r"\x1b\[1m\+1\.\d+  p 5e-04\x1b\[0m", captured.get())) == 3


@pytest.mark.parametrize(
    ("value", "low", "high", "signed", "shown"),
    [
        (0.81234, 0.79, 0.834, False, ("0.812", "[0.790, 0.834]")),
        (0.99532, 0.99492, 0.99572, False, ("0.9953", "[0.9949, 0.9957]")),
        (22.414, -3.1, 47.9, False, ("22.4", "[-3.1, 47.9]")),
        (1234.5, 1000.0, 1469.0, False, ("1234", "[1000, 1469]")),
        (0.0003, -0.2, 0.2, False, ("0.000", "[-0.200, 0.200]")),
        (0.0123, -0.0077, 0.0323, True, ("+0.012", "[-0.008, +0.032]")),
        (0.0, -0.5, 0.5, True, ("+0.0", "[-0.5, +0.5]")),
        (1.5, None, None, True, ("+1.5", "")),
        (2.0, 2.0, 2.0, False, ("2", "[2, 2]")),
        (1e-9, 0.0, 2e-9, False, ("0.000000", "[0.000000, 0.000000]")),
        (None, None, None, False, ("n/a", "")),
    ],
)
def test_as_many_digits_as_say_something(value, low, high, signed, shown):
    assert with_interval(value, low, high, signed) == shown


@pytest.mark.parametrize(("p", "shown"), [(1.0, "1.00"), (0.0123, "0.012"), (4.9e-4, "5e-04")])
def test_probabilities(p, shown):
    assert probability(p) == shown


def test_metrics_without_any_value_are_told_with_their_reasons_instead_of_rows():
    lpips = [
        {**score("a", f"p{n}", 1, None, "lpips"), "reason": why} for n, why in enumerate(["no truth"] * 3 + ["no file"])
    ]
    there = [score("a", "p0", 1, 0.5, "ssim"), {**score("a", "p1", 1, None, "ssim"), "reason": "no truth"}]
    scores = [*lpips, *there, {**score("a", "p0", 1, None, "psnr"), "reason": "no truth"}]
    assert "lpips" not in (text := printed(print_means, summarise(scores, PAIRS, ["a"]), 100)) and "ssim" in text
    console = Console(width=100)
    with console.capture() as captured:
        print_missing(console, scores)
    told = ["No value of any pair", "lpips: no truth; no file", "psnr: no truth"]
    assert captured.get().splitlines() == told
    with console.capture() as captured:
        print_missing(console, there)
    assert not captured.get()


def test_every_metric_has_an_arrow():
    summary = summarise([score("a", "p0", 1, 1.0, name) for name in METRICS], PAIRS, ["a"])
    text = printed(print_means, summary, 100)
    assert sum(text.count(each) for each in "↑↓→") == len(METRICS)
