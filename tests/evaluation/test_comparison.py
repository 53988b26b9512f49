"""Summaries and comparisons of written evaluations."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.compare import compare_runs, write_comparison
from evaluation.comparison import held_together
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair, write_pairs
from evaluation.plots import draw_losses, draw_metrics
from evaluation.scoring import SCHEMA
from evaluation.summary import SummaryRow, best_models, summarise
from infra import commits, config
from infra.errors import SteadyDancerError, UsageError
from model import video

CONFIG = config.load("demo")


def row(model, pair, metric="psnr", value=None, status=None, reason=None, metric_id=None) -> dict:
    status = status or ("ok" if value is not None else "not_computable")
    metric_id = metric_id or METRICS[metric].identify(CONFIG)
    reason = None if status == "ok" else reason or "no ground truth"
    return {
        "model": model,
        "pair": pair,
        "kind": "same_source",
        "metric": metric,
        "metric_id": metric_id,
        "value": value,
        "status": status,
        "reason": reason,
    }


def write_evaluation(
    folder, values: dict[str, dict[str, float | None]], metric="psnr", metric_id=None, videos=(), weights=""
):
    """``values``: model -> pair -> value."""
    pairs = sorted({pair for by_pair in values.values() for pair in by_pair})
    rows = [row(m, p, metric, v, metric_id=metric_id) for m, by_pair in values.items() for p, v in by_pair.items()]
    rows = [{**each, "weights": weights} for each in rows]
    with commits.write(
        folder, "evaluation", meta={"models": list(values), "metrics": [metric], "notices": []}
    ) as draft:
        write_pairs(draft / "pairs.parquet", [Pair(p, "same_source", p, p, f"<i>{p}</i>", {}) for p in pairs])
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), draft / "scores.parquet")
        for model, pair, frames in videos:
            target = draft / "videos" / model
            target.mkdir(parents=True, exist_ok=True)
            video.write(target / f"{pair}.mp4", frames, 16.0)
    return commits.read(folder)


def summary_of(scores, models):
    """Each pair driven by a video of its own."""
    return summarise(scores, [Pair(p, "same_source", p, p, "", {}) for p in {r["pair"] for r in scores}], models)


def by_model(rows, metric="psnr"):
    return {r.model: r for r in rows if r.metric == metric}


def test_means_and_differences_are_over_what_was_computed():
    scores = [row("a", "p1", value=10.0), row("a", "p2", value=14.0), row("a", "p3")]
    scores += [row("b", "p1", value=11.0), row("b", "p2"), row("b", "p3", value=40.0)]
    a, b = (by_model(summary_of(scores, ["a", "b"]))[m] for m in "ab")
    assert (a.mean, a.n, a.n_clusters, a.asked) == (12.0, 2, 2, 3)
    half = 12.706204736432095 * 2.0  # t(0.975, 1) times the error of 10 and 14
    assert (a.low, a.high) == (pytest.approx(12 - half), pytest.approx(12 + half))
    assert (a.against, a.difference, a.n_common, a.p_holm) == (None, None, 0, None)
    assert (b.against, b.difference, b.difference_low, b.n_common, b.p, b.mde) == ("a", 1.0, None, 1, None, None)


def test_pairs_of_one_driver_are_one_observation_and_p_are_corrected_over_the_metrics_asked_for():
    generator = np.random.default_rng(0)
    pairs = [Pair(f"p{i}", "different_source", f"r{i % 4}", f"d{i // 4}", "", {}) for i in range(48)]
    noise = generator.normal(size=12)
    gain = {"psnr": 3.0, "ssim": 0.0, "temporal_flickering": None}
    scores = [
        row(m, p.id, metric, None if by is None else noise[int(p.driving[1:])] * (m == "b") + by * (m == "b"))
        for m in "ab" for metric, by in gain.items() for p in pairs
    ]  # fmt: skip
    found = {r.metric: r for r in summarise(scores, pairs, ["a", "b"]) if r.model == "b"}
    assert (found["psnr"].n_common, found["psnr"].n_common_clusters) == (48, 12)
    half = 2.200985160091639 * np.std(noise, ddof=1) / np.sqrt(12)
    assert found["psnr"].difference_high - found["psnr"].difference == pytest.approx(half)
    assert found["psnr"].two_way_low < found["psnr"].difference < found["psnr"].two_way_high
    assert (found["psnr"].p, found["psnr"].p_holm) == (2 / 4096, 3 * 2 / 4096)  # three were asked for
    assert found["ssim"].p_holm > 0.05 and found["temporal_flickering"].p_holm is None


def test_the_summary_does_not_depend_on_the_order_of_rows():
    generator = np.random.default_rng(0)
    scores = [row(m, f"p{i}", metric, float(v)) for m in "abc" for metric in ("psnr", "ssim") for i, v in
              enumerate(generator.normal(size=7))]  # fmt: skip
    shuffled = [scores[i] for i in generator.permutation(len(scores))]
    assert summary_of(scores, list("abc")) == summary_of(shuffled, list("abc"))


def test_renaming_pairs_changes_no_mean():
    scores = [row(m, f"p{i}", value=float(3 * i + (m == "b"))) for m in "ab" for i in range(5)]
    renamed = [{**r, "pair": r["pair"].replace("p", "z")} for r in scores]
    assert [(r.mean, r.low, r.difference_high, r.p) for r in summary_of(scores, ["a", "b"])] == [
        (r.mean, r.low, r.difference_high, r.p) for r in summary_of(renamed, ["a", "b"])
    ]


def test_best_follows_the_metric_and_wants_equal_numbers_of_values():
    name = "motion_energy_ratio"
    scores = [row(m, p, name, v) for m, v in (("a", 0.4), ("b", 1.2), ("c", 1.9)) for p in ("p1", "p2")]
    assert set().union(*best_models(summary_of(scores, list("abc"))).values()) == {"b"}
    scores += [row("d", "p1", name, 1.0), row("d", "p2", name)]
    assert set().union(*best_models(summary_of(scores, list("abcd"))).values()) == {"b"}


def best(scores, models) -> set[str]:
    return set().union(*best_models(summary_of(scores, models)).values())


def test_values_on_both_sides_of_a_target_do_not_cancel():
    name = "motion_energy_ratio"
    scores = [row("a", p, name, v) for p, v in (("p1", 0.2), ("p2", 1.8))]  # 1 on average
    scores += [row("b", p, name, 0.9) for p in ("p1", "p2")]
    assert best(scores, ["a", "b"]) == {"b"}
    lags = [row("a", p, "motion_lag", v) for p, v in (("p1", -9.0), ("p2", 9.0))]
    lags += [row("b", p, "motion_lag", 1.0) for p in ("p1", "p2")]
    assert best(lags, ["a", "b"]) == {"b"}
    assert [r.difference for r in summary_of(lags, ["a", "b"])] == [None, 1.0]  # of values, not of badness


def test_no_model_is_best_over_other_pairs_than_the_others():
    scores = [row("a", "p1", value=20.0), row("a", "p2", value=30.0), row("a", "p3")]
    scores += [row("b", "p1", value=21.0), row("b", "p2"), row("b", "p3", value=10.0)]
    assert best(scores, ["a", "b"]) == {"b"}  # better on p1, which is the only one both have
    apart = [row("a", "p1", value=20.0), row("a", "p2"), row("b", "p1"), row("b", "p2", value=10.0)]
    assert best(apart, ["a", "b"]) == set()


def test_runs_are_compared_on_their_common_pairs_and_it_is_said(tmp_path, capsys):
    one = write_evaluation(tmp_path / "one" / "evaluation", {"stage3": {"p1": 10.0, "p2": 20.0, "p3": 99.0}})
    two = write_evaluation(tmp_path / "two" / "evaluation", {"stage3": {"p1": 13.0, "p2": 21.0}, "stage4": {"p1": 1.0}})
    comparison = held_together([one, two])
    assert comparison.models == ["one/stage3", "two/stage3", "two/stage4"]
    assert [pair.id for pair in comparison.pairs] == ["p1", "p2"]
    rows = by_model(comparison.summary)
    assert rows["one/stage3"].mean == 15.0
    assert (rows["two/stage3"].against, rows["two/stage3"].difference) == ("one/stage3", 2.0)
    assert rows["two/stage4"].against is None
    assert compare_runs([one, two], tmp_path / "out").is_file()
    table = pq.read_table(tmp_path / "out" / "table.parquet").to_pylist()
    assert [SummaryRow(**found) for found in table] == comparison.summary
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "DIFFERENT PAIR SETS: compared on the 2 pairs all runs share (one has 3, two has 2)" in shown
    assert "Difference to one" in shown and "+2" in shown


def test_values_of_different_definitions_are_never_mixed(tmp_path):
    one = write_evaluation(tmp_path / "one" / "evaluation", {"s": {"p1": 10.0}})
    two = write_evaluation(tmp_path / "two" / "evaluation", {"s": {"p1": 30.0}}, metric_id="psnr@0/gray")
    comparison = held_together([one, two])
    assert any("DIFFERENT DEFINITIONS of psnr" in notice for notice in comparison.notices)
    assert all(r.difference is None for r in comparison.summary)
    assert best_models(comparison.summary) == {}
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_what_cannot_be_compared_is_refused(tmp_path):
    one = write_evaluation(tmp_path / "one" / "evaluation", {"s": {"p1": 10.0}})
    two = write_evaluation(tmp_path / "two" / "evaluation", {"s": {"p2": 10.0}})
    with pytest.raises(SteadyDancerError, match="no pair in common"):
        held_together([one, two])
    with pytest.raises(UsageError, match="named twice"):
        held_together([one, one])
    with pytest.raises(UsageError):
        held_together([])


def test_a_checkpoint_that_is_gone_costs_its_loss_curve_only(tmp_path):
    with commits.write(tmp_path / "stage1", "checkpoint", meta={"stage": 1}) as folder:
        pq.write_table(pa.table({"step": [0, 1], "loss": [2.0, 1.0]}), folder / "history.parquet")
    parents = [commits.read(tmp_path / "stage1")]
    source = write_evaluation(tmp_path / "plain", {"stage1": {"p1": 10.0}})
    with commits.write(tmp_path / "evaluation", "evaluation", parents=parents, meta=source.meta) as folder:
        for name in source.files:
            (folder / name).write_bytes((source.path / name).read_bytes())
    evaluation = commits.read(tmp_path / "evaluation")
    assert held_together([evaluation]).losses == {"stage1": [(0, 2.0), (1, 1.0)]}
    (tmp_path / "stage1" / "history.parquet").unlink()
    comparison = held_together([evaluation])
    assert comparison.losses == {} and "No loss curve" in comparison.notices[0]
    assert "Training loss" not in write_comparison(comparison, tmp_path / "out").read_text()


def test_values_by_different_weights_are_never_mixed(tmp_path):
    one, two, three = (
        write_evaluation(tmp_path / name / "evaluation", {"s": {"p1": value}}, "lpips", weights=weights)
        for name, value, weights in (("one", 0.1, "vgg-aaaa"), ("two", 0.9, "vgg-bbbb"), ("three", 0.8, "vgg-bbbb"))
    )
    (notice,) = held_together([one, two]).notices
    assert "DIFFERENT DEFINITIONS of lpips" in notice and "vgg-aaaa" in notice and "vgg-bbbb" in notice
    comparison = held_together([one, two])
    assert all(r.difference is None for r in comparison.summary) and best_models(comparison.summary) == {}
    assert write_comparison(comparison, tmp_path / "out").is_file()
    same = held_together([two, three])
    assert same.notices == [] and [r.difference for r in same.summary] == [None, pytest.approx(-0.1)]
    assert {r.metric_id for r in same.summary} == {METRICS["lpips"].identify(CONFIG)}


def test_a_metric_that_is_not_known_here_names_it_and_its_evaluation(tmp_path):
    plain = write_evaluation(tmp_path / "plain", {"s": {"p1": 10.0}})
    with commits.write(tmp_path / "later", "evaluation", meta=plain.meta) as folder:
        write_pairs(folder / "pairs.parquet", [Pair("p1", "same_source", "p1", "p1", "", {})])
        table = pa.Table.from_pylist([{**row("s", "p1", value=1.0), "metric": "dance_joy"}], SCHEMA)
        pq.write_table(table, folder / "scores.parquet")
    with pytest.raises(SteadyDancerError, match=r"later has scores of 'dance_joy', a metric that this version"):
        held_together([commits.read(tmp_path / "later")])


def test_two_checkpoints_of_one_stage_have_a_curve_each(tmp_path):
    parents = []
    for name, loss in (("mine", 2.0), ("theirs", 5.0)):
        with commits.write(tmp_path / name / "stage3", "checkpoint", meta={"stage": 3}) as folder:
            pq.write_table(pa.table({"step": [0], "loss": [loss]}), folder / "history.parquet")
        parents.append(commits.read(tmp_path / name / "stage3"))
    source = write_evaluation(tmp_path / "plain", {"mine": {"p1": 10.0}, "again": {"p1": 1.0}, "theirs": {"p1": 1.0}})
    mine, theirs = (parent.id for parent in parents)
    told = {"checkpoints": {"mine": mine, "again": mine, "theirs": theirs}}
    losses = {}
    for name, more in (("told", told), ("older", {})):
        with commits.write(tmp_path / name, "evaluation", parents=parents, meta=source.meta | more) as folder:
            for file in source.files:
                (folder / file).write_bytes((source.path / file).read_bytes())
        losses[name] = held_together([commits.read(tmp_path / name)]).losses
    assert losses["told"] == {"mine": [(0, 2.0)], "again": [(0, 2.0)], "theirs": [(0, 5.0)]}
    assert losses["older"] == {"stage3": [(0, 2.0)], f"stage3@{theirs[:8]}": [(0, 5.0)]}


def test_names_are_shown_as_they_are(tmp_path):
    values = {name: {"p1": 1.0, "p2": 2.0} for name in ("$\\frac$", "a$b$", "$_$")}
    comparison = held_together([write_evaluation(tmp_path / "e", values)])
    svg = draw_metrics(comparison.summary, comparison.models) + draw_losses({name: [(0, 1.0)] for name in values})
    assert all(svg.count(f"{name}<") >= 1 and f"{name}: loss" in svg for name in values)
