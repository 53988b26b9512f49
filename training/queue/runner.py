"""The process that runs a queue: starts entries as the machine allows, and writes down how they ended."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from infra.errors import SteadyDancerError
from infra.workspace import held
from training.queue.entry import Entry
from training.queue.machine import Machine, machine
from training.queue.queue import Queue
from training.queue.table import furthest, last_error, reached, span

TICK = 0.5
"""Seconds between two looks at the queue and its processes."""
MOST_INTERRUPTIONS = 3
"""So often may attempts that got no further end by a signal that the runner did not send, as for want of memory."""
INTERRUPTED = (130, 143)
"""Exit codes after Ctrl-C and SIGTERM; a process that had no time to answer has minus the signal's number."""
_GATE = 'read -r go && exec "$@" </dev/null'
"""A child waits for a line before it becomes the command. If the runner dies before the child's process id is written
down, the line never comes and the child ends, so that no entry runs without anybody knowing.
"""


def steadydancer(queue: Queue, entry: Entry) -> list[str]:
    """The command of an entry's process."""
    return [sys.executable, "-m", "steadydancer", *entry.command, "--config", str(queue.config_file(entry.name))]


def run_queue(
    folder: Path | str,
    *,
    cpus: int | None = None,
    memory_gb: float | None = None,
    gpus: int | None = None,
    keep: bool = False,
    command: Callable[[Queue, Entry], list[str]] = steadydancer,
    console: Console | None = None,
) -> bool:
    """Runs what waits, until nothing is left that can start; with ``keep`` it then waits for more.

    Entries start in order, side by side while ``cpus``, ``memory_gb`` (GiB) and ``gpus`` last (None: all that the
    machine has); none overtakes one that waits for these, so that a large one gets its turn. Returns whether all that
    waited is done. Ctrl-C and SIGTERM are passed on; the entries write their checkpoints and wait again, and
    KeyboardInterrupt is raised. A second one kills them. What an earlier runner that was killed left running is waited
    for; as nobody knows how that ended, it runs again then, which passes over what is committed. An error of
    the queue's folder ends the runner and not what it started.
    Raises UsageError for more GPUs than there are, SteadyDancerError if another runner has the queue, and as
    :class:`Queue`.
    """
    console, limits = console or Console(), machine(cpus, memory_gb, gpus)
    queue = Queue(folder)
    with held(queue.folder), _signals() as told:
        runner = _Runner(queue, limits, command, console)
        runner.take_over()
        with console.status("") as status:
            while True:
                runner.reap(stopping=bool(told))
                if told:
                    runner.stop(kill=len(told) > 1)
                    if not runner.running:
                        raise KeyboardInterrupt
                elif not runner.start() and not runner.running and not keep:
                    return runner.all_done()
                status.update(runner.summary())
                time.sleep(TICK)


