"""The runner of a queue, on shell scripts in the place of training."""

import multiprocessing
import os
import signal
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infra import config
from infra.errors import SteadyDancerError, UsageError
from training.queue import runner as queue_runner
from training.queue.entry import Entry, needs
from training.queue.machine import Machine, machine
from training.queue.queue import Queue
from training.queue.runner import run_queue

FORK = multiprocessing.get_context("fork")
DEMO = config.load("demo", ["resources.cpus=1", "resources.memory_gb=1", "train.workers=1"])

ENTRY = Entry(name="e", number=0, priority=0, after=[], command=["train"], work="w", cwd="/", since=0.0, **needs(DEMO))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(queue_runner, "TICK", 0.01)


@pytest.fixture
def queue(tmp_path) -> Queue:
    return Queue(tmp_path / "queue")


def put(queue, name, script="true", work=None, cpus=1, workers=1, **how):
    """An entry that runs a shell script, which knows $JOURNAL (a file of all entries) and its own $NAME."""
    resources = DEMO.resources.model_copy(update={"cpus": cpus})
    train = DEMO.train.model_copy(update={"workers": workers})
    work = str(queue.folder.parent / (work or name))
    queue.add([(name, DEMO.model_copy(update={"resources": resources, "train": train, "work": work}))], **how)
    (queue.folder.parent / f"{name}.sh").write_text(
        f"NAME={name}; JOURNAL={queue.folder.parent}/journal; say() {{ echo $NAME $1 >> $JOURNAL; }}\n{script}\n"
    )


def scripted(queue, entry) -> list[str]:
    return ["/bin/sh", str(queue.folder.parent / f"{entry.name}.sh")]


def run(queue, **how) -> tuple[bool, str]:
    console = Console(width=400, no_color=True)
    with console.capture() as capture:
        well = run_queue(queue.folder, command=scripted, console=console, **{"cpus": 1, **how})
    return well, capture.get()


def in_background(queue, **how) -> multiprocessing.Process:
    process = FORK.Process(target=run, args=[queue], kwargs=how)
    process.start()
    return process


def journal(queue) -> list[str]:
    path = queue.folder.parent / "journal"
    return path.read_text().splitlines() if path.exists() else []


def states(queue) -> dict[str, str]:
    return {entry.name: entry.state for entry in queue.read()[0]}


