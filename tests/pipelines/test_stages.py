"""Stages and the check of a pipeline, without Ray."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from pipelines.gates import Gate, Gates, JudgeScan
from pipelines.work.stage import PerProcess, PipelineError, Stage, check, run
from pipelines.work.unit import Unit, check_units


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
    with pytest.raises(PipelineError, match="JudgeScan reads brightness"):
        check_units([unit, JudgeScan(Gates((Gate("brightness", "dark", min=1),)))], {"name", "size"})


def test_a_stage_that_writes_undeclared_columns_is_caught():
    @dataclass(frozen=True)
    class Sly(Stage):
        def __call__(self, row):
            return {"secret": 1}

    with pytest.raises(PipelineError, match=r"Sly does not declare that it writes \['secret'\]"):
        run([Sly()], {})


def test_what_is_dear_is_built_once_in_a_process():
    calls = []

    def build(settings):
        calls.append(settings)
        return object()

    assert PerProcess({"a": 1}, build).get() is PerProcess({"a": 1}, build).get()
    assert PerProcess({"a": 2}, build).get() is not PerProcess({"a": 1}, build).get()
    assert calls == [{"a": 1}, {"a": 2}]
