"""The chain with steps of this file, real MLflow and real Ray."""

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import ModuleType

import psutil
import pytest

import steadydancer
from infra import commits, config
from infra.chain import Step, run_chain
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from infra.workspace import claim

calls: list[str] = []
fail = {"second": False}


def first(_config, workspace, run):
    calls.append("first")
    run.log_metrics({"clips": 3.0}, step=0)
    with commits.write(workspace.dataset, "dataset") as folder:
        (folder / "data").write_text("data")


def second(_config, workspace, run, number):
    import ray

    calls.append("second")
    run.log_metrics({"loss": float(len(calls))}, step=len(calls))
    if fail["second"]:
        raise SteadyDancerError("no luck")
    listening = {
        c.laddr.ip.removeprefix("::ffff:")
        for p in [psutil.Process(), *psutil.Process().children(True)]
        for c in _listening(p)
    }
    value = ray.get(ray.remote(lambda: 40 + number).remote())
    with commits.write(workspace.encoded, "encoded", parents=[commits.read(workspace.dataset)]) as folder:
        (folder / "value").write_text(f"{value} {sorted(listening)}")


def show(commit, console):
    console.print(f"shown {commit.kind}")


def _listening(process):
    try:
        return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


@pytest.fixture
def chain(tmp_path, monkeypatch, database):
    module = ModuleType("chain_steps")
    module.first, module.second, module.show = first, second, show
    monkeypatch.setitem(sys.modules, "chain_steps", module)
    calls.clear()
    fail["second"] = False
    loaded = config.load("demo", [f"work={tmp_path / 'w'}", "resources.memory_gb=0.5", "resources.disk_gb=0.01"])
    with claim(loaded) as workspace:
        shutil.copy(database, workspace.mlflow_db)
    steps = [
        Step("first", "chain_steps:first", lambda w: w.dataset, "chain_steps:show"),
        Step("second", "chain_steps:second", lambda w: w.encoded, number=2),
    ]
    return loaded, steps, tmp_path / "w"


def _runs(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'steadydancer'")
    return client, {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}


def test_a_chain_fails_continues_and_is_passed_over(chain, capsys):
    loaded, steps, folder = chain
    fail["second"] = True
    with pytest.raises(SteadyDancerError, match="no luck"):
        run_chain(loaded, steps)
    assert calls == ["first", "second"]
    _, failed = _runs(folder)
    assert {n: r.info.status for n, r in failed.items()} == {"w": "FAILED", "first": "FINISHED", "second": "FAILED"}

    fail["second"] = False
    made = run_chain(loaded, steps)
    assert calls == ["first", "second", "second"]
    client, runs = _runs(folder)
    assert {r.info.run_id for r in runs.values()} == {r.info.run_id for r in failed.values()}, "runs are continued"
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    assert runs["second"].data.tags["mlflow.parentRunId"] == runs["w"].info.run_id
    assert runs["second"].data.tags["steadydancer.commit"] == made[1].id
    assert made[0].id in runs["second"].data.tags["steadydancer.parent.0"]
    assert [m.step for m in client.get_metric_history(runs["second"].info.run_id, "loss")] == [2, 3]
    assert (folder / "encoded/value").read_text() == "42 ['127.0.0.1']", "Ray ran, and listened on loopback only"

    capsys.readouterr()
    assert [c.id for c in run_chain(loaded, steps)] == [c.id for c in made]
    assert calls == ["first", "second", "second"]
    out = capsys.readouterr().out
    assert "committed before" in out and "shown dataset" in out


def test_a_damaged_or_exchanged_commit_stops_the_chain(chain):
    loaded, steps, folder = chain
    with claim(loaded) as workspace:
        with commits.write(workspace.dataset, "dataset") as draft:
            (draft / "data").write_text("data")
        with commits.write(workspace.encoded, "encoded", parents=[commits.read(workspace.dataset)]) as draft:
            (draft / "value").write_text("v")
    assert len(run_chain(loaded, steps)) == 2 and calls == []

    (folder / "encoded/value").write_text("w")
    with pytest.raises(CorruptArtifact, match="expected sha256"):
        run_chain(loaded, steps)
    (folder / "encoded/value").write_text("v")

    with commits.write(folder / "dataset", "dataset", replace=True) as draft:
        (draft / "data").write_text("other data")
    with pytest.raises(SteadyDancerError, match="was made from dataset"):
        run_chain(loaded, steps)
    assert calls == []


def test_a_port_in_use_is_told(chain):
    import socket

    loaded, steps, _ = chain
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = config.load(
            "demo", [f"work={loaded.work}", "resources.memory_gb=0.5", f"resources.dashboard_port={port}"]
        )
        with pytest.raises(UsageError, match=f"Port {port} is in use"):
            run_chain(busy, steps)
    assert calls == []


def test_an_unreachable_server_is_told(chain):
    loaded, steps, _ = chain
    dead = config.load("demo", [f"work={loaded.work}", "resources.memory_gb=0.5", "tracking.uri=http://127.0.0.1:9"])
    with pytest.raises(SteadyDancerError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be used"):
        run_chain(dead, steps)
    assert calls == []


def test_a_step_that_follows_its_parent_is_made_again(chain, monkeypatch):
    monkeypatch.setattr("infra.ray_session.session", lambda *_: nullcontext())
    loaded, (first_step, second_step), folder = chain

    def follow(_config, workspace, run):
        calls.append("follow")
        parent = commits.read(workspace.dataset)
        with commits.write(workspace.encoded, "encoded", parents=[parent], replace=True):
            pass

    sys.modules["chain_steps"].follow = follow
    steps = [first_step, replace(second_step, run="chain_steps:follow", number=None, follows=True)]
    run_chain(loaded, steps)
    with commits.write(folder / "dataset", "dataset", replace=True) as draft:
        (draft / "data").write_text("other data")
    _, made = run_chain(loaded, steps)
    assert calls == ["first", "follow", "follow"]
    assert made.parents[0].id == commits.read(folder / "dataset").id
    assert run_chain(loaded, steps)[1].id == made.id and len(calls) == 3
    with pytest.raises(SteadyDancerError, match="was made from dataset"):
        shutil.rmtree(folder / "dataset")
        run_chain(loaded, steps[1:])


def test_training_never_follows():
    assert {step.name for step in steadydancer._steps(config.load("demo")) if step.follows} == {"evaluate", "compare"}
