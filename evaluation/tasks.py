"""Many independent Ray tasks with one progress bar. One that fails costs its own result and nothing else."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
AT_ONCE = 2


@dataclass(frozen=True)
class Failure:
    """What went wrong, in one line."""

    reason: str


def run_tasks(
    function: Callable, calls: Mapping[Key, tuple], *, label: str, done: int = 0, gpu: bool = False
) -> dict[Key, Any | Failure]:
    """``function(*arguments)`` for every call, each a Ray task of one core (and, for ``gpu``, one GPU if there is one).

    At most AT_ONCE tasks a core are there at a time: one that waits for an actor gives its core to the next, and so all
    videos would be in memory at once. ``done`` counts work of earlier runs into the bar. A task that raises, or whose
    worker dies twice, gives a Failure. Results are in the order of ``calls``. An interrupt cancels what is running.
    """
    import ray
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    gpus = 1 if gpu and ray.cluster_resources().get("GPU", 0) >= 1 else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(function)
    results: dict[Key, Any | Failure] = {}
    left, waiting = iter(calls.items()), {}
    most = AT_ONCE * max(1, int(ray.cluster_resources().get("CPU", 1)))

    def top_up() -> None:
        for key, arguments in islice(left, most - len(waiting)):
            waiting[task.remote(*arguments)] = key

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console()) as progress:
            bar = progress.add_task(label, total=done + len(calls), completed=done)
            top_up()
            while waiting:
                for reference in ray.wait(list(waiting), num_returns=1)[0]:
                    results[waiting.pop(reference)] = _result(ray, reference)
                    progress.advance(bar)
                top_up()
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
    return {key: results[key] for key in calls}


def _result(ray, reference) -> Any | Failure:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Failure(in_one_line(error.cause))
    except ray.exceptions.RayError as error:  # the worker died: out of memory, killed
        return Failure(in_one_line(error))


def in_one_line(error: BaseException) -> str:
    """What kind of error it is, and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
