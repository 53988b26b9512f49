"""An MLflow server or database: the runs of one chain there, and what it is told of them."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import SteadyDancerError
from infra.outbox import Entry, Journal, Outbox

CHAIN_TAG, STEP_TAG = "steadydancer.chain", "steadydancer.step"
_WRONG_STATUS = (400, 404, 405, 411, 413, 414, 415, 422)
"""Answers to an upload that no later try would change."""


class Away(Exception):
    """MLflow does not answer, or cannot take it now."""


class Refused(Exception):
    """MLflow answers that it will never take this."""


class Store:
    """``artifacts`` is where a new experiment keeps its files; None: where the server decides. Raises Away."""

    def __init__(self, uri: str, experiment: str, chain: str, outbox: Outbox, artifacts: Path | None = None):
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # every try at a server that is away
        from mlflow import MlflowClient

        self.uri, self._experiment, self._chain = uri, experiment, chain
        self._outbox, self._artifacts = outbox, artifacts
        with _asked():
            self.client = MlflowClient(uri)
        self._runs: dict[str, str] = {}

    def experiment_id(self) -> str:
        """Made if it is not there. Raises Away, or SteadyDancerError for an experiment that was deleted."""
        with _asked():
            if (found := self.client.get_experiment_by_name(self._experiment)) is None:
                location = self._artifacts.as_uri() if self._artifacts else None
                return self.client.create_experiment(self._experiment, artifact_location=location)
        if found.lifecycle_stage != "active":
            raise SteadyDancerError(
                f"The experiment {self._experiment!r} was deleted in MLflow at {self.uri}.",
                "Restore it there, or choose another tracking.experiment.",
            )
        return found.experiment_id

    def send(self, journal: Journal, entries: list[Entry]) -> None:
        """Tells entries of one kind, together in one request. Telling the same once more changes nothing.

        A run that was deleted, or is unknown to a server that came back without its database, is made anew.
        Raises Away, or Refused if they, or one of them, will never be taken.
        """
        run_id = self._run_id(journal)
        try:
            with _asked():
                self._tell(run_id, journal, entries)
        except Refused:
            if self._is_active(run_id):
                raise
            del self._runs[journal.name]
            with _asked():
                self._tell(self._run_id(journal), journal, entries)

    def answers(self) -> bool:
        """Whether MLflow itself is there, whatever becomes of the files of its runs."""
        try:
            self.experiment_id()
        except (Away, SteadyDancerError):
            return False
        return True

    def _tell(self, run_id: str, journal: Journal, entries: list[Entry]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        kind, time, values = entries[0].kind, entries[0].time, entries[0].values
        match kind:
            case "run":
                self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in self._tags(values).items()])
            case "status" if values["status"] == "RUNNING":
                self.client.update_run(run_id, status="RUNNING")
            case "status":
                self.client.set_terminated(run_id, values["status"], end_time=time)
            case "metrics":
                metrics = [Metric(n, float(v), e.time, e.step) for e in entries for n, v in e.values.items()]
                self.client.log_batch(run_id, metrics=metrics)
            case "params":  # what a run has may not be changed: a continued run keeps its first value
                known = self.client.get_run(run_id).data.params
                first = {name: value for entry in reversed(entries) for name, value in entry.values.items()}
                self.client.log_batch(run_id, params=[Param(n, v) for n, v in first.items() if n not in known])
            case "tags":
                last = {name: value for entry in entries for name, value in entry.values.items()}
                self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in last.items()])
            case "inputs":
                source = json.dumps({"uri": values["uri"]})
                dataset = Dataset(values["name"], values["digest"], "uri", source)
                self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", journal.name)])])
            case "artifact":
                if (path := journal.kept(values["file"])) is None:
                    raise Refused(f"the copy of {values['file']} is gone")
                self.client.log_artifact(run_id, str(path), values["folder"])
            case _:
                raise Refused(f"nothing can be told of the kind {kind!r}")

    def _run_id(self, journal: Journal) -> str:
        """The journal's run, found by its tags or made. Raises Away."""
        if journal.name not in self._runs:
            try:
                self._runs[journal.name] = self._found(journal.name) or self._made(journal)
            except (Refused, SteadyDancerError) as error:
                raise Away(f"no run can be made: {error}") from error
        return self._runs[journal.name]

    def _found(self, name: str) -> str | None:
        tags = f"tags.`{CHAIN_TAG}` = '{self._chain}' and tags.`{STEP_TAG}` = '{name}'"
        experiment = self.experiment_id()
        with _asked():
            found = self.client.search_runs([experiment], tags, max_results=1)
        return found[0].info.run_id if found else None

    def _made(self, journal: Journal) -> str:
        first = next((entry for entry in journal.entries() if entry.kind == "run"), None)
        values = first.values if first else {"name": journal.name, "parent": None, "tags": {}}
        tags = {**self._tags(values), CHAIN_TAG: self._chain, STEP_TAG: journal.name}
        experiment = self.experiment_id()
        with _asked():
            run = self.client.create_run(experiment, first and first.time, tags, values["name"])
        return run.info.run_id

    def _tags(self, values: dict) -> dict[str, str]:
        if values["parent"] is None:
            return values["tags"]
        return {**values["tags"], "mlflow.parentRunId": self._run_id(self._outbox.journal(values["parent"]))}

    def _is_active(self, run_id: str) -> bool:
        try:
            with _asked():
                return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except Refused:
            return False


@contextmanager
def _asked() -> Iterator[None]:
    """Turns whatever MLflow raises, and the libraries of its stores of artifacts, into Away or Refused."""
    try:
        yield
    except (Away, Refused, SteadyDancerError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise (Refused if _is_for_good(error) else Away)(reason) from error


def _is_for_good(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):  # without an endpoint it is no MLflow that answers, or not yet
        return error.get_http_status_code() in (400, 404) and error.error_code != "ENDPOINT_NOT_FOUND"
    if isinstance(error, OSError):  # that of requests too
        return getattr(getattr(error, "response", None), "status_code", None) in _WRONG_STATUS
    return isinstance(error, (TypeError, ValueError, KeyError))
