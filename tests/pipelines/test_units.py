"""Units of work, and rows through them on the real engine, with stages that misbehave as told."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from infra import config
from infra.errors import CorruptArtifact, SteadyDancerError
from infra.ray_session import session
from infra.workspace import Workspace
from pipelines.work import status
from pipelines.work.guard import work
from pipelines.work.ledger import new_run
from pipelines.work.stage import Stage
from pipelines.work.units import Unit, flow

MIB = 2**20


@dataclass(frozen=True)
class Measure(Stage):
    scale: float = 2.0

    reads: ClassVar = ("name", "size")
    writes: ClassVar = ("double",)
    local: ClassVar = ("picture",)
    memory: ClassVar = 64 * MIB
    deadline: ClassVar = 2.0

    def __call__(self, row):
        with Path(row["calls"]).open("a") as file:
            file.write(f"{row['name']}\n")
        (row["folder"] / "seen.txt").write_text(row["name"])
        match row.get("do"):
            case "sleep":
                time.sleep(60)
            case "take memory":
                taken = []
                while len(taken) < 256:
                    taken.append(b"x" * (8 * MIB))
                    time.sleep(0.002)
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "kill the worker":
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
            case "kill the worker once" if not Path(row["calls"]).with_name("killed").exists():
                Path(row["calls"]).with_name("killed").touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
        if row["size"] < 0:
            (row["folder"] / "half.txt").touch()
            raise ValueError("negative size")
        return {"double": row["size"] * self.scale, "picture": object()}


@dataclass(frozen=True)
class Cut(Stage):
    parts: int = 2

    reads: ClassVar = ("double", "picture")
    writes: ClassVar = ("part",)
    memory: ClassVar = 64 * MIB

    def __call__(self, row):
        return [{"part": f"{row['name']}.{number}"} for number in range(self.parts)]


@dataclass(frozen=True)
class Judge(Stage):
    reads: ClassVar = ("double",)
    writes: ClassVar = ("verdict",)

    def __call__(self, row):
        return {} if row.get("fault") or row["double"] < 100 else {"verdict": "rejected"}


@dataclass(frozen=True)
class Finish(Stage):
    reads: ClassVar = ("part",)
    writes: ClassVar = ("finished",)
    memory: ClassVar = 64 * MIB

    def __call__(self, row):
        return {"finished": os.getpid() != 0}


@pytest.fixture
def unit(tmp_path):
    return Unit("measure", "name", (Measure(), Cut()), tmp_path / "units")


def item(name, tmp_path, size=3, **more):
    return {"name": name, "size": size, "calls": str(tmp_path / "calls"), **more}


def calls(tmp_path):
    return Counter((tmp_path / "calls").read_text().splitlines()) if (tmp_path / "calls").exists() else Counter()


def test_a_finished_unit_is_not_worked_on_again(unit, tmp_path):
    row = item("a", tmp_path, other=[1])
    first = unit(row)
    assert first == [{**row, "double": 6.0, "part": f"a.{n}"} for n in range(2)]
    json.dumps(first)
    assert unit({**row, "other": [2]}) == [{**made, "other": [2]} for made in first]
    assert calls(tmp_path) == {"a": 1}


def test_other_settings_or_another_item_are_another_unit(unit, tmp_path):
    other = Unit("measure", "name", (Measure(scale=3.0), Cut()), unit.folder)
    assert len({unit.place("a"), unit.place("b"), other.place("a")}) == 3
    unit(item("a", tmp_path))
    assert other(item("a", tmp_path))[0]["double"] == 9.0


def test_a_raising_stage_costs_its_row_only_and_leaves_no_files(unit, tmp_path):
    bad = item("bad", tmp_path, size=-1)
    assert unit(bad) == [{**bad, "fault": "failed", "error": "ValueError: negative size"}]
    assert not list(unit.folder.rglob("seen.txt")), "files of a failed unit were left behind"
    assert unit({**bad, "size": 1})[0]["double"] == 2.0


def test_files_of_a_failed_unit_do_not_get_into_the_next(unit, tmp_path):
    with unit.desk(new_run(), "block") as desk:
        make = lambda row: work(unit.stages, row)  # noqa: E731
        assert desk.record(item("bad", tmp_path, size=-1), make).fault == "failed"
        assert set(desk.record(item("good", tmp_path), make).files) == {"seen.txt"}
        assert desk.record(item("bad", tmp_path), make).fault == "failed", "one run does not try twice"
    assert not any((unit.home / "drafts").iterdir())


def test_a_worker_left_over_from_a_killed_run_records_nothing(unit, tmp_path):
    def make(row):
        shutil.rmtree(row["folder"])  # what the next run does first
        return work(unit.stages, row)

    with unit.desk(new_run(), "block") as desk, pytest.raises(SteadyDancerError, match="Another run has taken over"):
        desk.record(item("a", tmp_path), make)
    assert unit.ledger.refresh().find(unit.key("a")) is None


def test_a_damaged_line_or_a_missing_file_and_the_unit_is_made_again(unit, tmp_path):
    row = item("a", tmp_path)
    good = unit(row)
    (segment,) = (unit.home / "ledger").glob("*.jsonl")
    text = segment.read_text()
    segment.write_text(text.replace("6.0", "7.0"))
    assert unit(row) == good and calls(tmp_path)["a"] == 2
    (unit.place("a") / "seen.txt").unlink()
    assert unit(row) == good and calls(tmp_path)["a"] == 3
    (unit.place("a") / "seen.txt").write_text("longer than it was")
    assert unit(row) == good and calls(tmp_path)["a"] == 4
    assert (unit.place("a") / "seen.txt").read_text() == "a"


def test_files_are_checked_where_they_are_used(unit, tmp_path):
    unit(item("a", tmp_path))
    assert unit.file("a", "seen.txt") == unit.place("a") / "seen.txt"
    (unit.place("a") / "seen.txt").write_text("b")
    with pytest.raises(CorruptArtifact, match=r"seen.txt was changed.*\n.*\n.*\nDelete .* and run the same command"):
        unit.file("a", "seen.txt")
    (unit.place("a") / "seen.txt").unlink()
    with pytest.raises(CorruptArtifact, match=r"seen.txt is missing, 1 bytes were made"):
        unit.file("a", "seen.txt")
    with pytest.raises(CorruptArtifact, match=r"never made: unit measure of b.*\nRun the same command again"):
        unit.file("b", "seen.txt")


def test_rejected_rows_pass_through(unit):
    for row in ({"name": "a", "fault": "too_short"}, {"name": "b", "verdict": "rejected"}):
        assert unit(row) == [row]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    settings = config.load("demo", ["resources.cpus=2", "resources.memory_gb=2"]).resources
    with session(settings, Workspace(tmp_path_factory.mktemp("ray"))):
        import ray

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield


def steps(tmp_path):
    units = tmp_path / "work" / "units"
    return [
        Unit("measure", "name", (Measure(), Cut()), units),
        Judge(),
        Unit("finish", "part", (Finish(),), units),
    ]


def outcome(rows):
    return sorted((row["name"], row.get("part", ""), row.get("fault") or row.get("verdict") or "done") for row in rows)


BAD = {"sleep": "timed_out", "take memory": "out_of_memory", "die": "crashed"}


def test_what_hangs_grows_dies_or_raises_costs_itself_is_recorded_and_tried_again_only_on_demand(engine, tmp_path):
    rows = [item(f"good{n}", tmp_path) for n in range(4)] + [item("much", tmp_path, size=60)]
    rows += [item(what, tmp_path, do=what) for what in BAD] + [item("raises", tmp_path, size=-1)]
    rows += [item("rejected", tmp_path) | {"fault": "duplicate"}]
    expected = [(f"good{n}", f"good{n}.{part}", "done") for n in range(4) for part in range(2)]
    expected += [("much", f"much.{part}", "rejected") for part in range(2)]
    expected += [(what, "", fault) for what, fault in BAD.items()]
    expected = sorted([*expected, ("raises", "", "failed"), ("rejected", "", "duplicate")])
    first = list(flow(steps(tmp_path), iter(rows)))
    assert outcome(first) == expected
    errors = {row["name"]: row["error"] for row in first if "error" in row}
    assert "2 s are allowed" in errors["sleep"] and "64 MiB are allowed" in errors["take memory"]
    assert "SIGSEGV" in errors["die"] and errors["raises"] == "ValueError: negative size"
    once = {row["name"]: 1 for row in rows if row["name"] != "rejected"}
    assert calls(tmp_path) == once
    assert outcome(flow(steps(tmp_path), rows)) == expected and calls(tmp_path) == once
    cured = [{**row, "do": None} for row in rows]
    assert outcome(flow(steps(tmp_path), cured)) == expected
    again = list(flow(steps(tmp_path), cured, retry_failed=True))
    assert {row["name"]: row["fault"] for row in again if "fault" in row} == {
        "raises": "failed",
        "rejected": "duplicate",
    }
    assert calls(tmp_path) == once | dict.fromkeys((*BAD, "raises"), 2)
    measure, finish = status.summarise(tmp_path / "work")[0].units
    assert (measure.done, measure.failed, measure.total) == (8, 1, 9)
    assert (finish.done, finish.failed, finish.total) == (14, 0, 14)


def test_a_block_whose_worker_is_killed_goes_on_where_it_was(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.work.units.BLOCKS", 1)
    rows = [item(f"{n}", tmp_path) for n in range(6)]
    rows[3] |= {"do": "kill the worker once"}
    made = list(flow(steps(tmp_path), rows))
    assert outcome(made) == [(f"{n}", f"{n}.{part}", "done") for n in range(6) for part in range(2)]
    assert calls(tmp_path) == {f"{n}": 2 if n == 3 else 1 for n in range(6)}


def test_a_row_that_kills_its_worker_time_and_again_costs_itself_only(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.work.units.BLOCKS", 2)
    monkeypatch.setattr("pipelines.work.units.ATTEMPTS", 1)
    rows = [item(f"{n}", tmp_path) for n in range(6)]
    rows[1] |= {"do": "kill the worker"}
    made = list(flow(steps(tmp_path), rows))
    expected = [(f"{n}", f"{n}.{part}", "done") for n in range(6) if n != 1 for part in range(2)]
    assert outcome(made) == sorted([*expected, ("1", "", "crashed")])
    assert next(row["error"] for row in made if row["name"] == "1").startswith("its Ray worker died")
    assert all(number == 1 for name, number in calls(tmp_path).items() if name != "1")
    assert outcome(flow(steps(tmp_path), [{**row, "do": None} for row in rows])) == sorted(
        [*expected, ("1", "", "crashed")]
    )
    assert not list((tmp_path / "work" / "units").glob("spool*"))


def test_what_is_done_needs_no_ray_and_what_is_half_done_goes_on(unit, tmp_path, monkeypatch):
    """Without an engine here: all that is left over is counted by what is handed to it."""
    for name in ("a", "b"):
        for made in steps(tmp_path)[0](item(name, tmp_path)):
            if name == "a":
                steps(tmp_path)[2](made)
    handed = []

    def engine(steps, spool, most, run, patience, may_all_fail=False):
        handed.extend(spool.read(number) for number in range(len(spool)))
        return iter(())

    monkeypatch.setattr("pipelines.work.units._on_ray", engine)
    rows = list(flow(steps(tmp_path), [item("a", tmp_path)]))
    assert outcome(rows) == [("a", "a.0", "done"), ("a", "a.1", "done")] and not handed
    rows = list(flow(steps(tmp_path), [item("a", tmp_path), item("b", tmp_path)]))
    assert [one["step"] for one in handed[:2]] == [2, 2]
    assert outcome(rows)[2:] == [("b", "b.0", "crashed"), ("b", "b.1", "crashed")]


def test_no_rows_give_no_rows(tmp_path):
    assert list(flow(steps(tmp_path), [])) == []
