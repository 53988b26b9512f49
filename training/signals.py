"""What driver and workers tell each other through the folder of a stage, and who tells a worker to go.

``live.json`` is where training stands (worker to driver), ``stop`` asks for a checkpoint and an end (driver to worker),
``fault.json`` is what the workers met that no restart would mend (worker to driver, and to the workers that Ray starts
in their place). Imports nothing heavy: Ray's controller reads this file too.
"""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import SteadyDancerError

LIVE, STOP, FAULT = "live.json", "stop", "fault.json"
_leaving, _training = threading.Event(), threading.Event()


class Together(SteadyDancerError):
    """Something that all ranks meet at the same place, so that none waits for another in vain."""


class Leaving(Exception):
    """This group of workers ends with its checkpoint written, for another to go on: a worker was told to go."""


def clear(folder: Path) -> None:
    """Forgets what an earlier run said."""
    for name in (LIVE, STOP, FAULT):
        (folder / name).unlink(missing_ok=True)


def show(folder: Path, state: dict) -> None:
    _put(folder / LIVE, state)


def shown(folder: Path) -> dict | None:
    return _get(folder / LIVE)


def fail(folder: Path, error: SteadyDancerError) -> None:
    """Leaves ``error`` for whoever asks :func:`failed`; the first one stays."""
    if not (folder / FAULT).exists():
        _put(folder / FAULT, {"message": error.args[0], "fix": error.fix})


def failed(folder: Path) -> SteadyDancerError | None:
    said = _get(folder / FAULT)
    return said and SteadyDancerError(said["message"], said["fix"])


def watch_for_sigterm() -> None:
    """From now on SIGTERM does not end this process while it trains, but is what :func:`leaving` tells.

    Called in the main thread, which alone may set this.
    """
    before = signal.getsignal(signal.SIGTERM)

    def told(number, frame):
        if _training.is_set() and not _leaving.is_set():
            _leaving.set()
        elif callable(before):
            before(number, frame)

    _leaving.clear()
    signal.signal(signal.SIGTERM, told)


@contextmanager
def training() -> Iterator[None]:
    """Inside, SIGTERM is heeded at the next step; a second one, or one outside, ends the process as it would have."""
    _training.set()
    try:
        yield
    finally:
        _training.clear()


def leaving() -> bool:
    """Whether somebody wants this worker to end soon: by SIGTERM, or by a notice that its node will be taken away."""
    return _leaving.is_set()


def preempted() -> int:
    """When a node of this group will be taken away, in ms since 1970, 1 where that is not known; 0: no node will.

    Read where Ray keeps it in this process: its public call waits for all workers in every step.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    try:
        context = get_train_context()
    except RuntimeError:  # not started by Ray Train
        return 0
    notice = context.preemption_context.preemption_info
    return 0 if notice is None else notice.deadline_ms or 1


def _put(path: Path, content: dict) -> None:
    draft = path.with_suffix(f".draft~{socket.gethostname()}~{os.getpid()}")  # several ranks may have a fault to tell
    draft.write_text(json.dumps(content))
    draft.rename(path)


def _get(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None