class _Runner:
    def __init__(self, queue: Queue, limits: Machine, command: Callable[[Queue, Entry], list[str]], console: Console):
        self.queue, self.limits, self.command, self.console = queue, limits, command, console
        self.running: dict[str, tuple[Entry, subprocess.Popen | None]] = {}
        """By name, as they were started; without a process those that another runner started."""
        self.waiting = 0
        self._said: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._failed = False

    def take_over(self) -> None:
        """What the last runner had running when it was killed."""
        with self.queue.editing():
            for entry in self.queue.read()[0]:
                if entry.state == "running" and entry.alive:
                    self.running[entry.name] = entry, None
                    self._print(entry.name, f"is still running as process {entry.pid}: waiting for its end")
                elif entry.state == "running":
                    self.queue.change(entry, state="cancelled" if entry.cancelling else "waiting")
                    self._print(entry.name, "was running when the queue was killed")

    def reap(self, stopping: bool) -> None:
        for name, (entry, process) in list(self.running.items()):
            code = process.poll() if process else None
            if code is None and (process or entry.alive):
                continue
            if process:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(entry.pid, signal.SIGKILL)  # what it left of its own processes
            del self.running[name]
            self._stopped.discard(name)
            try:
                with self.queue.editing():
                    self._write_down(self.queue.get(name), code, time.time() - entry.since, stopping)
            except SteadyDancerError as error:  # its file was damaged meanwhile; the others go on
                self._problem(name, f"has ended, which cannot be written down: {error}")

    def _write_down(self, entry: Entry, code: int | None, seconds: float, stopping: bool) -> None:
        facts = {"seconds": entry.seconds + seconds}
        interrupted = code is not None and (code < 0 or code in INTERRUPTED)
        if interrupted and not stopping:
            far = furthest(entry)
            facts["interruptions"] = 1 if far > entry.furthest else entry.interruptions + 1
            facts["furthest"] = max(far, entry.furthest)
        interruptions = facts.get("interruptions", 0)
        cause = ", most likely for want of memory" if code == -signal.SIGKILL and not stopping else ""
        if code == 0:
            self.queue.change(entry, state="done", error=None, **facts)
            self._print(entry.name, f"done in {span(seconds)}", "green")
        elif entry.state != "running":  # cancelled just when it had ended
            self.queue.change(entry, **facts)
        elif entry.cancelling:
            self.queue.change(entry, state="cancelled", **facts)
            self._print(entry.name, "cancelled")
        elif code is None or stopping or (interrupted and interruptions < MOST_INTERRUPTIONS):
            self.queue.change(entry, state="waiting", **facts)
            self._print(entry.name, f"{_ending(code)}{cause}; waits again", "yellow")
        else:
            log = self.queue.log_file(entry)
            again = f"{_ending(code)} {interruptions} times without getting further{cause}"
            error = again if interrupted else last_error(log)
            self.queue.change(entry, state="failed", error=error, **facts)
            self._problem(entry.name, f"failed: {error}\n  {log}")

    def start(self) -> int:
        """Starts what can start now; returns how many it tried to."""
        entries, damaged = self.queue.read()
        for name, why in damaged.items():
            self._problem(name, f"is passed over: {why}")
        by_name = {entry.name: entry for entry in entries}
        tried, self.waiting = 0, 0
        blocked = False
        for entry in entries:
            if entry.state != "waiting":
                continue
            self.waiting += 1
            if why := entry.held_back(by_name) or self.limits.lacks(entry):
                self._problem(entry.name, f"is held back: {why}")
                continue
            running = [other for other, _ in self.running.values()]
            first = all(by_name[name].state == "done" for name in entry.after)
            if blocked or not first or any(other.work == entry.work for other in running):
                continue
            if not self.limits.fits(entry, running):
                blocked = True
                continue
            tried += 1
            self._launch(entry.name, self.limits.devices(entry, running))
        return tried

    def _launch(self, name: str, gpus: list[str]) -> None:
        with self.queue.editing():
            entry = self.queue.get(name)
            if entry.state != "waiting":  # cancelled since
                return
            entry = self.queue.change(entry, attempt=entry.attempt + 1)
            environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"} | self.limits.environment(gpus)
            try:
                with self.queue.log_file(entry).open("wb") as log:
                    process = subprocess.Popen(
                        ["/bin/sh", "-c", _GATE, "sh", *self.command(self.queue, entry)],
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        cwd=entry.cwd,
                        env=environment,
                        start_new_session=True,  # Ctrl-C in the terminal reaches the runner alone, which passes it on
                    )
            except OSError as error:
                reason = f"it cannot be started: {error.strerror}: {error.filename}"
                self.queue.change(entry, state="failed", error=reason)
                self._problem(name, f"failed: {reason}")
                return
            started = _started(process.pid)
            entry = self.queue.change(entry, state="running", error=None, pid=process.pid, started=started, gpus=gpus)
            self.running[name] = entry, process
        with process.stdin, contextlib.suppress(BrokenPipeError):  # cancelled before it began
            process.stdin.write(b"go\n")
        on = f" on GPU {', '.join(gpus)}" if gpus else ""
        self._print(name, f"starts{on} in {entry.work}")

    def stop(self, kill: bool) -> None:
        for name, (entry, _) in self.running.items():
            if kill:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(entry.pid, signal.SIGKILL)
            elif name not in self._stopped:
                self._stopped.add(name)
                entry.stop()
                self._print(name, "is told to write a checkpoint and stop (Ctrl-C again: at once)", "yellow")

    def all_done(self) -> bool:
        for entry in self.queue.read()[0]:
            if entry.state == "waiting" and entry.name not in self._said:
                self._problem(entry.name, f"still waits for {', '.join(entry.after)}")
        return not self._failed

    def summary(self) -> str:
        running = [f"{name} ({reached(entry) or 'starting'})" for name, (entry, _) in self.running.items()]
        return escape(f"{', '.join(running) or 'nothing'} running, {self.waiting} waiting")

    def _problem(self, name: str, text: str) -> None:
        self._failed = True
        if self._said.get(name) != text:
            self._said[name] = text
            self._print(name, text, "red")

    def _print(self, name: str, text: str, style: str = "default") -> None:
        now = time.strftime("%H:%M:%S")
        self.console.print(f"[dim]{now}[/] [bold]{escape(name)}[/] [{style}]{escape(text)}[/]", soft_wrap=True)


def _ending(code: int | None) -> str:
    if code is None:
        return "ended unobserved"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _started(pid: int) -> float:
    import psutil

    return psutil.Process(pid).create_time()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to stop that came, instead of their effect."""
    told: list[int] = []
    before = {number: signal.signal(number, lambda n, _: told.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
