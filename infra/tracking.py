"""MLflow: one parent run per chain, one child run per step; a restarted step continues its run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infra import storage
from infra.commits import COMMIT_FILE, Commit
from infra.config import dump
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.workspace import Workspace

CHAIN_TAG, STEP_TAG = "steadydancer.chain", "steadydancer.step"
_BATCH = 100  # what one MLflow request may hold of params


@dataclass(frozen=True)
class StepRun:
    """One MLflow run. Cheap to send to a worker process, which talks to the same run."""

    tracking_uri: str
    run_id: str

    @cached_property
    def client(self):
        return _client(self.tracking_uri)

    def __getstate__(self):
        return {"tracking_uri": self.tracking_uri, "run_id": self.run_id}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        batch = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        for start in range(0, len(batch), 1000):
            self.client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters not logged before; MLflow forbids changing one, so a continued run keeps the first value."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        batch = [Param(name, str(value)[:6000]) for name, value in params.items() if name not in known]
        for start in range(0, len(batch), _BATCH):
            self.client.log_batch(self.run_id, params=batch[start : start + _BATCH])

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        self.client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, str(value))


class Tracking:
    """The runs of one work folder."""

    def __init__(self, config: Config, workspace: Workspace):
        self.uri = config.tracking.uri or f"sqlite:///{workspace.mlflow_db}"
        self._config, self._workspace = config, workspace
        self.client = _client(self.uri)
        with _reachable(self.uri):
            self._experiment = self._experiment_id()

    @contextmanager
    def chain(self) -> Iterator[StepRun]:
        """The parent run of this work folder."""
        folder = self._workspace.folder
        run = self._open("chain", run_name=folder.name, tags={"steadydancer.work": str(folder)})
        with self._ended(run):
            self.client.log_text(run.run_id, dump(self._config), "config.yaml")
            yield run

    @contextmanager
    def step(self, name: str, parent: StepRun) -> Iterator[StepRun]:
        """The child run of one step; ends as finished, failed or killed."""
        run = self._open(name, run_name=name, tags={"mlflow.parentRunId": parent.run_id})
        with self._ended(run):
            yield run

    def repair(self, name: str, parent: StepRun, commit: Commit) -> None:
        """Ends the run of a step that was killed after its commit and before its run was told."""
        run = self._open(name, run_name=name, tags={"mlflow.parentRunId": parent.run_id})
        with self._ended(run):
            if "steadydancer.commit" not in self.client.get_run(run.run_id).data.tags:
                self.record(run, commit)

    def record(self, run: StepRun, commit: Commit) -> None:
        """Ties a run to the artifact it made."""
        run.set_tags(
            {
                "steadydancer.commit": commit.id,
                "steadydancer.kind": commit.kind,
                "steadydancer.uri": commit.uri,
                "steadydancer.code": commit.code_version,
                "steadydancer.config_hash": commit.config_hash,
                **{f"steadydancer.parent.{i}": f"{p.kind} {p.id}" for i, p in enumerate(commit.parents)},
            }
        )
        filesystem, root = storage.opened(commit.uri)
        with storage.told(commit.uri):
            record = filesystem.cat_file(f"{root.rstrip('/')}/{COMMIT_FILE}").decode()
        self.client.log_text(run.run_id, record, COMMIT_FILE)

    def _open(self, step: str, run_name: str, tags: dict[str, str]) -> StepRun:
        chain = self._workspace.chain_id
        with _reachable(self.uri):
            found = self.client.search_runs(
                [self._experiment], f"tags.`{CHAIN_TAG}` = '{chain}' and tags.`{STEP_TAG}` = '{step}'", max_results=1
            )
            if found:
                run_id = found[0].info.run_id
                self.client.update_run(run_id, status="RUNNING")
            else:
                tags = {**tags, CHAIN_TAG: chain, STEP_TAG: step}
                run_id = self.client.create_run(self._experiment, tags=tags, run_name=run_name).info.run_id
        return StepRun(self.uri, run_id)

    @contextmanager
    def _ended(self, run: StepRun) -> Iterator[None]:
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.client.set_terminated(run.run_id, status)

    def _experiment_id(self) -> str:
        name = self._config.tracking.experiment
        if (found := self.client.get_experiment_by_name(name)) is not None:
            return found.experiment_id
        local = self._config.tracking.uri is None
        location = (self._workspace.folder / "mlartifacts").as_uri() if local else None
        return self.client.create_experiment(name, artifact_location=location)


def _client(uri: str):
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    with _reachable(uri):
        return MlflowClient(uri)


@contextmanager
def _reachable(uri: str) -> Iterator[None]:
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, OSError) as error:
        raise SteadyDancerError(
            f"MLflow at {uri} cannot be used: {str(error).splitlines()[0][:300]}",
            "Start the server, correct tracking.uri, or leave it out to track in the work folder.",
        ) from error
