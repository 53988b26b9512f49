"""One evaluation as a server of MLflow has it: numbers, tables, a plot, videos, and what it was made from."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from benchmark_files import estimator, small
from evaluated_here import config, in_this_process  # noqa: F401 - a fixture
from mlflow import MlflowClient
from rich.console import Console

from evaluation.evaluate import evaluate
from infra import commits
from infra.tracking import Tracking
from infra.workspace import claim


def test_an_evaluation_is_one_run_linked_to_what_it_was_made_from(tmp_path, server):
    small(tmp_path / "b")
    with commits.write(tmp_path / "stage3", "checkpoint", meta={"stage": 3}) as folder:
        (folder / "weights").write_text("of a tiny model")
    checkpoint = commits.read(tmp_path / "stage3")
    asked = config(
        tmp_path,
        f"work={tmp_path / 'w'}",
        f"tracking.uri={server.uri}",
        "tracking.system_metrics_s=0",
        "resources.memory_gb=0.1",
        "resources.disk_gb=0.01",
        f"evaluate.checkpoints={{mine: {tmp_path / 'stage3'}}}",
        "evaluate.metrics=[psnr, lpips, temporal_flickering]",
    )

    def generator(config, model, inputs, seed):
        return np.random.default_rng(seed).integers(0, 255, (5, 32, 32, 3), np.uint8)

    with claim(asked) as work:
        tracking = Tracking(asked, work, Console(file=io.StringIO()))
        with tracking.chain() as chain, tracking.step("evaluate", chain) as run:
            evaluation = evaluate(asked, work, run, generator=generator, estimator=estimator)
            tracking.record(run, evaluation)
    client = MlflowClient(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'steadydancer'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = runs["evaluate"]
    assert run.info.status == "FINISHED" and run.data.tags["steadydancer.commit"] == evaluation.id
    parents = {value for key, value in run.data.tags.items() if key.startswith("steadydancer.parent.")}
    assert any(checkpoint.id in value for value in parents)
    rows = [row for row in pq.read_table(evaluation.path / "scores.parquet").to_pylist() if row["status"] == "ok"]
    assert run.data.metrics["n/temporal_flickering/mine"] == 5
    assert "lpips/mine" not in run.data.metrics and run.data.metrics["n/lpips/mine"] == 0
    assert run.data.metrics["psnr/mine"] == pytest.approx(next(r["value"] for r in rows if r["metric"] == "psnr"))
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"scores.parquet", "curves.parquet", "pairs.parquet", "costs.parquet", "plots", "videos"} <= artifacts
    fetched = pq.read_table(client.download_artifacts(run.info.run_id, "scores.parquet", str(tmp_path)))
    assert fetched.equals(pq.read_table(evaluation.path / "scores.parquet"))
    videos = [artifact.path for artifact in client.list_artifacts(run.info.run_id, "videos/mine")]
    assert len(videos) == 4 and all(path.endswith(".mp4") for path in videos)
    drawn = Path(client.download_artifacts(run.info.run_id, "plots/metrics.svg", str(tmp_path))).read_text()
    assert "temporal flickering" in drawn and "lpips" not in drawn
