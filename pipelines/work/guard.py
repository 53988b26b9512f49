"""Guarded work: stages run on a row in a process of their own, which is ended when it takes too long or too much.

The process is kept from row to row, so that what is dear to build is built once, and replaced when it died. It never
outlives its parent, however that ends.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from infra.errors import SteadyDancerError
from pipelines.work import stage as stages_module
from pipelines.work.stage import Row, Stage, run

TICK = 0.1
"""Seconds between two looks at the clock and the memory."""
START_SECONDS = 300.0
"""How long the process may take to start and to import the stages."""
BUILD_SECONDS = 1800.0
"""How long building one estimator or encoder may take (weights may lie on a slow disk)."""


class GuardError(SteadyDancerError):
    """No process could be had for the work. That is not the row's fault."""


@dataclass(frozen=True)
class Work:
    """What stages made of a row: the columns they write, and of each file in the row's folder SHA-256 and bytes.

    With a fault there are no rows, and ``error`` says why. ``seconds`` are wall time.
    """

    rows: list[Row] = field(default_factory=list)
    files: dict[str, list] = field(default_factory=dict)
    fault: str | None = None
    error: str | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def work(stages: Sequence[Stage], row: Row, begins: Callable[[Stage, Row], None] | None = None) -> Work:
    """``stages`` on ``row`` in this process, unguarded. What a stage raises becomes the fault ``failed``."""
    keep = {column for stage in stages for column in stage.writes}
    started, cpu = time.monotonic(), _cpu_seconds()
    made: dict[str, Any]
    try:
        rows = run(stages, row, begins) if begins else run(stages, row)
        rows = [{column: one[column] for column in sorted(keep & one.keys())} for one in rows]
        made = {"rows": json.loads(json.dumps(rows, allow_nan=False)), "files": _files(row)}
    except Exception as error:  # noqa: BLE001 whatever it is, it is this row's
        made = {"fault": "failed", "error": f"{type(error).__name__}: {error}"}
    return Work(**made, seconds=time.monotonic() - started, cpu_seconds=_cpu_seconds() - cpu)


def _files(row: Row) -> dict[str, list]:
    facts = {}
    if (folder := row.get("folder")) is not None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            facts[path.relative_to(folder).as_posix()] = [digest, path.stat().st_size]
    return facts


