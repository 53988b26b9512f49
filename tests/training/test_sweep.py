"""Sweeps: which runs are asked for, what they read, and how they are compared. Training is a commit that is made up."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from training.queue import runner as queue_runner
from training.queue.queue import Queue
from training.sweep import comparison as sweep_comparison
from training.sweep.comparison import compare
from training.sweep.grid import expand, read_list
from training.sweep.plots import read_curves
from training.sweep.sweep import sweep

SMALL = ["resources.cpus=1", "resources.memory_gb=0.1", "train.workers=1", "train.stages.0.steps=20"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    monkeypatch.setattr(queue_runner, "TICK", 0.01)
    if "page" not in request.node.name:
        monkeypatch.setattr(sweep_comparison, "draw_curves", lambda curves: "")


@pytest.fixture
def main(tmp_path):
    """A work folder with an encoded dataset and stage 1."""
    for name, kind in (("encoded", "encoded"), ("stage1", "checkpoint")):
        with commits.write(tmp_path / "main" / name, kind) as folder:
            (folder / "x").write_text(name)
    return tmp_path / "main"


def trained(queue, entry) -> list[str]:
    """Instead of training: a commit whose loss is lower the nearer lr is to 3e-4, parts for the distillation."""
    run = queue.config(entry.name)
    stage = int(entry.command[-1])
    lr = run.train.stages[stage - 1].lr
    if lr > 0.5:
        return ["sh", "-c", "echo 'Error: the loss is <nan>.'; exit 1"]
    end = 0.1 + abs(math.log(lr / 3e-4)) + run.seed
    parts = {"fidelity": end / 2, "distill": end / 3} if stage == 2 else {"flow_matching": end}
    steps = run.train.stages[stage - 1].steps
    meta = {"steps": steps, "validation": {"start": {"loss": 9.0, **parts}, "end": {"loss": end, **parts}}}
    with commits.write(f"{entry.work}/stage{stage}", "checkpoint", meta=meta, replace=True) as folder:
        rows = [{"step": s + 1, "loss": math.nan if s == 3 else end + 1 / (s + 1)} for s in range(steps)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "history.parquet")
        ends = [{"step": 0, "loss": 9.0}, {"step": steps, "loss": end}]
        pq.write_table(pa.Table.from_pylist(ends), folder / "validation.parquet")
    return ["true"]


def swept(main, *overrides, name="rates", stage=1, command=trained, listed=None) -> tuple[bool, str]:
    console = Console(width=300, no_color=True)
    own = {item.partition("=")[0] for item in overrides if item.startswith(("work", "resources"))}
    common = [item for item in (f"work={main}", *SMALL) if item.partition("=")[0] not in own]
    with console.capture() as capture:
        done = sweep(name, stage, "demo", [*common, *overrides], listed=listed, command=command, console=console)
    return done, capture.get()


def record(main, name="rates") -> dict:
    return json.loads((main / "sweeps" / name / "sweep.json").read_text())


def never(queue, entry):
    raise AssertionError("nothing was to start")


VALUES = st.sampled_from(["1", "1e-4", "[0.9, 0.99]", '"a,b"', "{a: 1, b: [2, 3]}", "null", "'c'"])
GRIDS = st.dictionaries(st.sampled_from("abcde"), st.lists(VALUES, min_size=1, max_size=4), max_size=4)


@given(GRIDS)
def test_a_grid_is_every_combination_once(grid):
    fixed, combinations = expand([f"{key}={','.join(values)}" for key, values in grid.items()])
    varying = {key: values for key, values in grid.items() if len(values) > 1}
    assert fixed == [f"{key}={values[0]}" for key, values in grid.items() if len(values) == 1]
    assert len(combinations) == (math.prod(map(len, varying.values())) if varying else 0)
    for items in combinations:
        assert [item.partition("=")[0] for item in items] == list(varying)
        assert all(item.partition("=")[2] in varying[item[0]] for item in items)
    assert len({*map(tuple, combinations)}) == math.prod(len({*values}) for values in varying.values()) * bool(varying)


def test_runs_read_the_main_work_folder_and_are_compared_best_first(main):
    done, told = swept(main, "train.stages.0.lr=1e-4,3e-4", "seed=1,0")
    assert done and "4 runs, 4 of them new" in told
    kept = record(main)
    assert kept["columns"] == ["seed", "train.stages.0.lr"] and len(kept["runs"]) == 4
    assert kept["runs"][0]["settings"] == {"seed": 0, "train.stages.0.lr": 3e-4}
    losses = [run["validation"]["end"]["loss"] for run in kept["runs"]]
    assert losses == sorted(losses) and all(run["steps_per_second"] > 0 for run in kept["runs"])
    best = Queue(main / "sweeps" / "rates" / "queue").config(kept["runs"][0]["name"])
    assert kept["runs"][0]["name"] == "03-lr=3e-4,seed=0"
    assert best.work == str(main / "sweeps" / "rates" / "03-lr=3e-4,seed=0")
    assert (best.train.encoded, best.train.start_from) == (str(main / "encoded"), None)
    assert best.tracking.uri == f"sqlite:///{main}/mlflow.db" and best.tracking.tags == {"steadydancer.sweep": "rates"}
    rows = [line for line in told.splitlines() if "│" in line]
    assert "03" in rows[0] and "0.10000" in rows[0] and "-98.9 %" in rows[0]


def test_the_page_needs_no_network_and_shows_parts_and_curves(main):
    done, told = swept(main, "train.stages.1.lr=1e-4,3e-4", stage=2, name="second")
    assert done and "fidelity" in told and "distill" in told
    page = (main / "sweeps" / "second" / "sweep.html").read_text()
    assert page.count("<svg") == 1 and "fidelity" in page and "default-src 'none'" in page
    assert "://" not in page.replace("http://www.w3.org", "") and "NaN" not in page and "None" not in page
    [first, *_] = Queue(main / "sweeps" / "second" / "queue").read()[0]
    run = Queue(main / "sweeps" / "second" / "queue").config(first.name)
    assert run.train.start_from == str(main / "stage1") and first.command == ["train", "--stage", "2"]
    steps, losses = read_curves(commits.read(f"{first.work}/stage2")).training
    assert 4.0 not in steps and len(losses) == 29, "the step that was not taken has no loss"


def test_the_same_again_continues_another_grid_extends_and_what_failed_is_named(main):
    done, told = swept(main, "train.stages.0.lr=3e-4,0.9")
    assert not done and "01-lr=0.9 failed: the loss is <nan>." in told
    failed = record(main)["runs"][-1]
    assert (failed["state"], failed["error"], failed["commit"]) == ("failed", "the loss is <nan>.", None)
    assert "the loss is &lt;nan&gt;." in (main / "sweeps" / "rates" / "sweep.html").read_text()

    started = []

    def counted(queue, entry):
        started.append(entry.name)
        return ["true"] if entry.name.startswith("01") else trained(queue, entry)

    done, told = swept(main, "train.stages.0.lr=3e-4,0.9", "resources.memory_gb=0.2", command=counted)
    assert done and "0 of them new" in told and started == ["01-lr=0.9"], "what is done does not run again"
    assert Queue(main / "sweeps" / "rates" / "queue").get("01-lr=0.9").memory_gb == 0.2

    started.clear()
    done, told = swept(main, "train.stages.0.lr=3e-4,1e-4", "train.zero=1,2", command=counted)
    assert done and "3 of them new" in told and len(started) == 3, "lr=3e-4 with ZeRO-2 is the first run"
    assert record(main)["columns"] == ["train.stages.0.lr", "train.zero"] and len(record(main)["runs"]) == 5

    started.clear()
    swept(main, "train.zero=1,2", "train.stages.0.lr=3e-4", "seed=8", command=counted)
    assert len(started) == 2, "of another seed, though it is none of the varied keys"


def test_a_list_of_runs(main, tmp_path):
    (tmp_path / "runs.yaml").write_text("- [train.stages.0.lr=1e-4]\n- [train.stages.0.lr=3e-4, seed=4]\n")
    assert swept(main, listed=tmp_path / "runs.yaml")[0]
    assert {run["name"]: run["settings"]["seed"] for run in record(main)["runs"]} == {
        "00-lr=1e-4": 0,
        "01-lr=3e-4,seed=4": 4,
    }
    with pytest.raises(UsageError, match="not both"):
        swept(main, "seed=1,2", listed=tmp_path / "runs.yaml")
    for text in ("a: 1", "- seed=1", "- []", "- [seed]", "- [1]", "]", "- [seed=1, seed=2]"):
        (tmp_path / "runs.yaml").write_text(text)
        with pytest.raises(UsageError, match="runs.yaml"):
            read_list(tmp_path / "runs.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1"], "these settings make one"),
        (["seed=1,2", "seed=3"], "seed is given twice"),
        (["seed=1,,2"], "empty value"),
        (["seed=1,1"], "are the same"),
        (["train.stages.0.lr=1e-4,0.0001"], "are the same"),
        (["train.learning=1,2"], "train.learning: unknown key"),
        (["trian.zero=1,2"], "Did you mean train"),
        (["train.zero=1,7"], "train.zero"),
        (["clip.area=1024,4096"], "changes the dataset"),
        (["encode.codec=embedded,wan-vae"], "changes the dataset"),
        (["train.encoded=a,b"], "changes the dataset"),
        (["train.data=encoded,raw"], "changes the dataset"),
        (["model.size=tiny,small"], "weights that a stage starts from"),
        (["train.start_from=a,b"], "weights that a stage starts from"),
        (["train.stages.1.lr=1,2"], "no setting of stage 1"),
        (["resources.cpus=1,2"], "does not change how"),
        (["work=a,b"], "does not change how"),
    ],
)
def test_what_is_no_sweep_is_told_before_anything_starts(main, overrides, message):
    with pytest.raises(UsageError, match=message):
        swept(main, *overrides, command=never)
    assert not (main / "sweeps").exists()


def test_what_all_runs_read_must_be_there_and_stay_the_same(main, tmp_path):
    grid = "train.stages.0.lr=1e-4,3e-4"
    for wrong, error, message in [
        (lambda: swept(tmp_path / "none", grid), SteadyDancerError, "Run `encode` first"),
        (lambda: swept(main, "seed=1,2", stage=3), SteadyDancerError, "Run `train --stage 2` first"),
        (lambda: swept(main, grid, stage=4), UsageError, "no stage 4"),
        (lambda: swept(main, grid, name="a/b"), UsageError, "no name"),
    ]:
        with pytest.raises(error, match=message):
            wrong()
    swept(main, grid)
    with pytest.raises(UsageError, match="another stage"):
        swept(main, "seed=1,2", stage=2)
    with commits.write(main / "encoded", "encoded", replace=True) as folder:
        (folder / "x").write_text("other clips")
    with pytest.raises(UsageError, match="another dataset"):
        swept(main, grid, command=never)
    (main / "sweeps" / "rates" / "sweep.json").write_text("[")
    with pytest.raises(CorruptArtifact, match="damaged"):
        swept(main, grid)


def test_a_run_whose_commit_is_damaged_is_named_and_the_others_are_compared(main):
    def damaging(queue, entry):
        made = trained(queue, entry)
        if entry.name.startswith("00"):
            with commits.write(f"{entry.work}/stage1", "checkpoint", meta={"steps": 1}, replace=True) as folder:
                (folder / "x").touch()
        if entry.name.startswith("01"):
            (queue.folder.parent / entry.name / "stage1" / "history.parquet").write_text("")
        return made

    _, told = swept(main, "train.stages.0.lr=1e-4,2e-4,3e-4", command=damaging)
    first, *others = record(main)["runs"]
    assert first["name"].startswith("02") and all(run["error"] and not run["commit"] for run in others)
    assert "cannot be compared" in told and "history.parquet has 0 bytes" in told


def test_a_comparison_that_cannot_be_written_is_told_and_printed(main, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(sweep_comparison, "replace", full)
    console = Console(width=300, no_color=True)
    with console.capture() as capture, pytest.raises(SteadyDancerError, match="No space left"):
        compare(main, {"sweep": "rates", "stage": 1, "data": {"id": "0"}}, Queue(main / "queue"), console)
    assert "sweep rates of stage 1" in capture.get()


def test_with_raw_clips_the_runs_read_the_dataset_of_the_work_folder(main):
    with commits.write(main / "dataset", "dataset") as folder:
        (folder / "x").touch()
    swept(main, "seed=1,2", "train.data=raw")
    run = Queue(main / "sweeps" / "rates" / "queue").config("00-seed=1")
    assert run.store == str(main) and run.train.encoded is None
