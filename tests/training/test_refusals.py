"""Reading the encoded dataset by offset, and what a stage refuses before anything starts."""

import json

import numpy as np
import pytest
from encoded_noise import FRAMES, tiny_config, write_encoded

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError
from training import data
from training.data import EncodedDataset
from training.stages import KIND, show, stage_values, train_stage


def test_clips_are_read_from_their_shards(workspace):
    encoded = commits.read(workspace.encoded)
    train, held_out = EncodedDataset(encoded, "train"), EncodedDataset(encoded, "val")
    assert [row["clip_id"] for row in train.rows] == ["clip0", "clip1", "clip2", "clip3"] and len(held_out) == 1
    clips = [train[i] for i in range(4)]
    assert [c.clip_id for c in clips] == ["clip0", "clip1", "clip2", "clip3"]
    assert clips[0].latent.shape == (16, 3, 8, 6) and clips[0].keypoints.shape == (FRAMES, 133, 2)
    assert not np.array_equal(clips[0].latent, clips[1].latent)
    assert train.null_text.shape == (1, 32)


def test_a_damaged_shard_is_named(workspace):
    encoded = commits.read(workspace.encoded)
    dataset = EncodedDataset(encoded)
    shard = encoded.path / "shards" / dataset.rows[2]["shard"]
    content = bytearray(shard.read_bytes())
    content[dataset.rows[2]["offset"] : dataset.rows[2]["offset"] + 8] = b"\xff" * 8
    shard.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="clip2.*00000.tar"):
        dataset[2]
    assert dataset[1].clip_id == "clip1"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["clip.frames=17"], "latent of clip clip0"),
        (["model.size=small"], "clip_image of clip clip0"),
        (["encode.codec=wan-vae"], "encode.codec='embedded'"),
    ],
)
def test_a_dataset_of_another_kind_is_refused(workspace, overrides, said):
    with pytest.raises(SteadyDancerError, match=said):
        data.check(commits.read(workspace.encoded), tiny_config(*overrides))
    data.check(commits.read(workspace.encoded), tiny_config())


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
    for step in (3, 6, 9):
        target = tmp_path / "c" / f"step-{step:06d}"
        config = identity if step != 9 else {"another": "config"}
        with commits.write(target, "train_state", config=config, parents=[encoded], meta={"step": step}) as draft:
            (draft / "progress.json").write_text(json.dumps({"step": step}))
    assert checkpoints.newest().meta["step"] == 6 and "another config" in said[-1]
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
        "workers": 2,
        "zero": 3,
        "validation": {
            "start": {"loss": 2.0, "fidelity": 1.5, "distill": 0.5},
            "end": {"loss": 1.0, "fidelity": 0.9, "distill": 0.1},
        },
    }
    with commits.write(workspace.stage(2), KIND, meta=meta) as draft:
        (draft / "weights").write_text("none")
    show(commits.read(workspace.stage(2)), Console(width=120))
    shown = capsys.readouterr().out
    assert "-50.0 %" in shown and "distill" in shown and "ZeRO-3" in shown


def test_another_dataset_has_another_id(tmp_path):
    first, second = write_encoded(tmp_path / "a"), write_encoded(tmp_path / "b", clips=4)
    assert first.id != second.id
