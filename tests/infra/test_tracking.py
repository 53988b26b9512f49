"""What arrives in MLflow: in the database of the work folder, and on a server that goes away and comes back."""

import io
import json
import pickle
import shutil
import sys
import time
from contextlib import contextmanager

import pytest
import requests
from mlflow import MlflowClient
from rich.console import Console

from infra import commits, config
from infra.chain import run_chain
from infra.errors import SteadyDancerError
from infra.mlflow_store import Away, Refused, Store
from infra.outbox import Entry, Outbox
from infra.system_metrics import sampled
from infra.tracking import Tracking
from infra.workspace import claim


@contextmanager
def _claimed(database, tmp_path, *overrides):
    loaded = config.load(
        "demo", [f"work={tmp_path / 'w'}", "resources.memory_gb=0.1", "resources.disk_gb=0.01", *overrides]
    )
    with claim(loaded) as workspace:
        shutil.copy(database, workspace.mlflow_db)
        yield loaded, workspace


def _runs(client):
    (experiment,) = client.search_experiments(filter_string="name = 'steadydancer'")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def _history(client, run, name):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


@pytest.fixture
def console():
    return Console(record=True, width=1000, file=io.StringIO())


def test_everything_logged_is_in_the_database_of_the_work_folder(tmp_path, database, console):
    with _claimed(database, tmp_path, "tracking.tags={steadydancer.sweep: lr}", "tracking.system_metrics_s=0.05") as (
        loaded,
        work,
    ):
        tracking = Tracking(loaded, work, console)
        with commits.write(work.sample, "sample") as folder:
            (folder / "page.html").write_text("page")
        with tracking.chain() as chain, tracking.step("curate", chain) as run:
            run.log_metrics({"loss": 1.0, "nan": float("nan"), "inf": float("inf")}, step=3)
            attached = pickle.loads(pickle.dumps(run))  # noqa: S301
            attached.log_metrics({"loss": 0.5}, step=4)
            attached.log_params({"a": 1})
            attached.log_params({"a": 2, "b": 3})
            run.log_artifact(work.sample / "page.html", "pages")
            run.log_text("words", "words.txt")
            parent = commits.read(work.sample)
            with commits.write(work.dataset, "dataset", parents=[parent]) as folder:
                (folder / "data").write_text("data")
            tracking.record(run, commits.read(work.dataset))
            time.sleep(0.15)

        client = tracking.delivery._store.client
        runs = _runs(client)
        assert {name: run.info.status for name, run in runs.items()} == {"w": "FINISHED", "curate": "FINISHED"}
        run, tags = runs["curate"], runs["curate"].data.tags
        assert _history(client, run, "loss") == [(3, 1.0), (4, 0.5)]
        values = run.data.metrics
        assert values["nan"] != values["nan"] and values["inf"] == sys.float_info.max
        assert values["system/system_memory_usage_percentage"] > 0 and "system/disk_usage_percentage" in values
        assert "system/cpu_utilization_percentage" in values and "system/network_receive_megabytes" in values
        assert run.data.params == {"a": "1", "b": "3"}, "a parameter keeps its first value"
        assert tags["mlflow.parentRunId"] == runs["w"].info.run_id
        assert tags["steadydancer.sweep"] == "lr" == runs["w"].data.tags["steadydancer.sweep"]
        assert tags["steadydancer.commit"] == commits.read(work.dataset).id and tags["steadydancer.attempt"] == "1"
        (read,) = run.inputs.dataset_inputs
        assert (read.dataset.name, read.dataset.digest) == ("sample", parent.id[:36])
        assert json.loads(read.dataset.source) == {"uri": str(work.sample)}
        assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["COMMIT.json", "pages", "words.txt"]
        assert [a.path for a in client.list_artifacts(run.info.run_id, "pages")] == ["pages/page.html"]

        ended = run.info.end_time
        tracking = Tracking(loaded, work, console)
        with pytest.raises(KeyError), tracking.chain() as chain:
            tracking.repair("curate", chain, commits.read(work.dataset))
            with tracking.step("encode", chain) as run:
                run.log_metrics({"loss": 2.0}, step=1)
                raise KeyError
        tracking = Tracking(loaded, work, console)
        with pytest.raises(KeyboardInterrupt), tracking.chain() as chain, tracking.step("encode", chain) as run:
            raise KeyboardInterrupt
        runs = _runs(client)
        assert {name: (run.info.status, run.data.tags["steadydancer.attempt"]) for name, run in runs.items()} == {
            "w": ("KILLED", "3"),
            "curate": ("FINISHED", "1"),
            "encode": ("KILLED", "2"),
        }
        assert runs["curate"].info.end_time == ended, "a run that was told is not ended once more"
        assert not console.export_text()

        # What a kill leaves undone: told after the commit, not before.
        journal = Outbox(work.folder).journal("curate")
        for segment in journal.folder.glob("*.jsonl"):
            lines = [line for line in segment.read_bytes().splitlines(keepends=True) if b"FINISHED" not in line]
            segment.write_bytes(b"".join(lines))
        (journal.folder / "delivered.json").unlink()
        client.delete_tag(runs["curate"].info.run_id, "steadydancer.commit")
        again = Tracking(loaded, work, console)
        with again.chain() as chain:
            again.repair("curate", chain, commits.read(work.dataset))
        repaired = _runs(client)["curate"]
        assert repaired.data.tags["steadydancer.commit"] == commits.read(work.dataset).id
        assert repaired.info.status == "FINISHED"
        assert _history(client, repaired, "loss") == [(3, 1.0), (4, 0.5)], "sent twice, stored once"


