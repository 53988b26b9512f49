"""Scores through Ray, networks in actors: the same as in one process, and a network's fault is rows.

One core and two, with kills: tests/campaigns/evaluation_kills.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_files import clip, estimator, small

from evaluation import scoring
from evaluation.backbones.lpips import LPIPS_ALEX
from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.poses import Poses
from evaluation.features import Here
from evaluation.scoring import score_pairs
from evaluation.tasks import Failure, run_tasks
from infra.config import load
from infra.ray_session import session
from infra.workspace import Workspace

METRICS = "evaluate.metrics=[psnr, lpips, temporal_flickering]"


@pytest.fixture
def scored(tmp_path):
    """(its name, CPUs) -> the tables of four videos with lpips by random weights, or by these."""
    small(tmp_path / "b")
    network = LPIPS_ALEX.random(0)
    torch.save({k: v for k, v in network.state_dict().items() if k.startswith("features.")}, tmp_path / "alex.pth")
    poses = Poses(tmp_path / "poses", load("demo").pose)
    benchmark = folder_benchmark(tmp_path / "b", replace(poses, build=estimator))
    benchmark = replace(benchmark, poses=poses)  # kept now; workers cannot import this one's estimator
    videos = {("theirs", pair.id, 0): tmp_path / f"{pair.id}.mp4" for pair in benchmark.pairs}
    for number, path in enumerate(videos.values()):
        clip(path, frames=4 + number)
    videos["theirs", "d0_r0", 0] = Failure("missing: it")

    def score(name: str, weights: Path = tmp_path / "alex.pth"):
        asked = load(
            "demo", ["clip.fps=12.0", "animate.area=1536", METRICS, f"evaluate.weights={{alexnet: {weights}}}"]
        )
        return score_pairs(asked, benchmark, videos, tmp_path / name)

    return score


def test_tasks_and_actors_give_what_one_process_gives_and_damaged_weights_cost_rows(tmp_path, scored, monkeypatch):
    def three_fails(number):
        if number == 3:
            raise ValueError("three\nand more")
        return number

    cut = tmp_path / "cut.pth"
    (tmp_path / "ray").mkdir()
    with session(load("demo").resources, Workspace(tmp_path / "ray")):
        two = scored("two")
        cut.write_bytes((tmp_path / "alex.pth").read_bytes()[:-1000])
        damaged = scored("damaged", cut).scores.to_pylist()
        counted = run_tasks(three_fails, {number: (number,) for number in range(7)}, label="Tasks")
    assert list(counted.items()) == [(n, Failure("ValueError: three") if n == 3 else n) for n in range(7)]
    monkeypatch.setattr(scoring, "run_tasks", lambda function, calls, **_: {k: function(*c) for k, c in calls.items()})
    monkeypatch.setattr(scoring.actors, "start", lambda names, weights: Here(weights))
    one = scored("one")
    assert one.scores.equals(two.scores) and one.curves.equals(two.curves) and len(one.curves)
    reasons = {row["reason"] for row in one.scores.to_pylist() if row["status"] == "error"}
    assert reasons == {"missing: it"}
    ok = {(row["pair"], row["metric"]) for row in one.scores.to_pylist() if row["status"] == "ok"}
    assert {("itself", "lpips"), ("itself", "psnr"), ("d1_r1", "temporal_flickering")} <= ok
    kept = [sorted((tmp_path / name / "features").rglob("*.npy")) for name in ("one", "two")]
    assert len(kept[0]) == 1 and [path.name for path in kept[0]] == [path.name for path in kept[1]]
    assert all((np.load(a) == np.load(b)).all() for a, b in zip(*kept, strict=True))

    broken = {row["reason"] for row in damaged if row["status"] == "error" and row["pair"] != "d0_r0"}
    (reason,) = broken
    assert reason.startswith(f"SteadyDancerError: {cut} cannot be read as weights") and "pid" not in reason
    others = [row for row in damaged if "lpips" not in row["metric"]]
    assert others == [row for row in two.scores.to_pylist() if "lpips" not in row["metric"]]
