"""The release gate on written evaluations, through the function and the command."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import steadydancer
from evaluation import release
from evaluation.metrics.registry import METRICS
from evaluation.pairs import Pair, write_pairs
from evaluation.release import gate, gate_release, read_margins
from evaluation.scoring import SCHEMA
from infra import commits, config
from infra.errors import SteadyDancerError, UsageError

CONFIG = config.load("demo")
DRIVERS, PER_DRIVER = 6, 2

NOISE = (-0.2, 0.1, 0.05, -0.1, 0.0, 0.15)


def evaluation(
    folder,
    *,
    models=("stage3",),
    pairs=range(DRIVERS * PER_DRIVER),
    metric_id=None,
    weights="",
    kind=lambda i: "different_source",
    **metrics,
):
    """Metrics: the value of a pair's number, or None; the same for every model, one more for each further one."""
    kind = kind or (lambda i: "different_source")
    made = [Pair(f"p{i}", kind(i), f"r{i}", f"d{i // PER_DRIVER}", "", {}) for i in pairs]
    rows = [
        {
            "model": model,
            "pair": f"p{i}",
            "kind": kind(i),
            "metric": name,
            "metric_id": metric_id or METRICS[name].identify(CONFIG),
            "weights": weights,
            "value": None if value(i) is None else value(i) + place,
            "status": "not_computable" if value(i) is None else "ok",
            "reason": "nobody" if value(i) is None else None,
        }
        for place, model in enumerate(models)
        for name, value in metrics.items()
        for i in pairs
    ]
    meta = {"models": list(models), "metrics": list(metrics), "notices": []}
    with commits.write(folder / "evaluation", "evaluation", meta=meta) as draft:
        write_pairs(draft / "pairs.parquet", made)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), draft / "scores.parquet")
    return commits.read(folder / "evaluation")