def test_refusals_and_lost_runs(tmp_path, database, console):
    with _claimed(database, tmp_path, "tracking.system_metrics_s=0") as (loaded, work):
        tracking = Tracking(loaded, work, console)
        client = tracking.delivery._store.client
        with tracking.chain() as chain, tracking.step("s", chain) as run:
            run.log_metrics({"loss": 1.0, "no:t#allowed?": 2.0}, step=1)
            run.log_metrics({"loss": 2.0}, step=2)
            for folder in ("../up", "/abs", "a/../../b"):
                with pytest.raises(ValueError, match="no folder of a run"):
                    run.log_artifact(__file__, folder)
            tracking.delivery.flush()
            first = _runs(client)["s"]
            client.delete_run(first.info.run_id)
            run.log_metrics({"loss": 3.0}, step=3)
        assert _history(client, first, "loss") == [(1, 1.0), (2, 2.0)]
        second = _runs(client)["s"]
        assert _history(client, second, "loss") == [(3, 3.0)] and second.info.status == "FINISHED"
        assert second.data.tags["mlflow.parentRunId"] == _runs(client)["w"].info.run_id
        (refused,) = (work.folder / "outbox/s/refused.jsonl").read_text().splitlines()
        assert json.loads(refused)["values"] == {"no:t#allowed?": 2.0}
        assert console.export_text().count("cannot be told to MLflow") == 1

        client.delete_experiment(second.info.experiment_id)
        with pytest.raises(SteadyDancerError, match="was deleted in MLflow"):
            Tracking(loaded, work, console)


def test_what_a_store_answers_is_told_apart(tmp_path, database):
    from mlflow.exceptions import MlflowException, RestException

    store = Store(f"sqlite:///{database}", "e", "c", Outbox(tmp_path))
    journal = Outbox(tmp_path).journal("s")
    upload = requests.Response()
    upload.status_code = 413
    for error, expected in (
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), Refused),
        (requests.HTTPError("too large", response=upload), Refused),
        (TypeError("a list"), Refused),
        (RestException({"error_code": "PERMISSION_DENIED", "message": "no"}), Away),
        (RestException({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "later"}), Away),
        (RestException({"error_code": "ENDPOINT_NOT_FOUND", "message": "starting"}), Away),
        (MlflowException("connection refused"), Away),
        (requests.ConnectionError("gone"), Away),
        (RuntimeError("what a library of some object store raises"), Away),
    ):
        store._tell = lambda *_, error=error: (_ for _ in ()).throw(error)
        with pytest.raises(expected):
            store.send(journal, [Entry("tags", 0, {"a": "b"})])


def test_a_failing_sample_of_the_machine_is_said_once_and_ends_the_sampling_only(monkeypatch):
    said, logged = [], []

    class Run:
        def log_metrics(self, metrics, step=None):
            logged.append(step)
            raise OSError("sensor gone")

    with sampled(Run(), 0.01, said.append, time.time() - 100):
        time.sleep(0.2)
    assert said == ["System metrics are no longer sampled: OSError: sensor gone"] and logged == [100]
    with sampled(Run(), 0, said.append, 0.0):
        time.sleep(0.03)
    assert len(said) == len(logged) == 1


