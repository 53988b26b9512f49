"""What a work folder tells of its runs: never curated, running, killed, stopped, finished."""

import dataclasses
import io
import subprocess
import sys
import time

import pytest
from rich.console import Console

from infra.errors import CorruptArtifact
from pipelines.work.guard import Work
from pipelines.work.job import Job
from pipelines.work.ledger import Record, Segment, new_run
from pipelines.work.stage import Stage
from pipelines.work.status import costs, show, summarise
from pipelines.work.units import Unit

SCAN, POSE = "scan", "pose"


@pytest.fixture
def units(tmp_path):
    return [Unit(name, f"{name}_id", (Stage(),), tmp_path / "units") for name in (SCAN, POSE)]


def write(unit, run, number, *, fault=None, error=None, seconds=2.0, ago=10.0):
    work = Work([{"n": 1}], {}, fault, error, seconds, seconds / 2)
    record = Record.of(unit.key(str(number)), f"{unit.name} {number}", work)
    segment = Segment(unit.home / "ledger", run, "b")
    segment.append(dataclasses.replace(record, finished=time.time() - ago))
    segment.close()
    return record.key


def shown(folder):
    text = io.StringIO()
    show(folder, Console(file=text, width=100))
    return text.getvalue()


def test_a_folder_where_nothing_was_ever_run_says_how_to_start(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert summarise(folder) == [] and costs(folder) == []
        assert "Nothing was curated" in shown(folder) and "steadydancer curate work=" in shown(folder)


def test_a_running_job_tells_progress_rate_and_the_time_that_is_left(units, tmp_path):
    scan, pose = units
    old, run = new_run(), new_run()
    failed = write(scan, old, 0, fault="timed_out", error="60 s are allowed")
    write(scan, old, 1)
    job = Job.of(units, run)
    job.started, job.pid = job.started - 100, 1
    job.rows = 12
    with job:
        assert summarise(tmp_path)[0].remaining_seconds is None
        job.found({SCAN: 2}, {SCAN: [failed]}, {SCAN: 10})
        for number in range(2, 7):
            write(scan, run, number, seconds=4.0)
            write(pose, run, number, seconds=16.0)
        write(pose, run, 7, fault="crashed", error="signal SIGSEGV", seconds=4.0)
        job.progress(5.0)
        job._write()
        (status,) = summarise(tmp_path)
        seen_scan, seen_pose = status.units
        assert (status.state, status.rows) == ("running", 12)
        assert (seen_scan.done, seen_scan.failed, seen_scan.total, seen_scan.estimated) == (6, 1, 12, False)
        assert (seen_pose.done, seen_pose.failed, seen_pose.total, seen_pose.estimated) == (5, 1, 12, True)
        assert seen_scan.rate == pytest.approx(5 / 100, rel=0.1)
        # 5 scans of 4 s and 6 poses of 14 s are left; 104 s of work were done in 100 s
        assert status.remaining_seconds == pytest.approx((5 * 4 + 6 * 14) / 1.04, rel=0.1)
        text = shown(tmp_path)
        assert "running, 12 rows" in text and "~12" in text and "to go" in text and "process 1 on" in text
        assert "retry" not in text
    assert summarise(tmp_path)[0].state == "finished"
    assert "curate --retry-failed" in shown(tmp_path)
    assert costs(tmp_path) == [(SCAN, 6, 1, 24.0, 12.0), (POSE, 5, 1, 84.0, 42.0)]


def test_failures_are_grouped_by_fault_with_each_message_once(units, tmp_path):
    scan, run = units[0], new_run()
    with Job.of(units[:1], run) as job:
        job.found({}, {}, {SCAN: 9})
        for number in range(4):
            write(scan, run, number, fault="failed", error="ValueError: odd [size]")
        write(scan, run, 4, fault="failed", error="KeyError: fps")
        write(scan, run, 5, fault="timed_out", error="60 s are allowed")
    failures = summarise(tmp_path)[0].units[0].failures
    assert [(one.fault, one.count) for one in failures] == [("failed", 5), ("timed_out", 1)]
    assert failures[0].examples == [("scan 0", "ValueError: odd [size]"), ("scan 4", "KeyError: fps")]
    assert "scan 0: ValueError: odd [size]" in shown(tmp_path)


def test_a_killed_and_a_stopped_run_are_told_apart_and_can_go_on(units, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    job = Job.of(units, new_run())
    job.pid = dead.pid
    job.__enter__()
    assert summarise(tmp_path)[0].state == "killed"
    assert "Go on with: steadydancer curate work=" in shown(tmp_path)
    with pytest.raises(KeyboardInterrupt), Job.of(units, new_run()):
        raise KeyboardInterrupt
    assert [one.state for one in summarise(tmp_path)] == ["stopped"]
    assert "Go on with" in shown(tmp_path)


def test_another_process_with_the_same_id_is_not_taken_for_the_run(units, tmp_path):
    job = Job.of(units, new_run())
    job.started -= 10 * 365 * 86400  # before this process was started
    job.__enter__()
    assert summarise(tmp_path)[0].state == "killed"


def test_a_line_that_is_just_being_written_is_not_seen_and_a_damaged_job_file_is_named(units, tmp_path):
    run = new_run()
    with Job.of(units[:1], run) as job:
        job.found({}, {}, {SCAN: 2})
        write(units[0], run, 0)
        (segment,) = (units[0].home / "ledger").iterdir()
        with segment.open("ab") as file:
            file.write(b'{"crc": "00')
        assert summarise(tmp_path)[0].units[0].done == 1
    job.path.write_text("{")
    with pytest.raises(CorruptArtifact, match=r"scan.json is damaged.*\nDelete it"):
        summarise(tmp_path)
