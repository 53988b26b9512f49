"""Differences by stratum, as `compare --by` prints them."""

from io import StringIO

import pytest
from evaluations import pair, scored, written
from rich.console import Console
from typer.testing import CliRunner

import steadydancer
from evaluation.compare import compare_runs, print_strata
from infra import commits
from infra.errors import UsageError


@pytest.fixture
def evaluation(tmp_path):
    pairs = [pair(f"p{n}", style="anime" if n % 2 else "real_photo", gap=float(n)) for n in range(6)]
    scores = [scored(m, p.id, n * (m == "b") * 2.0) for m in "ab" for n, p in enumerate(pairs)]
    return written(tmp_path / "e", "ab", pairs, scores)


def told(evaluation, folder, by: str) -> list[str]:
    console = Console(width=160, record=True, file=StringIO())
    compare_runs([evaluation], folder, console, by)
    text = console.export_text()
    return [" ".join(line.split()) for line in text[text.index("b minus a by") :].splitlines()]


def test_each_value_of_a_stratum_has_its_own_difference(evaluation, tmp_path):
    lines = told(evaluation, tmp_path / "out", "style")
    assert lines[0] == "b minus a by style" and "metric anime real photo" in lines
    assert "psnr ↑ +6 +4" in lines and "3 pairs, 3 drivers 3 pairs, 3 drivers" in lines
    assert "metric different source" in told(evaluation, tmp_path / "out", "kind")


def test_a_committed_comparison_is_parted_too(evaluation, tmp_path):
    with commits.write(tmp_path / "comparison", "comparison", parents=[evaluation]):
        pass
    console = Console(width=160, record=True, file=StringIO())
    print_strata(commits.read(tmp_path / "comparison"), "style", console)
    assert "b minus a by style" in console.export_text()


def test_along_a_number_there_is_a_slope(evaluation, tmp_path):
    lines = told(evaluation, tmp_path / "out", "gap")
    assert "metric change per unit" in lines and any(line.startswith("psnr ↑ +2") for line in lines)


def test_a_stratum_that_no_pair_has_is_refused(evaluation, tmp_path):
    with pytest.raises(UsageError, match=r"a stratum 'stile'(?s:.*)gap, kind, style"):
        told(evaluation, tmp_path / "out", "stile")
    arguments = ["compare", str(evaluation.path), "--out", str(tmp_path / "out"), "--by", "style"]
    result = CliRunner().invoke(steadydancer.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "b minus a by style" in result.output
