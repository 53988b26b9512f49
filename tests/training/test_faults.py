"""What goes wrong in the middle of training: one worker in this process, faults put into its way."""

import errno
import json
import shutil
import tempfile

import pytest
import torch
from encoded_noise import tiny_config

from infra import commits
from infra.errors import SteadyDancerError
from training import checkpoint, objectives, signals, zero_state
from training import trainer as trainer_module
from training.checkpoint import NotSaved, Progress
from training.job import Job
from training.stages import stage_values
from training.trainer import NonFiniteLoss, TooManyUnreadable, Trainer

STEPS = ("train.stages.0.steps=8", "train.checkpoint_every=2", "train.workers=1", "train.validation_clips=1")


@pytest.fixture(autouse=True)
def one_quantile(one_worker, monkeypatch):
    """Validation is not what is tested here."""
    monkeypatch.setattr(trainer_module, "QUANTILES", (0.5,))


@pytest.fixture
def job(workspace):
    def make(*overrides: str, number: int = 1) -> Job:
        config = tiny_config(*STEPS, *overrides)
        folder = workspace.checkpoints(number)
        folder.mkdir(parents=True, exist_ok=True)
        return Job(config, number, stage_values(config, number), str(workspace.encoded), workspace.cache, None, folder)

    return make


def spoil(monkeypatch, when):
    """The loss is NaN in the training steps (from 1, with repetitions) that ``when`` holds of."""
    calls, whole = [0], objectives.ActionSupervision.losses

    def losses(self, student, example):
        for each in whole(self, student, example):
            if torch.is_grad_enabled():
                calls[0] += 1
                if when(calls[0]):
                    each = each | {"total": each["total"] * torch.nan}
            yield each

    monkeypatch.setattr(objectives.ActionSupervision, "losses", losses)


def saved_steps(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*"))


def test_a_clip_that_cannot_be_read_is_left_out_and_counted(workspace, job):
    from training.clips.data import EncodedDataset

    dataset = EncodedDataset(commits.read(workspace.encoded), "train")
    row = dataset.rows[2]
    shard = workspace.encoded / "shards" / row["shard"]
    content = bytearray(shard.read_bytes())
    content[row["offset"] + row["bytes"] - 4 : row["offset"] + row["bytes"]] = b"\xff" * 4  # NaN, the last number
    shard.write_bytes(content)
    trainer = Trainer(job())
    assert trainer.run()
    history = trainer.progress.history
    assert [row["samples"] for row in history] == [2 - row["clips"].count("clip2") for row in history]
    assert any(row["samples"] == 1 for row in history) and all(row["applied"] for row in history)
    assert list(trainer.progress.unreadable) == ["clip2"]
    assert any("goes without a clip" in m and "clip2" in m for m in trainer.messages)
    shutil.rmtree(workspace.checkpoints(1))
    with pytest.raises(TooManyUnreadable, match="1 clips cannot be read.*clip2"):
        Trainer(job("train.max_unreadable=0")).run()


def test_the_other_clip_of_such_a_step_counts_alone(workspace, job):
    """The gradient is the mean over the samples that are there, not over the places."""
    trainer = Trainer(job())
    share = trainer.batches.share(0)
    absent = [share.micro_batches[0]._replace(present_B=torch.zeros(1)), *share.micro_batches[1:]]
    row = trainer.train_step(0, share._replace(micro_batches=absent), readable=1)
    again = Trainer(job())
    alone = again.batches.share(0).micro_batches[1]
    torch.manual_seed(alone.layer_seed)
    losses = again.objective.loss(again.engine.module, alone.example)
    losses["total"].sum().backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in again.engine.module.parameters() if p.grad is not None])
    assert row["loss"] == pytest.approx(losses["total"].item(), rel=1e-6)
    assert row["gradient_norm"] == pytest.approx(norm.item(), rel=1e-5)


def test_a_step_without_a_number_is_not_taken(monkeypatch, job):
    spoil(monkeypatch, lambda call: call in (5, 6))  # both samples of step 3
    trainer = Trainer(job())
    assert trainer.run()
    assert [row["applied"] for row in trainer.progress.history] == [True, True, False, True, True, True, True, True]
    assert trainer.progress.skipped == 1 and trainer.progress.optimizer_steps == 7
    assert any("Step 3 was not taken" in message for message in trainer.messages)
    assert all(tensor.isfinite().all() for _, _, tensor in zero_state.gathered(trainer.engine))


