"""Stages, the check of a pipeline, and units of work, without Ray."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from infra import commits
from pipelines.gates import Gate, Judge
from pipelines.stage import PerProcess, PipelineError, Stage, check, run
from pipelines.units import Unit, attempt, check_units


@dataclass(frozen=True)
class Measure(Stage):
    scale: float = 2.0

    reads: ClassVar = ("name", "size")
    writes: ClassVar = ("double",)
    local: ClassVar = ("picture",)

    def __call__(self, row):
        with (row["folder"] / "seen.txt").open("a") as file:
            file.write(row["name"])
        if row["size"] < 0:
            raise ValueError("negative size")
        return {"double": row["size"] * self.scale, "picture": object()}


@dataclass(frozen=True)
class Cut(Stage):
    reads: ClassVar = ("double", "picture")
    writes: ClassVar = ("part",)

    def __call__(self, row):
        return [{"part": number} for number in range(2)]


@pytest.fixture
def unit(tmp_path):
    return Unit("measure", "name", (Measure(), Cut()), tmp_path)


def test_check_names_stage_column_and_place():
    with pytest.raises(PipelineError, match=r"Cut reads double, picture.*\nPut it after Measure"):
        check([Cut(), Measure()], {"name", "size"})
    assert check([Measure(), Cut()], {"name", "size"}) >= {"double", "part"}


def test_local_columns_end_with_their_unit(unit, tmp_path):
    with pytest.raises(PipelineError, match="Cut reads picture"):
        check_units(
            [Unit("a", "name", (Measure(),), tmp_path), Unit("b", "name", (Cut(),), tmp_path)], {"name", "size"}
        )
    with pytest.raises(PipelineError, match="identified by clip_id"):
        check_units([Unit("a", "clip_id", (Measure(),), tmp_path)], {"name", "size"})
    with pytest.raises(PipelineError, match="Judge reads brightness"):
        check_units([unit, Judge((Gate("brightness", "dark", min=1),))], {"name", "size"})


def test_a_stage_that_writes_undeclared_columns_is_caught():
    @dataclass(frozen=True)
    class Sly(Stage):
        def __call__(self, row):
            return {"secret": 1}

    with pytest.raises(PipelineError, match=r"Sly does not declare that it writes \['secret'\]"):
        run([Sly()], {})


def test_a_finished_unit_is_not_worked_on_again(unit):
    row = {"name": "a", "size": 3, "other": [1]}
    first = unit(row)
    assert first == [{**row, "double": 6.0, "part": 0}, {**row, "double": 6.0, "part": 1}]
    json.dumps(first)
    before = (unit.place("a") / "COMMIT.json").stat().st_mtime_ns
    assert unit({**row, "other": [2]}) == [{**made, "other": [2]} for made in first]
    assert (unit.place("a") / "COMMIT.json").stat().st_mtime_ns == before


def test_other_settings_or_another_item_are_another_unit(unit, tmp_path):
    other = Unit("measure", "name", (Measure(scale=3.0), Cut()), tmp_path)
    assert len({unit.place("a"), unit.place("b"), other.place("a")}) == 3
    unit({"name": "a", "size": 3})
    assert other({"name": "a", "size": 3})[0]["double"] == 9.0


def test_a_raising_stage_costs_its_row_only_and_is_tried_again(unit):
    bad = {"name": "bad", "size": -1}
    assert attempt(unit, bad) == [{**bad, "fault": "failed", "error": "ValueError: negative size"}]
    assert commits.find(unit.place("bad")) is None
    assert not list(unit.folder.rglob("seen.txt")), "a draft was left behind"
    assert attempt(unit, {"name": "bad", "size": 1})[0]["double"] == 2.0


def test_a_damaged_unit_is_made_again(unit):
    row = {"name": "a", "size": 3}
    good = unit(row)
    path = unit.place("a") / "rows.json"
    path.write_text(path.read_text().replace("6.0", "7.0"))
    assert unit(row) == good


def test_rejected_rows_pass_through(unit):
    for row in ({"name": "a", "fault": "too_short"}, {"name": "b", "verdict": "rejected"}):
        assert unit(row) == [row]


def test_what_is_dear_is_built_once_in_a_process():
    calls = []

    def build(settings):
        calls.append(settings)
        return object()

    assert PerProcess({"a": 1}, build).get() is PerProcess({"a": 1}, build).get()
    assert PerProcess({"a": 2}, build).get() is not PerProcess({"a": 1}, build).get()
    assert calls == [{"a": 1}, {"a": 2}]
