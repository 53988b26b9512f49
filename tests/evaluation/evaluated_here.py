"""The step evaluate on a small benchmark folder in this process, without Ray and without backbones."""

import pyarrow.parquet as pq
import pytest
from benchmark_files import estimator

from evaluation import generation, scoring
from evaluation.benchmarks import choice
from evaluation.evaluate import evaluate
from evaluation.generation import animate_pair
from evaluation.tasks import Failure, in_one_line
from infra.config import load
from infra.workspace import Workspace


class Run:
    """Takes what a step logs."""

    def __init__(self):
        self.artifacts = []

    def log_metrics(self, metrics, step=None): ...

    def log_artifact(self, path, folder=None):
        self.artifacts.append(path.name)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    def run_tasks(function, calls, **how):
        results = {}
        for key, arguments in calls.items():
            try:
                results[key] = function(*arguments)
            except Exception as error:  # noqa: BLE001 - as a task that fails
                results[key] = Failure(in_one_line(error))
        return results

    for module in (choice, generation, scoring):
        monkeypatch.setattr(module, "run_tasks", run_tasks)
    monkeypatch.setattr(scoring.actors, "start", lambda names, weights: None)


def config(tmp_path, *overrides):
    asked = ["clip.frames=5", "clip.fps=12.0", "evaluate.metrics=[psnr, temporal_flickering]", "evaluate.models=[]"]
    return load("demo", [*asked, f"evaluate.benchmark={tmp_path / 'b'}", *overrides])


def run(tmp_path, config, name="work", generator=animate_pair, log=None):
    workspace = Workspace(tmp_path / name)
    workspace.folder.mkdir(exist_ok=True)
    return evaluate(config, workspace, log or Run(), generator=generator, estimator=estimator)


def rows(commit, table="scores.parquet"):
    return pq.read_table(commit.path / table).to_pylist()