class Guard:
    """One process that works for this one.

    Of a row it counts: the time of the stages against the sum of their ``seconds_allowed``, and the memory it takes
    against the largest ``memory`` of the stages. Not counted are starting, importing the stages, and what
    ``PerProcess`` builds. Memory that rows leave behind is not held against the next one: the process is replaced
    where it grew by half of what a row may take.
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._stages: Sequence[Stage] | None = None
        self._idle = 0

    @property
    def pid(self) -> int | None:
        return self._process and self._process.pid

    def work(self, stages: Sequence[Stage], row: Row, patience: float = 1.0) -> Work:
        """Like the function :func:`work`, in the guarded process. Beside ``failed`` there are the faults
        ``timed_out``, ``out_of_memory`` and ``crashed``; after these the process is gone, and the next call starts
        another. ``patience`` multiplies all deadlines. Raises GuardError if no process can be started.
        """
        memory = max(stage.memory for stage in stages)
        try:
            if self._process and (self._process.poll() is not None or self._resident() > self._idle + memory / 2):
                self.stop()
            self._load(stages)
            return self._watched(stages, row, patience, memory)
        except BaseException:  # an answer may still be under way: whoever asks next must not get it
            self.stop()
            raise

    def stop(self) -> int | None:
        """Ends the process and everything it started; returns its exit code."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it will go when that lets it
            self._process.wait(timeout=10)
        code = self._process.returncode
        self._process.stdin.close()
        self._connection.close()
        self._process = self._stages = None
        return code

    def _start(self) -> None:
        import psutil

        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from pipelines.work.guard import _serve; _serve({theirs.fileno()})"],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal does not reach it; it is ended with all it started
                env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
            )
        self._connection = Connection(ours.detach())
        self._facts = psutil.Process(self._process.pid)

    def _load(self, stages: Sequence[Stage]) -> None:
        if stages is self._stages:
            return
        import cloudpickle

        before = self._resident() if self._process else 0
        if self._process is None:
            self._start()
            self._idle = 0
        try:
            self._connection.send_bytes(cloudpickle.dumps(tuple(stages)))
            if not self._connection.poll(START_SECONDS):
                raise GuardError(f"A process for the stages did not start within {START_SECONDS:g} s.")
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise GuardError(f"The process for the stages died as it started: {_ending(self.stop())}.") from None
        if answer is not None:
            raise GuardError(f"The stages cannot be loaded in another process: {answer}")
        self._idle += self._resident() - before
        self._stages = stages

    def _watched(self, stages: Sequence[Stage], row: Row, patience: float, memory: int) -> Work:
        started, cpu = time.monotonic(), self._cpu()
        doing, allowed, begun, building = "nothing yet", START_SECONDS, started, None

        def ended(fault: str, error: str) -> Work:
            cpu_seconds = max(0.0, self._cpu() - cpu)
            self.stop()
            return Work([], {}, fault, error, time.monotonic() - started, cpu_seconds)

        next_look = started + TICK
        try:
            self._connection.send(row)
            while True:
                if self._connection.poll(max(0.0, next_look - time.monotonic())):
                    match self._connection.recv():
                        case Work() as done:
                            return done
                        case ("begins", name, seconds):
                            if doing == "nothing yet":
                                allowed, begun = 0.0, time.monotonic()
                            doing, allowed = name, allowed + seconds * patience
                        case ("building",):
                            building = time.monotonic()
                        case ("built", grown):
                            self._idle += grown
                            begun, building = begun + time.monotonic() - building, None
                if (now := time.monotonic()) < next_look:
                    continue
                next_look = now + TICK
                if building is not None:
                    if now - building > BUILD_SECONDS:
                        what = f"{doing} was building for {now - building:.0f} s, {BUILD_SECONDS:g} s are allowed"
                        return ended("timed_out", what)
                elif now - begun > allowed:
                    return ended("timed_out", f"ended in {doing} after {now - begun:.1f} s, {allowed:g} s are allowed")
                elif (taken := self._resident() - self._idle) > memory:
                    what = f"ended in {doing} at {taken / 2**20:.0f} MiB, {memory / 2**20:.0f} MiB are allowed"
                    return ended("out_of_memory", what)
        except (EOFError, OSError):
            cpu_seconds, seconds = max(0.0, self._cpu() - cpu), time.monotonic() - started
            error = f"its process died in {doing}: {_ending(self.stop())}"
            return Work([], {}, "crashed", error, seconds, cpu_seconds)

    def _resident(self) -> int:
        import psutil

        try:
            return self._facts.memory_info().rss
        except psutil.Error:  # it died: the connection tells
            return 0

    def _cpu(self) -> float:
        import psutil

        try:
            times = self._facts.cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system


def _ending(code: int | None) -> str:
    if code is None:
        return "it does not end"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(descriptor: int) -> None:
    """The guarded process: stages (pickled tuple) or a row (dict) come, an answer goes."""
    _end_with_parent()
    connection, stages = Connection(descriptor), ()
    stages_module.building = lambda: _building(connection)

    def begins(stage: Stage, row: Row) -> None:
        connection.send(("begins", type(stage).__name__, stage.seconds_allowed(row)))

    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 stages that cannot be imported here: the parent raises it
            connection.send(f"{type(error).__name__}: {error}")
            continue
        if isinstance(message, tuple):
            stages = message
            connection.send(None)
        else:
            connection.send(work(stages, message, begins))


def _end_with_parent() -> None:
    """The kernel ends this process group when the parent's end of standard input closes, also where the parent was
    killed and whatever this process is stuck in. (PR_SET_PDEATHSIG would follow the parent's thread instead.)
    """
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(0, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


@contextmanager
def _building(connection: Connection) -> Iterator[None]:
    connection.send(("building",))
    before = _own_memory()
    try:
        yield
    finally:
        connection.send(("built", _own_memory() - before))


def _own_memory() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