def test_a_chain_that_is_done_delivers_what_waits(tmp_path, database, console):
    with _claimed(database, tmp_path) as (loaded, work):
        journal = Outbox(work.folder).journal("s")
        journal.append("run", {"name": "s", "parent": "chain", "tags": {}})
        journal.append("metrics", {"loss": 1.0}, 7)
    dead = config.load("demo", [f"work={work.folder}", "resources.memory_gb=0.1", "tracking.uri=http://127.0.0.1:9"])
    run_chain(dead, [], console)
    assert f"2 entries for it still wait in {work.folder}/outbox" in console.export_text()
    run_chain(loaded, [], console)
    assert "wait" not in console.export_text()
    client = MlflowClient(f"sqlite:///{work.mlflow_db}")
    runs = _runs(client)
    assert _history(client, runs["s"], "loss") == [(7, 1.0)]
    assert runs["s"].data.tags["mlflow.parentRunId"] == runs["chain"].info.run_id


def test_a_continued_folder_goes_on_where_mlflow_is_away_and_a_fresh_one_is_refused(tmp_path, database, console):
    away = ["tracking.system_metrics_s=0", "tracking.uri=http://127.0.0.1:9"]
    with _claimed(database, tmp_path, *away) as (dead, work):
        local = dead.model_copy(update={"tracking": dead.tracking.model_copy(update={"uri": None})})
        for _ in range(2):
            with pytest.raises(SteadyDancerError, match="cannot be used"):
                Tracking(dead, work, console)
        with pytest.raises(KeyboardInterrupt), Tracking(local, work, console).chain():
            raise KeyboardInterrupt
        tracking = Tracking(dead, work, console)
        with tracking.chain() as chain, tracking.step("s", chain) as run:
            run.log_metrics({"loss": 1.0}, 1)
        said = console.export_text().splitlines()
        assert len(said) == 2, "at the start and at the end"
        assert said[0].startswith("MLflow at http://127.0.0.1:9 is away (") and "the log waits in" in said[0]
        assert f"entries wait in {work.folder}/outbox" in said[1]
    run_chain(dead, [], console)
    assert console.export_text().count("is away") == 1
    run_chain(local, [], console)
    client = MlflowClient(f"sqlite:///{work.mlflow_db}")
    run, chain = (_runs(client)[name] for name in ("s", "w"))
    assert _history(client, run, "loss") == [(1, 1.0)] and run.info.status == chain.info.status == "FINISHED"
    assert Outbox(work.folder).count() == 0


def test_a_server_that_stops_in_mid_run_is_told_the_rest_when_it_is_back(tmp_path, database, server, console):
    with _claimed(database, tmp_path, f"tracking.uri={server.uri}", "tracking.system_metrics_s=0") as (loaded, work):
        tracking = Tracking(loaded, work, console)
        with tracking.chain() as chain:
            with tracking.step("stage1", chain) as run:
                run.log_metrics({"nan": float("nan"), "inf": float("-inf"), "not#a#name": 1.0})
                for step in range(20):
                    run.log_metrics({"loss": float(step)}, step)
                tracking.delivery.flush()
                before = _runs(tracking.delivery._store.client)["stage1"]
                assert before.data.metrics["loss"] == 19.0 and before.info.status == "RUNNING"
                server.kill()
                for step in range(20, 40):
                    run.log_metrics({"loss": float(step)}, step)
                (tmp_path / "plot.svg").write_text("plot")
                run.log_artifact(tmp_path / "plot.svg")
                (tmp_path / "plot.svg").unlink()
                with commits.write(work.dataset, "dataset") as folder:
                    (folder / "data").write_text("data")
                tracking.record(run, commits.read(work.dataset))
            with tracking.step("stage2", chain) as run:  # MLflow never heard of it
                run.log_metrics({"loss": 0.5}, 1)
            server.start()
        client = tracking.delivery._store.client
        runs = _runs(client)
        assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
            ("w", "stage1", "stage2"), "FINISHED"
        )
        first, second = runs["stage1"], runs["stage2"]
        assert first.info.run_id == before.info.run_id
        assert _history(client, first, "loss") == [(step, float(step)) for step in range(40)], "all, once, in order"
        assert first.data.metrics["nan"] != first.data.metrics["nan"]
        assert first.data.metrics["inf"] == -sys.float_info.max
        assert first.data.tags["steadydancer.commit"] == commits.read(work.dataset).id
        files = [artifact.path for artifact in client.list_artifacts(first.info.run_id)]
        assert files == ["COMMIT.json", "plot.svg"]
        assert second.data.tags["mlflow.parentRunId"] == runs["w"].info.run_id
        assert second.info.end_time < runs["w"].info.end_time, "ended when it ended"
        assert Outbox(work.folder).count() == 0
        said = console.export_text()
        assert "does not answer" in said and "answers again" in said and "not#a#name" in said
