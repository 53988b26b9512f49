"""What `compare` prints of all videos together."""

from io import StringIO

import pyarrow.parquet as pq
from evaluations import pair, scored, written
from rich.console import Console

from evaluation.compare import compare_runs

ABOUT = {"kind": "same_source", "metric": "kid", "metric_id": "kid@1/x", "n_real": 9, "videos": 7}


def row(model: str, value: float | None, weights: str = "i-1") -> dict:
    error = None if value is None else 0.01
    reason = "no weights" if value is None else None
    told = {"value": value, "standard_error": error, "status": "ok", "reason": reason, "weights": weights}
    return {**ABOUT, **told, "model": model}


def printed(folder, *evaluations) -> list[str]:
    console = Console(width=200, record=True, file=StringIO())
    compare_runs(evaluations, folder, console)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_set_metrics_are_printed_and_kept(tmp_path):
    scores = [scored(model, "p", 1.0) for model in "ab"]
    lines = printed(tmp_path, written(tmp_path / "e", "ab", [pair("p")], scores, sets=[row("a", 0.25), row("b", None)]))
    assert "kid@1/x same source a 0.25 ± 0.01 7" in lines and "kid@1/x same source b n/a: no weights 7" in lines
    kept = pq.read_table(tmp_path / "sets.parquet").to_pylist()
    assert [(row["model"], row["value"]) for row in kept] == [("a", 0.25), ("b", None)]


def test_set_metrics_of_other_weights_are_other_metrics(tmp_path):
    runs = [
        written(tmp_path / name / "e", ["a"], [pair("p")], [scored("a", "p", 1.0)], sets=[row("a", 0.5, f"i-{name}")])
        for name in ("one", "two")
    ]
    lines = printed(tmp_path, *runs)
    assert [line for line in lines if line.startswith("kid@")] == [
        f"kid@1/x i-{name} same source {name}/a 0.5 ± 0.01 7" for name in ("one", "two")
    ]
