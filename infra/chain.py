"""A chain of steps: what is committed is recognised and passed over, the rest runs, each under its own MLflow run."""

import importlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from infra.commits import Commit, find, read, verify
from infra.errors import SteadyDancerError
from infra.outbox import Outbox
from infra.schema import Config
from infra.workspace import Workspace, claim


@dataclass(frozen=True)
class Step:
    """``run`` names a function ``(config, workspace, run: StepRun) -> Commit``; ``show`` prints what its commit holds.
    ``outdated`` names one ``(config, workspace, commit) -> str | None``: why a committed step must run again.
    ``follows``: it runs again too where a parent is another now. Others stop the chain: training is too dear for that.

    All are ``module:function``, imported when needed, so that naming a step costs nothing.
    """

    name: str
    run: str
    target: Callable[[Workspace], Path | str]
    show: str | None = None
    number: int | None = None  # passed on to a step that is one of several, as the training stages are
    outdated: str | None = None
    follows: bool = False


def run_chain(config: Config, steps: Iterable[Step], console: Console | None = None) -> list[Commit]:
    """Runs every step that is not committed yet, in order; returns the commits.

    Raises SteadyDancerError for a commit made from parents that are others now, and whatever a step raises.
    """
    console = console or Console()
    commits: list[Commit] = []
    with claim(config) as workspace, ExitStack() as running:
        tracking = chain_run = None
        passed: list[tuple[Step, Commit]] = []
        for step in steps:
            commit, why = _committed(step, workspace)
            if commit and not why and step.outdated:
                why = _function(step.outdated)(config, workspace, commit)
            if commit is None or why:
                if tracking is None:
                    tracking, chain_run = _start(config, workspace, running, console)
                    for done, made in passed:
                        tracking.repair(done.name, chain_run, made)
                console.rule(f"[bold]{step.name}", align="left")
                if why:
                    console.print(f"once more: {escape(why)}", soft_wrap=True)
                arguments = () if step.number is None else (step.number,)
                with tracking.step(step.name, chain_run) as run:
                    _function(step.run)(config, workspace, run, *arguments)
                    commit = read(step.target(workspace))
                    tracking.record(run, commit)
            else:
                passed.append((step, commit))
                console.rule(f"[bold]{step.name}[/] [dim]committed before as {commit.id[:12]}", align="left")
            if step.show is not None:
                _function(step.show)(commit, console)
            commits.append(commit)
        if tracking is None and Outbox(workspace.folder).count():
            from infra.tracking import deliver_waiting

            deliver_waiting(config, workspace, console)
        _print_places(commits, config, workspace, console)
    return commits


def _print_places(commits: list[Commit], config: Config, workspace: Workspace, console: Console) -> None:
    """Where to look, once all is done."""
    console.rule(align="left")
    for commit in commits:
        for page in sorted(name for name in commit.files if name.endswith((".html", ".jpg")) and "/" not in name):
            console.print(f"{commit.kind:<12}{commit.uri}/{page}", soft_wrap=True, highlight=False)
    store = config.tracking.uri or f"sqlite:///{workspace.mlflow_db}"
    console.print(
        f"{'runs':<12}mlflow ui --host 127.0.0.1 --backend-store-uri {store}", soft_wrap=True, highlight=False
    )
    if commits:
        console.print(f"{'lineage':<12}steadydancer lineage {commits[-1].uri}", soft_wrap=True, highlight=False)


def _start(config: Config, workspace: Workspace, running: ExitStack, console: Console):
    """MLflow and Ray, only once there is work for them."""
    from infra.ray_session import session
    from infra.tracking import Tracking

    with console.status("starting MLflow and Ray"):
        tracking = Tracking(config, workspace, console)
        chain_run = running.enter_context(tracking.chain())
        running.enter_context(session(config.resources, workspace))
    return tracking, chain_run


def _committed(step: Step, workspace: Workspace) -> tuple[Commit | None, str | None]:
    """What the step made, and why it is to be made again: a parent is another now."""
    commit = find(step.target(workspace))
    if commit is None:
        return None, None
    verify(commit)
    for parent in commit.parents:
        where = commit.parent_uri(parent)
        now = find(where)
        if now is None or now.id != parent.id:
            held = now.id[:12] if now else "none"
            told = f"{commit.uri} was made from {parent.kind} {parent.id[:12]}, but {where} holds {held} now."
            if now and step.follows:
                return commit, told
            raise SteadyDancerError(
                told, f"Delete {commit.uri} to make it from what is there now, or put the parent back."
            )
    return commit, None


def _function(path: str) -> Callable:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