def test_several_in_a_row_lead_back_to_the_last_checkpoint(monkeypatch, job):
    spoil(monkeypatch, lambda call: 7 <= call <= 12)  # steps 4, 5 and 6
    trainer = Trainer(job())
    assert trainer.run()
    assert trainer.progress.rolled_back == [[2, 6]]
    assert trainer.progress.optimizer_steps == 2 + 2
    assert any("back to the weights of step 2" in message for message in trainer.messages)


def test_too_many_end_the_run(monkeypatch, job):
    spoil(monkeypatch, lambda call: call > 2)
    with pytest.raises(NonFiniteLoss, match="train.max_skipped is 1"):
        Trainer(job("train.max_skipped=1")).run()


def test_a_second_way_back_to_the_same_checkpoint_ends_the_run(monkeypatch, job):
    spoil(monkeypatch, lambda call: call > 4)
    with pytest.raises(NonFiniteLoss, match="again after going back to 2"):
        Trainer(job("train.stages.0.steps=20")).run()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), MemoryError()]
)
def test_memory_that_does_not_suffice_is_not_tried_again(monkeypatch, job, error):
    from training.launch import work

    def losses(self, student, example):
        if not torch.is_grad_enabled():
            return whole(self, student, example)
        raise error

    whole = objectives.ActionSupervision.losses
    monkeypatch.setattr(objectives.ActionSupervision, "losses", losses)
    asked = job()
    with pytest.raises(SteadyDancerError, match="Out of memory in step 1 of stage 1"):
        work(asked)
    monkeypatch.setattr(Trainer, "__init__", lambda *_: pytest.fail("tried again"))
    assert "train.recompute=full" in str(work(asked)["error"])


def test_a_full_disk_costs_a_checkpoint_and_no_more(monkeypatch, job):
    """Step 4's cannot be written: step 2's stays, and step 6's takes the place of both."""
    write, seen = checkpoint.save_file, []

    def save_file(tensors, path, **how):
        seen.append(saved_steps(path.parents[1]))
        if ".step-000004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path, **how)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    asked = job("train.keep_checkpoints=1")
    trainer = Trainer(asked)
    assert trainer.run()
    told = [message for message in trainer.messages if "No space left" in message]
    assert len(told) == 1 and "Training goes on" in told[0]
    assert ["step-000002"] in seen[2:] and saved_steps(asked.folder) == ["step-000008"]


def test_a_disk_too_full_to_begin_a_checkpoint_or_to_tell_of_training(monkeypatch, job):
    """What all ranks would otherwise wait for is not what rank 0 alone dies of."""
    mkdtemp, put, full = tempfile.mkdtemp, signals._put, [True, True]

    def no_room(*_, **how):
        if ".step-000004" in how.get("prefix", "") and full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        return mkdtemp(**how)

    def nowhere(path, content):
        if content.get("step") == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, content)

    monkeypatch.setattr("infra.commits.tempfile.mkdtemp", no_room)
    monkeypatch.setattr(signals, "_put", nowhere)
    asked = job()
    trainer = Trainer(asked)
    assert trainer.run() and saved_steps(asked.folder) == ["step-000006", "step-000008"]
    told = "".join(trainer.messages)
    assert "Training goes on and will try again" in told and "after step 5 could not be told" in told


def test_steps_without_a_readable_clip_are_no_fault_of_the_gradient(monkeypatch, job):
    from training.clips.data import Clips, Unreadable

    def unreadable(self, index):
        raise Unreadable(self.rows[index]["clip_id"], "00000.tar", "damaged")

    trainer = Trainer(job("train.max_skipped=0", "train.roll_back_after=1"))
    trainer.validate()
    monkeypatch.setattr(Clips, "__getitem__", unreadable)
    monkeypatch.setattr(trainer, "validate", lambda: None)
    assert trainer.run()
    assert trainer.progress.skipped == 0 and trainer.progress.rolled_back == []
    assert all(row["samples"] == 0 and "fidelity" in row for row in trainer.progress.history)


def test_a_validation_that_is_no_number_ends_the_run(monkeypatch, job):
    whole = objectives.ActionSupervision.losses

    def losses(self, student, example):
        for each in whole(self, student, example):
            yield each if torch.is_grad_enabled() else each | {"total": each["total"] * torch.nan}

    monkeypatch.setattr(objectives.ActionSupervision, "losses", losses)
    with pytest.raises(NonFiniteLoss, match="Validation after step 0 is no number: loss"):
        Trainer(job()).run()


