"""MLflow: one parent run per chain, one child run per step; a restarted step continues its run.

What runs log goes to the outbox of the work folder, and from there to MLflow (:mod:`infra.delivery`): no work waits for
a server, and one that goes away is told later.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from infra import storage
from infra.commits import COMMIT_FILE, Commit
from infra.config import dump
from infra.delivery import Delivery
from infra.errors import SteadyDancerError
from infra.mlflow_store import Away, Store
from infra.outbox import Journal, Outbox
from infra.schema import Config
from infra.system_metrics import sampled
from infra.workspace import Workspace

_PARAM_CHARACTERS = 6000
_CHAIN = "chain"
"""Name of the parent run's journal. It has a status once work began."""


@dataclass(frozen=True)
class StepRun:
    """One MLflow run. Cheap to send to a worker process, on any node that has the work folder.

    Every method returns once it has written to the work folder, and raises SteadyDancerError if that takes nothing.
    """

    journal: Journal

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """MLflow keeps NaN as it is, and of infinity the largest number of its sign."""
        self.journal.append("metrics", {name: float(value) for name, value in metrics.items()}, step or 0)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """MLflow forbids changing one, so a continued run keeps the first value."""
        self.journal.append("params", {name: str(value)[:_PARAM_CHARACTERS] for name, value in params.items()})

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """A file as it is now: it may change or go at once. ``folder`` is its place in the run.

        Raises ValueError for a folder that is not below the run's own.
        """
        if folder is not None and (folder != posixpath.normpath(folder) or folder.startswith(("/", ".."))):
            raise ValueError(f"{folder!r} is no folder of a run")
        self.journal.append("artifact", {"file": self.journal.keep(Path(path)), "folder": folder})

    def log_text(self, text: str, name: str) -> None:
        """A text as the file ``name`` of the run."""
        self.journal.append("artifact", {"file": self.journal.keep_text(text, name), "folder": None})

    def log_input(self, kind: str, digest: str, uri: str) -> None:
        """A committed artifact that this run reads: MLflow lists it among its datasets."""
        self.journal.append("inputs", {"name": kind, "digest": digest[:36], "uri": uri})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.journal.append("tags", {name: str(value) for name, value in tags.items()})


class Tracking:
    """The runs of one work folder. What becomes of MLflow meanwhile is printed on ``console``.

    Raises SteadyDancerError if MLflow cannot be used and nothing was computed yet that would be lost. A work folder
    that is continued goes on without: what it logs is told later.
    """

    def __init__(self, config: Config, workspace: Workspace, console: Console | None = None):
        self.uri = config.tracking.uri or f"sqlite:///{workspace.mlflow_db}"
        self._config, self._workspace = config, workspace
        self._say = _sayer(console or Console())
        self._outbox = Outbox(workspace.folder)
        with self._usable():
            store = Store(self.uri, config.tracking.experiment, workspace.chain_id, self._outbox, _artifacts(self.uri))
        self.delivery = Delivery(self._outbox, store, self._say)
        with self._there():
            store.experiment_id()

    @contextmanager
    def chain(self) -> Iterator[StepRun]:
        """The parent run of this work folder."""
        folder = self._workspace.folder
        run = self._open(_CHAIN, folder.name, None, {"steadydancer.work": str(folder)})
        run.log_text(dump(self._config), "config.yaml")
        if not self.delivery.away:
            with self._there():  # its store of files too, which may be another
                self.delivery.deliver(run.journal)
        with self.delivery, self._running(run):
            yield run

    @contextmanager
    def step(self, name: str, parent: StepRun) -> Iterator[StepRun]:
        """The child run of one step; ends as finished, failed or killed."""
        run = self._open(name, name, parent)
        every, began = self._config.tracking.system_metrics_s, next(run.journal.entries()).time / 1000
        try:
            with self._running(run), sampled(run, every, self._say, began):
                yield run
        finally:
            self.delivery.flush()

    def repair(self, name: str, parent: StepRun, commit: Commit) -> None:
        """Ends the run of a step that was killed after its commit and before its run was told."""
        told, status = False, None
        for entry in self._outbox.journal(name).entries():
            told |= entry.kind == "tags" and entry.values.get("steadydancer.commit") == commit.id
            status = entry.values["status"] if entry.kind == "status" else status
        if not told or status != "FINISHED":
            run = self._open(name, name, parent)
            self.record(run, commit)
            run.journal.append("status", {"status": "FINISHED"})

    def record(self, run: StepRun, commit: Commit) -> None:
        """Ties a run to the artifact it made, and to those it was made from."""
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
        for parent in commit.parents:
            run.log_input(parent.kind, parent.id, commit.parent_uri(parent))
        filesystem, root = storage.opened(commit.uri)
        with storage.told(commit.uri):
            record = filesystem.cat_file(f"{root.rstrip('/')}/{COMMIT_FILE}").decode()
        run.log_text(record, COMMIT_FILE)

    def _open(self, name: str, run_name: str, parent: StepRun | None, tags: Mapping[str, str] | None = None) -> StepRun:
        run = StepRun(self._outbox.journal(name))
        run.journal.append(
            "run",
            {
                "name": run_name,
                "parent": parent and parent.journal.name,
                "tags": {**self._config.tracking.tags, **(tags or {})},
            },
        )
        return run

    @contextmanager
    def _running(self, run: StepRun) -> Iterator[None]:
        attempts = sum(e.kind == "status" and e.values["status"] == "RUNNING" for e in run.journal.entries())
        run.journal.append("status", {"status": "RUNNING"})
        run.set_tags({"steadydancer.attempt": attempts + 1})
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            run.journal.append("status", {"status": status})

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Refuses to begin without MLflow; to go on without it is said."""
        with self._usable():
            try:
                yield
            except Away as error:
                if not any(entry.kind == "status" for entry in self._outbox.journal(_CHAIN).entries()):
                    raise
                self.delivery.away = True
                self._say(f"MLflow at {self.uri} is away ({error}); the log waits in {self._outbox.folder}.")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except Away as error:
            raise SteadyDancerError(
                f"MLflow at {self.uri} cannot be used: {error}",
                "Start the server, correct tracking.uri, or leave it out to track in the work folder.",
            ) from error


def _artifacts(uri: str) -> Path | None:
    """Where files of runs go: beside a store in a local file; None: where the server says."""
    return Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" if uri.startswith("sqlite:///") else None


def deliver_waiting(config: Config, workspace: Workspace, console: Console) -> None:
    """Tells MLflow what an earlier command on this work folder could not; where it is still away, says so."""
    try:
        delivery = Tracking(config, workspace, console).delivery
        if not delivery.away:
            with delivery:
                pass
    except SteadyDancerError as error:
        outbox = Outbox(workspace.folder)
        _sayer(console)(f"{error}\n{outbox.count()} entries for it still wait in {outbox.folder}.")


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True, highlight=False)
