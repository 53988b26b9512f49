"""The queue on disk: what is added, told apart, taken back, and shown."""

import json
import os
import subprocess
import time

import psutil
import pytest
from rich.console import Console

from infra import commits, config
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from training.queue.queue import Queue, add
from training.queue.runner import run_queue
from training.queue.table import last_error, reached, show, show_log, span, state_of


@pytest.fixture
def queue(tmp_path) -> Queue:
    return Queue(tmp_path / "queue")


def added(queue, work, *overrides, **how):
    return queue.add([(how.pop("name", None), config.load("demo", [f"work={work}", *overrides]))], **how)[0]


def shown(function, *arguments, **more) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        function(*arguments, console=console, **more)
    return capture.get()


def running(queue, name) -> subprocess.Popen:
    """Makes the entry one that runs: as a process that sleeps."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with queue.editing():
        started = psutil.Process(process.pid).create_time()
        queue.change(queue.get(name), state="running", pid=process.pid, started=started, attempt=1)
    return process


def test_an_entry_keeps_the_whole_config_whatever_becomes_of_its_file(queue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("preset: demo\nwork: here\nseed: 5\n")
    [entry] = add(queue.folder, ["mine.yaml"], ["train.batch=4"], priority=3)
    (tmp_path / "mine.yaml").write_text("preset: demo\nseed: 6\n")
    kept = queue.config(entry.name)
    assert (kept.seed, kept.train.batch, kept.work) == (5, 4, str(tmp_path / "here"))
    assert entry == queue.get("here") and (entry.priority, entry.cwd, entry.cpus) == (3, str(tmp_path), 2)


def test_names_come_from_the_work_folder_and_are_numbered(queue, tmp_path):
    names = [added(queue, tmp_path / "w", f"train.batch={2}").name for _ in range(2)]
    assert names == ["w", "w-2"] and added(queue, tmp_path / "ä b").name == "b"


@pytest.mark.parametrize("name", ["a/b", "../a", ".a", "", "a" * 101, "a b"])
def test_a_name_that_is_no_file_name_is_refused(queue, tmp_path, name):
    with pytest.raises(UsageError, match="no name"):
        added(queue, tmp_path / "w", name=name)
    with pytest.raises(UsageError, match="no entry"):
        queue.get(name)


def test_what_cannot_be_added_is_told_and_nothing_is_added(queue, tmp_path):
    added(queue, tmp_path / "w", name="one")
    (tmp_path / "link").symlink_to(tmp_path / "w")
    two = [("new", config.load("demo", [f"work={tmp_path}/v"])), ("one", config.load("demo", [f"work={tmp_path}/u"]))]
    for wrong, message in [
        (lambda: queue.add(two), "already"),
        (lambda: added(queue, tmp_path / "link", "seed=7"), "seed: one has 0, link has 7"),
        (lambda: added(queue, tmp_path / "x", after=["two"]), "no entry 'two'"),
        (lambda: added(queue, tmp_path / "x", command=["doctor"]), "'doctor' is none"),
        (lambda: add(queue.folder, ["no-such-preset"]), "neither a preset"),
        (lambda: add(queue.folder, ["demo", "paper"], name="x"), "one config"),
        (lambda: add(queue.folder, []), "at least one"),
        (lambda: add(queue.folder, ["demo"], ["train.stages.0.lr=1e-4,3e-4"]), "steadydancer sweep"),
    ]:
        with pytest.raises(UsageError, match=message):
            wrong()
    assert [entry.name for entry in queue.read()[0]] == ["one"]


def test_another_way_of_working_is_no_other_config(queue, tmp_path):
    added(queue, tmp_path / "w")
    added(queue, tmp_path / "w", "train.workers=1")
    assert len(queue.read()[0]) == 2


def test_order_is_priority_then_age(queue, tmp_path):
    for name, priority in (("a", 0), ("b", 2), ("c", 0), ("d", 2)):
        added(queue, tmp_path / name, priority=priority)
    assert [entry.name for entry in queue.read()[0]] == ["b", "d", "a", "c"]


def test_a_run_that_joins_a_cluster_takes_its_resources_there(queue, tmp_path):
    entry = added(queue, tmp_path / "w", "resources.cpus=64", "resources.ray_address=auto")
    assert (entry.cpus, entry.memory_gb, entry.workers) == (1, 0, 0)


def test_what_can_be_no_queue_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place, wrong in (("file", "is a file"), ("file/queue", "no folder"), ("none/queue", "no folder .*none")):
        for refused in (show, run_queue, Queue):
            with pytest.raises(UsageError, match=wrong):
                refused(tmp_path / place)
    assert not (tmp_path / "none").exists()


def test_a_queue_that_cannot_be_written_is_named(queue, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("training.queue.queue.replace", full)
    with pytest.raises(SteadyDancerError, match="queue cannot be used as a queue: No space left"):
        added(queue, tmp_path / "w")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "bad"}', None, "other"])
def test_a_damaged_entry_is_named_and_passed_over(queue, tmp_path, text):
    added(queue, tmp_path / "w", name="good")
    added(queue, tmp_path / "v", name="bad")
    path = queue.folder / "bad" / "entry.json"
    if text is None:
        path.unlink()
    else:
        path.write_text((queue.folder / "good" / "entry.json").read_text() if text == "other" else text)
    entries, damaged = queue.read()
    assert [entry.name for entry in entries] == ["good"] and str(path) in damaged["bad"]
    with pytest.raises(CorruptArtifact, match="Delete"):
        queue.get("bad")
    assert added(queue, tmp_path / "bad").name == "bad-2", "its name is still taken"
    assert "damaged" in shown(show, queue.folder)


def test_cancelling_and_taking_it_back(queue, tmp_path):
    added(queue, tmp_path / "w")
    assert queue.cancel("w").state == "cancelled"
    with pytest.raises(UsageError, match="cancelled already"):
        queue.cancel("w")
    assert queue.retry("w").state == "waiting"
    with pytest.raises(UsageError, match="nothing to retry"):
        queue.retry("w")


def test_cancelling_what_runs_tells_its_process_to_stop(queue, tmp_path):
    added(queue, tmp_path / "w")
    process = running(queue, "w")
    assert state_of(queue.get("w"), {}) == ("running", None)
    assert queue.cancel("w").cancelling
    assert process.wait(5) == -15
    assert state_of(queue.get("w"), {})[0] == "interrupted"


def test_a_later_process_of_the_same_number_is_another(queue, tmp_path):
    added(queue, tmp_path / "w")
    process = running(queue, "w")
    with queue.editing():
        entry = queue.change(queue.get("w"), started=queue.get("w").started - 60)
    entry.stop()
    assert not entry.alive and process.poll() is None
    process.kill()
    process.wait()


def test_retrying_takes_other_settings_of_how_but_not_of_what(queue, tmp_path):
    added(queue, tmp_path / "w")
    with queue.editing():
        queue.change(queue.get("w"), state="failed", error="no memory", interruptions=2)
    with pytest.raises(UsageError, match="another train.batch"):
        queue.retry("w", config.load("demo", ["train.batch=4"]))
    entry = queue.retry("w", config.load("demo", ["resources.memory_gb=3"]))
    assert (entry.state, entry.error, entry.interruptions, entry.memory_gb) == ("waiting", None, 0, 3)
    assert queue.config("w").resources.memory_gb == 3 and queue.config("w").work == entry.work


def test_reached_is_read_from_the_work_folder(queue, tmp_path):
    entry = added(queue, tmp_path / "w", "train.stages.1.steps=70")
    live = tmp_path / "w" / "checkpoints" / "stage2" / "live.json"
    live.parent.mkdir(parents=True)
    assert reached(entry) == ""
    with commits.write(tmp_path / "w" / "stage1", "checkpoint") as folder:
        (folder / "x").touch()
    assert reached(entry) == "stage 1 done"
    live.write_text('{"step": 4')
    assert reached(entry) == "stage 1 done"
    live.write_text(json.dumps({"step": 40, "loss": 0.123456, "messages": []}))
    assert reached(entry) == "stage 2: 40/70, loss 0.1235"


def test_the_table_says_all_and_what_to_do(queue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "queue does not exist yet" in shown(show, queue.folder)
    queue.folder.mkdir()
    assert "no runs yet" in shown(show, queue.folder)
    added(queue, tmp_path / "w", name="first", priority=7)
    added(queue, tmp_path / "v", name="second", after=["first"])
    with queue.editing():
        queue.change(queue.get("first"), state="failed", error="the loss is [nan]", since=time.time() - 7300)
    text = shown(show, queue.folder)
    for part in ("failed", "7", " w ", "2 h 1 min", "the loss is [nan]", "held back", "after first, which failed"):
        assert part in text
    assert "Nobody runs it: steadydancer queue run" in text and "steadydancer queue retry first" in text


def test_the_log_of_the_last_attempt(queue, tmp_path):
    added(queue, tmp_path / "w")
    with pytest.raises(UsageError, match="not started"):
        show_log(queue.folder, "w")
    process = running(queue, "w")
    queue.log_file(queue.get("w")).write_bytes(b"step 1 [bold]\nstep 2 \xff\n")
    os.kill(process.pid, 9)
    process.wait()
    assert shown(show_log, queue.folder, "w", follow=True) == "step 1 [bold]\nstep 2 �\n"


def test_the_last_error_of_a_log(tmp_path):
    log = tmp_path / "log"
    for text, error in [
        (b"", "it printed nothing"),
        (b"one\n\n", "one"),
        (b"Error: no disk.\nFree some.\n", "no disk."),
        (b"\x1b[1;31mError: \x1b[0mred\n\x00\xff", "red"),
        (b"step 1\rstep 2\rstep 3\n", "step 3"),
        (b"x" * 100_000, "x" * 500),
    ]:
        log.write_bytes(text)
        assert last_error(log) == error
    assert "cannot be read" in last_error(tmp_path / "none")


def test_spans():
    assert [span(s) for s in (-1, 59.9, 60, 7200, 200000)] == ["0 s", "59 s", "1 min", "2 h 0 min", "2 d 7 h"]