def test_two_in_a_row_or_the_last_one_end_the_run(monkeypatch, job):
    def save_file(tensors, path, **how):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    asked = job()
    with pytest.raises(NotSaved, match=r"No space left.*\n.*Free some space"):
        Trainer(asked).run()
    assert saved_steps(asked.folder) == [] and not [p for p in asked.folder.iterdir() if "draft" in p.name]
    with pytest.raises(NotSaved):
        Trainer(job("train.checkpoint_every=100")).run()


def test_a_worker_that_is_told_to_go_leaves_a_checkpoint(monkeypatch, job):
    asked = job("train.checkpoint_every=100")
    trainer = Trainer(asked)
    step = trainer.train_step

    def and_sigterm(number, *inputs):
        if number == 2:
            monkeypatch.setattr(signals, "leaving", lambda: True)
        return step(number, *inputs)

    monkeypatch.setattr(trainer, "train_step", and_sigterm)
    with pytest.raises(signals.Leaving):
        trainer.run()
    assert saved_steps(asked.folder) == ["step-000003"]


def test_a_group_that_was_told_to_go_is_followed_by_another(monkeypatch, job):
    """Which costs none of the failures that are allowed."""
    from rich.console import Console

    from training import launch

    ends, groups = [{"left": True}, {"left": True}, {"finished": True}], []

    def one_group(job, number, *_):
        groups.append(number)
        assert signals.shown(job.folder) is None, "what another group said is not said again"
        signals.show(job.folder, {"step": 1})
        return ends.pop(0)

    monkeypatch.setattr(launch, "_one_group", one_group)
    launch.run_workers(job("train.max_failures=0"), Console())
    assert groups == [1, 2, 3]


def test_a_notice_of_preemption_leaves_a_checkpoint_and_goes_on(monkeypatch, job):
    asked = job("train.checkpoint_every=100")
    trainer = Trainer(asked)
    step = trainer.train_step

    def and_notice(number, *inputs):
        if number == 2:
            monkeypatch.setattr(signals, "preempted", lambda: 1700000000000)
        return step(number, *inputs)

    monkeypatch.setattr(trainer, "train_step", and_notice)
    assert trainer.run()
    assert saved_steps(asked.folder) == ["step-000003", "step-000008"]


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 1)])
def test_a_checkpoint_goes_from_one_zero_stage_to_another_bit_by_bit(job, before, after):
    asked = job(f"train.zero={before}", "train.stages.0.steps=2", "train.prefetch=0")
    first = Trainer(asked)
    assert first.run()
    second = Trainer(job(f"train.zero={after}", "train.stages.0.steps=2", "train.prefetch=0"))
    assert second.progress.step == 2 == zero_state.optimizer_steps(second.engine)
    states = [
        {name: tensor.clone() for _, name, tensor in zero_state.gathered(each.engine)} for each in (first, second)
    ]
    assert states[0].keys() == states[1].keys() and any(name.startswith("exp_avg_sq/") for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    rows = [each.train_step(2, each.batches.share(2), readable=2) for each in (first, second)]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-6)
    assert rows[0]["gradient_norm"] == pytest.approx(rows[1]["gradient_norm"], rel=1e-5)


def test_a_checkpoint_of_other_tensors_is_refused(job):
    asked = job("train.stages.0.steps=2")
    first = Trainer(asked)
    assert first.run()
    commit = first.checkpoints.newest()
    commit.path.rename(elsewhere := commit.path.parents[2] / "elsewhere")
    other, commit = Trainer(job("train.stages.0.trainable=full")), commits.read(elsewhere)
    with pytest.raises(SteadyDancerError, match="is not of this model"):
        other.checkpoints.load(other.engine, commit)


def test_what_is_written_down_is_plain(job):
    """No pickle: safetensors and JSON."""
    asked = job("train.stages.0.steps=2")
    assert Trainer(asked).run()
    (state,) = asked.folder.glob("step-*")
    assert sorted(p.name for p in state.iterdir()) == [
        "COMMIT.json",
        "moments-0000.safetensors",
        "progress.json",
        "trained-0000.safetensors",
    ]
    progress = Progress(**json.loads((state / "progress.json").read_text()))
    assert progress.step == 2 and [len(row["clips"]) for row in progress.history] == [2, 2]
    assert {"loss_q50", "fidelity"} <= progress.validation[0].keys()
