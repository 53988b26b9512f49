"""When an evaluation is made again; what is asked wrongly is told first, and what breaks on the way costs its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from benchmark_files import clip, small
from evaluated_here import Run, config, in_this_process, rows, run  # noqa: F401 - a fixture
from rich.console import Console

from evaluation import evaluate as evaluating
from evaluation import generation, scoring
from evaluation.metrics.registry import METRICS
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.outdated import outdated
from infra.errors import SteadyDancerError, UsageError
from infra.workspace import Workspace


class Zeros:
    device = "cpu"

    def __call__(self, backbone, pictures, others):
        return np.zeros(len(pictures), np.float32)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Videos of four of five pairs, one of them cut; lpips has weights."""
    monkeypatch.setattr(scoring.actors, "start", lambda names, weights: Zeros())
    small(tmp_path / "b")
    folder = tmp_path / "theirs"
    for name in ("d0_r0", "d0_r1", "d1_r0", "itself"):
        clip(folder / f"{name}.mp4", frames=5)
    content = (folder / "d1_r0.mp4").read_bytes()
    (folder / "d1_r0.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "alexnet.pth").write_bytes(b"one")
    return folder


def asked(tmp_path, *overrides):
    metrics = ["evaluate.metrics=[psnr, lpips, temporal_flickering]", "evaluate.sets=[kid]"]
    weights = f"evaluate.weights={{alexnet: {tmp_path / 'alexnet.pth'}}}"
    return config(tmp_path, f"evaluate.videos={{theirs: {tmp_path / 'theirs'}}}", *metrics, weights, *overrides)


def test_it_is_made_again_where_it_would_come_out_otherwise(tmp_path, theirs, capsys):
    commit = run(tmp_path, asked(tmp_path))
    assert sum(row["status"] == "error" for row in rows(commit)) == 2 * 3  # one video missing, one cut

    def why(*overrides):
        return outdated(asked(tmp_path, *overrides), Workspace(tmp_path / "work"), commit)

    assert why() is None and "not compared" not in capsys.readouterr().out
    assert why("evaluate.metrics=[psnr]") == "asked differently: evaluate.metrics"
    assert why("animate.area=4096", "work=elsewhere") == "asked differently: animate.area"
    changes = {
        tmp_path / "alexnet.pth": "the weights of lpips are others now",
        theirs / "d0_r0.mp4": "the videos of theirs are others now",
        tmp_path / "b/references/0.png": "the benchmark's files are others now",
    }
    for path, told in changes.items():
        content = path.read_bytes()
        path.write_bytes(content + b"x")
        assert why() == told
        path.write_bytes(content)
    for path in (tmp_path / "alexnet.pth", theirs, tmp_path / "b"):
        path.rename(tmp_path / "aside")
        assert why() is None
        told = " ".join(capsys.readouterr().out.split())
        assert "not compared with what" in told and str(path) in told
        (tmp_path / "aside").rename(path)
    clip(theirs / "d1_r1.mp4", frames=5)
    assert why() == "the videos of theirs are others now"


def test_another_definition_of_a_metric_is_another_evaluation(tmp_path, theirs, monkeypatch):
    commit = run(tmp_path, asked(tmp_path))
    for table, name in ((METRICS, "psnr"), (SET_METRICS, "kid")):
        with monkeypatch.context() as patched:
            patched.setitem(table, name, replace(table[name], version=table[name].version + 1))
            why = outdated(asked(tmp_path), Workspace(tmp_path / "work"), commit)
            assert why == f"{name} are defined otherwise now"
    everything = asked(tmp_path, "evaluate.metrics=[all]", "evaluate.sets=[all]")
    commit = run(tmp_path, everything, "all")
    for table, name in ((METRICS, "psnr"), (SET_METRICS, "kid")):
        with monkeypatch.context() as patched:  # one that is new since, one that has gone
            patched.setitem(table, "other", replace(table[name], name="other"))
            patched.delitem(table, name)
            why = outdated(everything, Workspace(tmp_path / "all"), commit)
            assert why == f"{', '.join(sorted([name, 'other']))} are defined otherwise now"
    commit = run(tmp_path, asked(tmp_path))
    assert outdated(asked(tmp_path), Workspace(tmp_path / "work"), commit) is None


def test_a_video_that_broke_here_is_tried_again(tmp_path, theirs):
    def generator(config, model, inputs, seed):
        if inputs.same_source:
            raise RuntimeError("the sampler gave NaN")
        return np.zeros((config.clip.frames, 32, 32, 3), np.uint8)

    wanted = asked(tmp_path, "evaluate.models=[untrained]")
    commit = run(tmp_path, wanted, generator=generator)
    assert outdated(wanted, Workspace(tmp_path / "work"), commit) == "1 videos had failed"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluate.metrics=[psnrr]", "no metric 'psnrr'"),
        ("evaluate.sets=[kidd]", "no set metric 'kidd'"),
        ("evaluate.weights={alexnett: x}", "weights.alexnett: no backbone has such weights. Did you mean 'alexnet'"),
        ("evaluate.weights_sha256={vgg: x}", "weights_sha256.vgg: no backbone has such"),
        ("evaluate.weights={alexnet: /nowhere.pth}", "/nowhere.pth is no file"),
        (f"evaluate.weights_sha256={{alexnet: {'a' * 64}}}", "not aaaa"),
        ("evaluate.videos={theirs: /nowhere}", "is no folder"),
    ],
)
def test_what_is_asked_wrongly_is_told_before_a_video_is_made(tmp_path, theirs, monkeypatch, override, told):
    monkeypatch.setattr(generation, "run_tasks", None)
    with pytest.raises(SteadyDancerError, match=told) as raised:
        run(tmp_path, asked(tmp_path, "evaluate.models=[untrained]", override))
    assert isinstance(raised.value, UsageError) == ("metric" in told or "no backbone" in told)