def eventually(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
    return found


MEET = "for i in $(seq 500); do [ $(wc -l < $JOURNAL) -ge 2 ] && break; sleep 0.01; done; sleep 0.05"
"""Until two have said something, however slow the machine is."""
BOTH = f"say in; {MEET}; say out"
STOPPABLE = "trap 'say saved; exit 130' TERM; say in; for i in $(seq 300); do sleep 0.02; done"


def test_one_after_another_by_priority(queue):
    for name, priority in (("a", 0), ("b", 2), ("c", 0), ("d", 2)):
        put(queue, name, "say", priority=priority)
    assert run(queue)[0]
    assert [line.strip() for line in journal(queue)] == ["b", "d", "a", "c"]
    assert set(states(queue).values()) == {"done"}


def test_side_by_side_as_far_as_the_machine_goes_and_without_overtaking(queue):
    for name, cpus in (("a", 1), ("b", 1), ("wide", 3), ("c", 1)):
        put(queue, name, BOTH, cpus=cpus)
    assert run(queue, cpus=3)[0]
    lines = journal(queue)
    assert set(lines[:2]) == {"a in", "b in"} and lines.index("wide in") == 4
    assert lines.index("c in") > lines.index("wide out"), "c would fit beside a and b, but is not the next"


def test_never_two_in_one_work_folder(queue):
    for name in ("a", "b"):
        put(queue, name, BOTH, work="shared")
    put(queue, "c", BOTH)
    assert run(queue, cpus=3)[0]
    lines = journal(queue)
    assert set(lines[:2]) == {"a in", "c in"} and lines.index("b in") > lines.index("a out")


def test_a_failure_stops_nothing_but_what_comes_after_it(queue):
    put(queue, "bad", "echo 'Error: the loss is [nan].'; echo 'Lower the rate.'; exit 1", priority=1)
    put(queue, "next", "say", after=["bad"])
    put(queue, "last", "say", after=["next"])
    put(queue, "other", "say")
    put(queue, "second", "say", after=["other"], priority=5)
    well, told = run(queue)
    assert not well and [line.strip() for line in journal(queue)] == ["other", "second"]
    expected = {"bad": "failed", "next": "waiting", "last": "waiting", "other": "done", "second": "done"}
    assert states(queue) == expected and queue.get("bad").error == "the loss is [nan]."
    assert "after bad, which failed" in told and "after next, which is held back" in told
    (queue.folder.parent / "bad.sh").write_text("true")
    queue.retry("bad")
    assert run(queue)[0] and set(states(queue).values()) == {"done"}
    assert queue.get("bad").error is None and queue.get("bad").attempt == 2


def test_what_does_not_fit_is_held_back_and_said(queue):
    put(queue, "wide", cpus=8, priority=1)
    put(queue, "after", after=["wide"])
    put(queue, "small")
    well, told = run(queue)
    assert not well and states(queue) == {"wide": "waiting", "after": "waiting", "small": "done"}
    assert "wide is held back: it needs 8 CPUs, this queue has 1" in told and "after still waits for wide" in told


def test_a_signal_that_the_runner_did_not_send_is_survived_a_few_times(queue):
    put(queue, "unlucky", "[ -e $JOURNAL ] || { say; kill -9 $$; }")
    put(queue, "hopeless", "kill -9 $$")
    well, told = run(queue)
    assert not well and states(queue) == {"unlucky": "done", "hopeless": "failed"}
    error = "ended by SIGKILL 3 times without getting further, most likely for want of memory"
    assert queue.get("hopeless").error == error
    assert "unlucky ended by SIGKILL, most likely for want of memory; waits again" in told


def test_a_run_that_gets_further_between_its_interruptions_is_never_given_up(queue):
    """Steps 1, 2, 3, ... are reached one at each attempt; from step 5 on nothing more."""
    live = queue.folder.parent / "a" / "checkpoints" / "stage1" / "live.json"
    live.parent.mkdir(parents=True)
    script = f"say; n=$(wc -l < $JOURNAL); [ $n -lt 5 ] || n=5; echo '{{\"step\":' $n'}}' > {live}; kill -TERM $$"
    put(queue, "a", script)
    assert not run(queue)[0] and len(journal(queue)) == 7
    entry = queue.get("a")
    assert entry.furthest == (1, 5) and entry.error == "ended by SIGTERM 3 times without getting further"


def test_a_command_that_cannot_start_fails_alone(queue, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    put(queue, "homeless", priority=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    put(queue, "other")
    assert not run(queue)[0] and states(queue) == {"homeless": "failed", "other": "done"}
    assert "No such file" in queue.get("homeless").error


def test_a_damaged_entry_is_said_and_the_others_run(queue):
    put(queue, "bad")
    put(queue, "good")
    (queue.folder / "bad" / "entry.json").write_text("{}")
    well, told = run(queue)
    assert not well and "bad is passed over" in told and queue.get("good").state == "done"


def test_an_entry_damaged_while_it_runs_is_said_when_it_ends(queue):
    put(queue, "a", f"echo nothing > {queue.folder}/a/entry.json")
    put(queue, "b")
    well, told = run(queue)
    assert not well and "cannot be written down" in told and queue.get("b").state == "done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_signal_to_stop_is_passed_on_and_all_wait_again(queue, number):
    put(queue, "a", STOPPABLE)
    put(queue, "b", STOPPABLE.replace("exit 130", "exit 1"))
    put(queue, "later")
    runner = in_background(queue, cpus=2)
    eventually(lambda: len(journal(queue)) == 2)
    os.kill(runner.pid, number)
    runner.join(10)
    assert set(journal(queue)[2:]) == {"a saved", "b saved"}
    assert set(states(queue).values()) == {"waiting"} and queue.get("a").interruptions == 0


def test_a_second_signal_kills(queue):
    put(queue, "deaf", "trap '' TERM; say in; sleep 30 & wait; sleep 30")
    runner = in_background(queue)
    eventually(lambda: journal(queue))
    deaf = psutil.Process(queue.get("deaf").pid)
    children = eventually(deaf.children)
    os.kill(runner.pid, signal.SIGINT)
    time.sleep(0.1)
    assert runner.is_alive() and deaf.is_running()
    os.kill(runner.pid, signal.SIGINT)
    runner.join(10)
    assert not runner.is_alive() and queue.get("deaf").state == "waiting"
    eventually(lambda: not any(map(_sleeps, children)))


def _sleeps(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_cancelling_what_runs_ends_it_for_good(queue):
    put(queue, "a", STOPPABLE)
    put(queue, "b", "say")
    runner = in_background(queue)
    eventually(lambda: journal(queue))
    queue.cancel("a")
    runner.join(10)
    assert states(queue) == {"a": "cancelled", "b": "done"} and journal(queue)[1] == "a saved"


def test_what_was_cancelled_as_it_ended_stays_cancelled(queue):
    put(queue, "a", "say; until [ -e $JOURNAL.go ]; do sleep 0.01; done; exit 1")
    runner = in_background(queue)
    eventually(lambda: journal(queue))
    with queue.editing():
        queue.change(queue.get("a"), state="cancelled")
    (queue.folder.parent / "journal.go").touch()
    runner.join(10)
    assert states(queue) == {"a": "cancelled"}


def test_a_killed_runner_is_followed_by_one_that_starts_nothing_twice(queue):
    """Of its two children one dies with it; the other goes on, and is waited for before it runs again."""
    put(queue, "dies", "say in; sleep 0.2; exec sleep 30")
    put(queue, "lives", "say in; sleep 0.6; say out")
    first = in_background(queue, cpus=2)
    eventually(lambda: len(journal(queue)) == 2)
    first.kill()
    first.join()
    os.killpg(queue.get("dies").pid, signal.SIGKILL)
    (queue.folder.parent / "dies.sh").write_text("true")
    well, told = run(queue, cpus=2)
    assert well and "dies was running when the queue was killed" in told and "lives is still running" in told
    mine = [line for line in journal(queue) if line.startswith("lives")]
    assert mine == ["lives in", "lives out"] * 2, "never two at a time"
    assert set(states(queue).values()) == {"done"}


def test_a_child_of_which_nothing_was_written_down_does_not_run(queue, monkeypatch):
    put(queue, "a", "say")

    def killed(_pid):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(queue_runner, "_started", killed)
    runner = in_background(queue)
    runner.join(10)
    assert runner.exitcode == -9
    time.sleep(0.2)
    assert journal(queue) == [] and queue.get("a").state == "waiting"
    monkeypatch.undo()
    assert run(queue)[0] and len(journal(queue)) == 1


def test_a_second_runner_says_who_has_the_queue(queue):
    put(queue, "a", STOPPABLE)
    runner = in_background(queue)
    eventually(lambda: journal(queue))
    with pytest.raises(SteadyDancerError, match=f"process {runner.pid}"):
        run(queue)
    os.kill(runner.pid, signal.SIGTERM)
    runner.join(10)


def test_kept_running_it_takes_what_is_added(queue):
    runner = in_background(queue, keep=True)
    time.sleep(0.1)
    put(queue, "a", "say")
    eventually(lambda: states(queue) == {"a": "done"})
    assert runner.is_alive()
    os.kill(runner.pid, signal.SIGTERM)
    runner.join(10)


def test_the_runner_leaves_signals_as_they_were(queue):
    before = signal.getsignal(signal.SIGTERM)
    put(queue, "a")
    run(queue)
    assert signal.getsignal(signal.SIGTERM) is before


def test_gpus_are_shared_out_and_others_hidden(queue, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,GPU-7")
    for name, workers in (("a", 2), ("b", 1), ("c", 1)):
        put(queue, name, f"say $CUDA_VISIBLE_DEVICES; {MEET}", workers=workers)
    assert run(queue, cpus=8)[0]
    lines = journal(queue)
    assert set(lines[:2]) == {"a 3,5", "b GPU-7"} and lines[2] in ("c GPU-7", "c 3")
    with pytest.raises(UsageError, match="this machine has 3"):
        machine(None, None, 4)
    assert machine(None, None, 0).environment([]) == {"CUDA_VISIBLE_DEVICES": ""}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=8))
def test_whoever_fits_gets_devices_that_nobody_else_has(asked):
    whole, running = Machine(6, 6.0, ("0", "1", "2", "3")), []
    for cpus, workers in asked:
        entry = ENTRY.model_copy(update={"cpus": cpus, "workers": workers, "memory_gb": float(cpus)})
        if whole.fits(entry, running):
            running.append(entry.model_copy(update={"gpus": whole.devices(entry, running)}))
            assert len(running[-1].gpus) == workers
    given_out = [device for entry in running for device in entry.gpus]
    assert len(given_out) == len(set(given_out)) and sum(entry.cpus for entry in running) <= 6