def shifted(by: float):
    """A base of 20 that differs between pairs, plus ``by``, plus a driver's noise if ``by`` is not 0."""
    return lambda i: 20.0 + i + (by + NOISE[i // PER_DRIVER] if by else 0.0)


@pytest.mark.parametrize(
    ("metric", "by", "margin", "verdict"),
    [
        ("psnr", 1.0, 0.5, "pass"),  # higher is better
        ("psnr", -0.3, 0.5, "pass"),
        ("psnr", -0.5, 0.5, "inconclusive"),
        ("psnr", -1.0, 0.5, "fail"),
        ("motion_lag", -1.0, 0.5, "pass"),  # all values lie above the target 0: lower is nearer
        ("motion_lag", 1.0, 0.5, "fail"),
    ],
)
def test_verdicts_follow_the_direction(tmp_path, metric, by, margin, verdict):
    baseline = evaluation(tmp_path / "a", **{metric: shifted(0.0)})
    judged = gate(baseline, evaluation(tmp_path / "b", **{metric: shifted(by)}), {metric: margin})
    assert judged.verdict == judged.metrics[0].verdict == verdict
    assert (judged.baseline, judged.candidate) == ("a/stage3", "b/stage3")
    sign = 1 if metric == "psnr" else -1
    assert judged.metrics[0].difference.mean == pytest.approx(sign * by)
    assert (judged.metrics[0].difference.n, judged.metrics[0].difference.n_clusters) == (12, 6)


def test_a_model_beyond_the_target_is_as_far_as_one_below_it(tmp_path):
    baseline = evaluation(tmp_path / "a", motion_energy_ratio=lambda i: 0.6 + 0.01 * (i % 3))
    candidate = evaluation(tmp_path / "b", motion_energy_ratio=lambda i: 1 / (0.6 + 0.01 * (i % 3)))
    (found,) = gate(baseline, candidate, {"motion_energy_ratio": 0.1}).metrics
    assert found.difference.mean == pytest.approx(0, abs=1e-12) and found.verdict == "pass"


def test_no_value_in_common_is_inconclusive_and_so_is_one_driver(tmp_path):
    halves = [lambda i: 20.0 + i if i % 2 else None, lambda i: None if i % 2 else 30.0 + i]
    baseline = evaluation(tmp_path / "a", psnr=halves[0], ssim=shifted(0.0))
    candidate = evaluation(tmp_path / "b", psnr=halves[1], ssim=lambda i: 30.0 if i < PER_DRIVER else None)
    judged = gate(baseline, candidate, {"psnr": 1.0, "ssim": 1.0, "temporal_flickering": 1.0})
    assert [(m.verdict, m.difference.n) for m in judged.metrics] == [("inconclusive", n) for n in (0, 2, 0)]
    assert judged.verdict == "inconclusive" and judged.metrics[1].difference.mean is not None


@pytest.mark.parametrize(("lost", "verdict"), [(0, "pass"), (2, "pass"), (3, "inconclusive"), (30, "inconclusive")])
def test_a_candidate_that_lost_values_cannot_pass_by_the_rest(tmp_path, capsys, lost, verdict):
    def some(i):
        return None if i < lost else 30.0 + i + NOISE[i % 6]

    baseline = evaluation(tmp_path / "a", pairs=range(40), psnr=lambda i: 20.0 + i, ssim=lambda i: 0.5)
    candidate = evaluation(tmp_path / "b", pairs=range(40), psnr=some, ssim=lambda i: 0.5)
    judged = gate(baseline, candidate, {"psnr": 0.5, "ssim": 0.01})
    assert [metric.verdict for metric in judged.metrics] == [verdict, "pass"] and judged.verdict == verdict
    assert judged.notices == [f"LOST VALUES of psnr: the candidate lost {lost} of 40."] * (lost > 0)
    assert gate(candidate, baseline, {"psnr": 50.0}).verdict == "pass"  # what it gained does no harm
    worse = evaluation(tmp_path / "c", pairs=range(40), psnr=lambda i: some(i) and some(i) - 20)
    assert gate(baseline, worse, {"psnr": 0.5}).verdict == "fail"


def test_pairs_of_one_kind_are_judged_alone(tmp_path, capsys):
    def psnr(i):
        return 20.0 + i + (-3.0 if i % 3 == 0 else 3.0) + NOISE[i // PER_DRIVER]

    kinds = {"kind": lambda i: "different_source" if i % 3 else "same_source"}
    evaluation(tmp_path / "a", psnr=lambda i: 20.0 + i, **kinds), evaluation(tmp_path / "b", psnr=psnr, **kinds)
    (tmp_path / "m.yaml").write_text("psnr: 0.5\n")
    command = ["gate-release", *(str(tmp_path / name / "evaluation") for name in "ab")]
    codes, shown = {}, {}
    for kind in ("same_source", "different_source", "all"):
        codes[kind] = steadydancer._main([*command, "--margins", str(tmp_path / "m.yaml"), "--kind", kind])
        shown[kind] = capsys.readouterr().out
    assert codes == {"same_source": 1, "different_source": 0, "all": 3}
    assert "4 pairs" in shown["same_source"] and "8 pairs" in shown["different_source"]
    assert "12 pairs" in shown["all"] and "4 same source" in shown["all"] and "8 different source" in shown["all"]
    assert steadydancer._main([*command, "--margins", str(tmp_path / "m.yaml"), "--kind", "some"]) == 2


def test_other_pair_sets_are_compared_on_the_intersection_and_it_is_said(tmp_path, capsys):
    baseline = evaluation(tmp_path / "a", psnr=shifted(0.0))
    candidate = evaluation(tmp_path / "b", pairs=range(4, 16), psnr=shifted(0.0))
    (tmp_path / "m.yaml").write_text("psnr: 0.5\n")
    code = gate_release(baseline.path, candidate.path, tmp_path / "m.yaml", None, Console(width=100))
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert code == 0 and "DIFFERENT PAIR SETS: compared on the 8 pairs" in shown and "8 pairs, 4 drivers" in shown
    with pytest.raises(SteadyDancerError, match="no pair in common"):
        gate(baseline, evaluation(tmp_path / "c", pairs=range(20, 22), psnr=shifted(0.0)), {"psnr": 1.0})


def test_other_definitions_and_other_weights_are_refused(tmp_path):
    baseline = evaluation(tmp_path / "a", psnr=shifted(0.0))
    for name, difference in (("b", {"metric_id": "psnr@0/gray"}), ("c", {"weights": "net sha256:1"})):
        candidate = evaluation(tmp_path / name, psnr=shifted(0.0), **difference)
        with pytest.raises(UsageError, match=f"define psnr differently.*{name}/stage3"):
            gate(baseline, candidate, {"psnr": 1.0})
        gate(baseline, candidate, {"ssim": 1.0})  # of no matter to others


def test_the_model_is_the_last_one_or_the_named_one(tmp_path):
    baseline = evaluation(tmp_path / "a", models=("stage1", "stage2", "stage3"), psnr=shifted(0.0))
    candidate = evaluation(tmp_path / "b", models=("stage1", "stage2"), psnr=shifted(0.0))
    last, named = gate(baseline, candidate, {"psnr": 0.5}), gate(baseline, candidate, {"psnr": 0.5}, "stage1")
    assert (last.baseline, last.candidate, last.verdict) == ("a/stage3", "b/stage2", "fail")  # one further: one more
    assert (named.baseline, named.candidate, named.verdict) == ("a/stage1", "b/stage1", "pass")
    with pytest.raises(UsageError, match=r"b/evaluation has no model 'stage3'. Did you mean 'stage2'"):
        gate(baseline, candidate, {"psnr": 0.5}, "stage3")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("psnrr: 1.0", r"psnrr: there is no such metric. Did you mean 'psnr'"),
        ("psnr: -1", "psnr: .*greater than 0"),
        ("psnr: 0", "psnr: .*greater than 0"),
        ("psnr: yes", "psnr: .*valid number"),
        ("psnr: '1'", "psnr: .*valid number"),
        ("psnr: .nan", "psnr: .*finite"),
        ("psnr: {margin: 1}", "psnr: .*valid number"),
        ("", "valid dictionary"),
        ("{}", "at least 1"),
        ("- psnr", "valid dictionary"),
        ("psnr: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_margins_file_is_refused(tmp_path, text, told):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_margins(tmp_path / "m.yaml")


def test_the_example_names_metrics_that_exist():
    margins = read_margins(Path(release.__file__).with_name("margins.yaml"))
    assert margins.keys() <= METRICS.keys() and len(margins) >= 4


@pytest.mark.parametrize(("by", "code", "verdict"), [(0.3, 0, "PASS"), (-1.0, 1, "FAIL"), (-0.5, 3, "INCONCLUSIVE")])
def test_the_command_exits_by_the_verdict(tmp_path, capsys, by, code, verdict):
    evaluation(tmp_path / "a", psnr=shifted(0.0)), evaluation(tmp_path / "b", psnr=shifted(by))
    (tmp_path / "m.yaml").write_text("psnr: 0.5\n")
    folders = [str(tmp_path / name / "evaluation") for name in "ab"]
    assert steadydancer._main(["gate-release", *folders, "--margins", str(tmp_path / "m.yaml")]) == code
    shown = capsys.readouterr().out
    assert re.search(rf"^{verdict}  \(", shown, re.MULTILINE) and "12 pairs, 6 drivers" in shown
    assert f"{by:+.2f}" in shown and "b/stage3 against a/stage3" in shown


def test_wrong_usage_of_the_command(tmp_path, capsys):
    evaluation(tmp_path / "a", psnr=shifted(0.0))
    (tmp_path / "m.yaml").write_text("psnr: 0.5\n")
    folder, margins = str(tmp_path / "a" / "evaluation"), ["--margins", str(tmp_path / "m.yaml")]
    assert steadydancer._main(["gate-release", folder, folder]) == 2
    assert steadydancer._main(["gate-release", folder, folder, *margins]) == 2
    assert "named twice" in capsys.readouterr().err
    assert steadydancer._main(["gate-release", folder, str(tmp_path / "none"), *margins]) == 1
