"""Guarded work: what hangs, takes too much or dies is ended, and costs its own row only."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from pipelines.work.guard import Guard, GuardError, work
from pipelines.work.stage import PerProcess, Stage

MIB = 2**20


@dataclass(frozen=True)
class Misbehave(Stage):
    """Does what the row's ``do`` says."""

    reads: ClassVar = ("do",)
    writes: ClassVar = ("pid", "allowed")
    deadline: ClassVar = 1.0
    memory: ClassVar = 128 * MIB

    def seconds_allowed(self, row):
        return row.get("allowed", self.deadline)

    def __call__(self, row):
        match row["do"]:
            case "sleep":
                time.sleep(60)
            case "start a process and sleep":
                Path(row["note"]).write_text(str(subprocess.Popen(["sleep", "60"]).pid))
                time.sleep(60)
            case "take memory":
                taken = []
                while len(taken) < 256:  # 2 GiB
                    taken.append(b"x" * (8 * MIB))
                    time.sleep(0.01)
            case "keep memory":
                _KEPT.append(b"x" * (row["mib"] * MIB))
            case "die":
                os.kill(os.getpid(), row["signal"])
            case "leave":
                os._exit(3)
            case "raise":
                raise ValueError("no such picture")
            case "nan":
                return {"allowed": float("nan")}
        return {"pid": os.getpid()}


_KEPT = []


@pytest.fixture(scope="module")
def shared():
    guard = Guard()
    yield guard
    guard.stop()


STAGES = (Misbehave(),)


def test_a_good_row_is_what_it_is_without_a_guard_and_the_process_is_kept(shared, tmp_path):
    assert work(STAGES, {"do": "well"}).rows == [{"pid": os.getpid()}]
    first, second = (shared.work(STAGES, {"do": "well", "folder": tmp_path}) for _ in range(2))
    assert first.rows == second.rows == [{"pid": shared.pid}] and shared.pid != os.getpid()
    assert first.fault is None and first.seconds < 1.0


@pytest.mark.parametrize(
    ("row", "fault", "error"),
    [
        ({"do": "sleep", "allowed": 0.3}, "timed_out", r"ended in Misbehave after [01]\.\d s, 0.3 s are allowed"),
        ({"do": "take memory", "allowed": 20}, "out_of_memory", r"ended in Misbehave at \d{3} MiB, 128 MiB are allow"),
        ({"do": "die", "signal": signal.SIGSEGV}, "crashed", "its process died in Misbehave: signal SIGSEGV"),
        ({"do": "die", "signal": signal.SIGKILL}, "crashed", "its process died in Misbehave: signal SIGKILL"),
        ({"do": "leave"}, "crashed", "its process died in Misbehave: exit code 3"),
        ({"do": "raise"}, "failed", "ValueError: no such picture"),
        ({"do": "nan"}, "failed", "ValueError: Out of range float"),
    ],
)
def test_what_goes_wrong_has_its_reason_and_the_next_row_is_done(shared, row, fault, error):
    lost = shared.work(STAGES, row)
    assert lost.fault == fault and re.search(error, lost.error), lost
    assert lost.rows == []
    assert shared.work(STAGES, {"do": "well"}).rows == [{"pid": shared.pid}]


def test_a_process_that_died_between_two_rows_costs_none(shared):
    shared.work(STAGES, {"do": "well"})
    os.kill(shared.pid, signal.SIGKILL)
    assert _gone(shared.pid)
    assert shared.work(STAGES, {"do": "well"}).fault is None


def test_patience_multiplies_the_deadline(shared):
    assert "0.5 s are allowed" in shared.work(STAGES, {"do": "sleep", "allowed": 1}, patience=0.5).error


def test_what_the_work_started_ends_with_it(shared, tmp_path):
    note = tmp_path / "pid"
    assert (
        shared.work(STAGES, {"do": "start a process and sleep", "note": str(note), "allowed": 0.5}).fault == "timed_out"
    )
    assert _gone(int(note.read_text()))


def test_memory_that_rows_leave_behind_is_not_held_against_the_next(shared):
    pids = [shared.work(STAGES, {"do": "keep memory", "mib": 48}).rows[0]["pid"] for _ in range(4)]
    assert shared.work(STAGES, {"do": "keep memory", "mib": 48}).fault is None
    assert 1 < len(set(pids)) < 4


def build_slowly(settings):
    time.sleep(1.0)
    return b"x" * (settings["mib"] * MIB)


@dataclass(frozen=True)
class UseModel(Misbehave):
    model: PerProcess

    def __call__(self, row):
        built = len(self.model.get())
        time.sleep(0.3)
        return {"allowed": built}


def test_building_counts_neither_as_time_nor_as_memory_of_the_row(shared):
    stages = (UseModel(PerProcess({"mib": 300}, build_slowly)),)
    first, second = shared.work(stages, {"do": "well"}), shared.work(stages, {"do": "well"})
    assert first.fault is None and first.rows == second.rows == [{"allowed": 300 * MIB}]
    assert first.seconds > 1.3 > second.seconds


def test_stages_that_no_other_process_can_load_are_an_error_and_not_a_fault():
    class Unpicklable:
        def __reduce__(self):
            return int, ("no number",)

    with pytest.raises(GuardError, match="ValueError: invalid literal"):
        Guard().work((UseModel(Unpicklable()),), {"do": "well"})


PARENT = """
import sys, threading
from pipelines.work.guard import Guard
sys.path.insert(0, {folder!r})
from test_guard import STAGES
guard = Guard()
def work():
    guard.work(STAGES, {{"do": "well"}})
    print(guard.pid, flush=True)
thread = threading.Thread(target=work)
thread.start()
thread.join()
guard.work(STAGES, {{"do": "sleep", "allowed": 60}})
"""


def test_the_process_ends_with_a_killed_parent_and_not_with_its_thread():
    text = PARENT.format(folder=str(Path(__file__).parent))
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert psutil.pid_exists(child), "it ended with the thread that started it"
    finally:
        parent.kill()
        parent.wait()
    assert _gone(child)


def _gone(pid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False
