"""What a stage refuses before anything starts."""

import json

import pytest
from encoded_noise import tiny_config

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError
from training.stages import KIND, asked_for_another, show, stage_values, train_stage


def test_missing_parents_are_named(workspace, tmp_path):
    with pytest.raises(SteadyDancerError, match="Stage 2 starts from stage 1") as refused:
        train_stage(tiny_config(), workspace, None, 2)
    assert "train --stage 1" in str(refused.value)
    empty = type(workspace)(tmp_path / "empty")
    with pytest.raises(SteadyDancerError, match="reads the encoded dataset"):
        train_stage(tiny_config(), empty, None, 1)


@pytest.mark.parametrize(
    ("meta", "said"), [({"stage": 2, "size": "tiny"}, "is stage 2"), ({"stage": 1, "size": "small"}, "size 'small'")]
)
def test_a_parent_of_another_stage_or_size_is_refused(workspace, meta, said):
    with commits.write(workspace.stage(1), KIND, meta=meta) as draft:
        (draft / "weights").write_text("none")
    with pytest.raises(SteadyDancerError, match=said):
        train_stage(tiny_config(), workspace, None, 2)
    assert not workspace.checkpoints(2).exists()


def test_what_is_named_is_not_passed_over_for_the_work_folders_own(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("training.planning.check.check", lambda *_: None)
    made = {}
    for name, place, kind, stage, parents in (
        ("first", tmp_path / "first", KIND, 1, []),
        ("here", workspace.stage(2), KIND, 2, ["first"]),
        ("another", tmp_path / "another", KIND, 1, []),
        ("dataset", tmp_path / "dataset", "dataset", 2, []),
    ):
        about = {"meta": {"stage": stage, "size": "tiny"}, "parents": [made[parent] for parent in parents]}
        with commits.write(place, kind, **about) as draft:
            (draft / "weights").write_text(name)
        made[name] = commits.read(place)
    for name, said in (("another", "is stage 1"), ("dataset", "is a dataset")):
        with pytest.raises(SteadyDancerError, match=said):
            train_stage(tiny_config(f"train.start_from={made[name].uri}"), workspace, None, 3)
    monkeypatch.setattr("training.launch.run_workers", lambda job, *_: (_ for _ in ()).throw(RuntimeError(job.parent)))
    with pytest.raises(RuntimeError, match=str(workspace.stage(2))):  # the chain that began with the one named
        train_stage(tiny_config(f"train.start_from={made['first'].uri}"), workspace, None, 3)


def test_an_unfinished_stage_is_not_deleted_by_a_later_one_from_elsewhere(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("training.planning.check.check", lambda *_: None)
    with commits.write(tmp_path / "other", KIND, meta={"stage": 1, "size": "tiny"}) as draft:
        (draft / "weights").write_text("none")
    begun = workspace.checkpoints(1) / "step-000500"
    begun.mkdir(parents=True)
    with (
        monkeypatch.context() as patch,
        pytest.raises(RuntimeError, match="workers"),
    ):
        patch.setattr("training.launch.run_workers", lambda *_: (_ for _ in ()).throw(RuntimeError("workers")))
        train_stage(tiny_config(f"train.start_from={tmp_path / 'other'}"), workspace, None, 2)
    assert begun.exists()


def test_a_finished_stage_is_not_passed_off_as_one_of_another_parent(workspace, tmp_path):
    made = {}
    for name in ("a", "b"):
        with commits.write(tmp_path / name, KIND, meta={"stage": 1, "size": "tiny"}) as draft:
            (draft / "weights").write_text(name)
        made[name] = commits.read(tmp_path / name)
    with commits.write(workspace.stage(2), KIND, meta={"stage": 2}, parents=[made["a"]]) as draft:
        (draft / "weights").write_text("2")
    done = commits.read(workspace.stage(2))
    asked_for_another(tiny_config(f"train.start_from={tmp_path / 'a'}"), workspace, done)
    with pytest.raises(SteadyDancerError, match="was not made from train.start_from"):
        asked_for_another(tiny_config(f"train.start_from={tmp_path / 'b'}"), workspace, done)


def test_a_changed_dataset_is_refused_by_its_hash(workspace):
    shard = workspace.encoded / "shards" / "00001.tar"
    content = bytearray(shard.read_bytes())
    content[-600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="00001.tar"):
        train_stage(tiny_config(), workspace, None, 1)


def test_the_newest_valid_checkpoint_wins(workspace, tmp_path):
    from training.checkpoint import Checkpoints

    said, encoded = [], commits.read(workspace.encoded)
    identity = stage_values(tiny_config(), 1)
    checkpoints = Checkpoints(tmp_path / "c", identity, [encoded], 2, said.append)
    assert checkpoints.newest() is None
    for step in (3, 6):
        target = tmp_path / "c" / f"step-{step:06d}"
        with commits.write(target, "train_state", config=identity, parents=[encoded], meta={"step": step}) as draft:
            (draft / "progress.json").write_text(json.dumps({"step": step}))
    assert checkpoints.newest().meta["step"] == 6
    (tmp_path / "c" / "step-000006" / "progress.json").write_text('{"step": 7}')
    assert checkpoints.newest().meta["step"] == 3 and "step-000006 is passed over" in said[-1]
    (tmp_path / "c" / "step-000003" / "progress.json").unlink()
    assert checkpoints.newest() is None


def test_the_table_says_what_fell(workspace, capsys):
    from rich.console import Console

    meta = {
        "stage": 2,
        "objective": "condition_distillation",
        "steps": 4,
        "validation": {
            "start": {"loss": 2.0, "fidelity": 1.5, "distill": 0.5},
            "end": {"loss": 1.0, "fidelity": 0.9, "distill": 0.1},
        },
    }
    with commits.write(workspace.stage(2), KIND, meta=meta) as draft:
        (draft / "weights").write_text("none")
    show(commits.read(workspace.stage(2)), Console(width=120))
    shown = capsys.readouterr().out
    assert "-50.0 %" in shown and "distill" in shown and "4 steps" in shown