def test_what_is_no_file_costs_its_pair_and_what_has_gone_its_copy(tmp_path, theirs, monkeypatch, capsys):
    (theirs / "d0_r0.mp4").unlink()
    (theirs / "d0_r0.mp4").mkdir()
    (theirs / "d1_r1.mp4").symlink_to(tmp_path / "nowhere.mp4")

    def copy(source, target):
        if "d0_r1" in str(source):
            Path(target).write_bytes(b"half")
            raise PermissionError(f"{source} is not for you")
        return Path(target).write_bytes(source.read_bytes())

    def broken(config, inputs):
        raise ZeroDivisionError("no poses")

    monkeypatch.setattr(evaluating.shutil, "copyfile", copy)
    monkeypatch.setattr(evaluating, "condition_video", broken)
    commit = run(tmp_path, asked(tmp_path))
    reasons = {row["pair"]: row["reason"] for row in rows(commit) if row["status"] == "error"}
    assert reasons.keys() == {"d0_r0", "d1_r0", "d1_r1"}
    assert all("is no file that can be read" in reasons[pair] for pair in ("d0_r0", "d1_r1"))
    assert "videos/theirs/itself.mp4" in commit.files and "videos/theirs/d0_r1.mp4" not in commit.files
    told = capsys.readouterr().out
    assert (
        "videos/theirs/d0_r1.mp4: PermissionError" in told and "inputs of itself: ZeroDivisionError: no poses" in told
    )


def test_sets_are_shown_and_are_enough_to_have_scored_something(tmp_path, theirs, monkeypatch, capsys):
    log = Run()
    commit = run(tmp_path, asked(tmp_path), log=log)
    assert "costs.parquet" in log.artifacts and commit.meta["checkpoints"] == {}
    evaluating.show(commit, Console(width=150))
    shown = capsys.readouterr().out
    assert "Metrics of sets of videos" in shown and "kid ↓" in shown and "n/a" in shown
    assert "kid theirs same source: no weights for inception" in " ".join(shown.split())

    def tables(*statuses):
        every = zip(scoring.Scored._fields, statuses, strict=True)
        return scoring.Scored(*(pa.Table.from_pylist([{"status": s, "reason": "why"}] * (s != "")) for _, s in every))

    with pytest.raises(SteadyDancerError, match="Not one of 2 scores could be computed; the first says: why"):
        evaluating._something_was_scored(tables("error", "", "not_computable"))
    evaluating._something_was_scored(tables("error", "", "ok"))
