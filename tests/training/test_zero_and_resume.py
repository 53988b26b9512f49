"""Two workers: ZeRO 1, 2 and 3 against plain PyTorch, and a run with a killed worker against an undisturbed one."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from encoded_noise import tiny_config, write_encoded

from infra import commits
from infra.workspace import Workspace

LONG = ("train.stages.0.steps=20", "train.checkpoint_every=4", "train.max_failures=1")


def make_job(workspace: Workspace, folder: Path, number: int, *overrides: str):
    from training import prebuild
    from training.job import Job
    from training.stages import stage_values

    config = tiny_config(*overrides)
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        config=config,
        number=number,
        identity=stage_values(config, number),
        encoded=str(workspace.encoded),
        cache=workspace.cache,
        parent=None,
        folder=folder,
        compiled_op=prebuild.build(),
    )


def runs(root: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Name -> (stage, overrides); what the two workers below do one after another."""
    short = ("train.stages.1.steps=3", "train.stages.0.steps=3", "train.clip_norm=0.5")
    zero = {f"zero{z}": (2, (f"train.zero={z}", *short)) for z in (1, 2, 3)}
    return {"undisturbed": (1, LONG), **zero, "lora_zero3": (1, ("train.zero=3", *short))}


def rank_of_two(root: str, rank: int) -> None:
    import torch.distributed as dist

    from training.launch import work

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", GLOO_SOCKET_IFNAME="lo")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    dist.init_process_group("gloo", store=dist.FileStore(f"{root}/store", 2), rank=rank, world_size=2)
    workspace = Workspace(Path(root))
    for name, (number, overrides) in runs(Path(root)).items():
        returned = work(make_job(workspace, Path(root) / name, number, *overrides))
        assert returned == {"finished": True}, returned


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> Path:
    """Folder of what two gloo processes trained, without Ray."""
    from training import prebuild

    prebuild.build()
    root = tmp_path_factory.mktemp("two")
    write_encoded(Workspace(root).encoded)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.trainer", "deepspeed"])
    workers = [context.Process(target=rank_of_two, args=(str(root), rank)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    return root


def newest_progress(folder: Path) -> dict:
    return json.loads((sorted(folder.glob("step-*"))[-1] / "progress.json").read_text())


def plain_history(root: Path, number: int, overrides: tuple[str, ...], dropped_term: bool = False) -> list[dict]:
    """The same steps in one process of plain PyTorch: no DeepSpeed, no workers."""
    import torch

    from model.checkpoint import build_base
    from model.initialise import base_forward
    from training.adapters import make_trainable, parameter_groups
    from training.data import EncodedDataset
    from training.objectives import build_objective
    from training.randomness import Randomness
    from training.trainer import starting_model

    config = tiny_config(*overrides, *(["train.stages.1.distill_weight=0.0"] if dropped_term else []))
    stage, randomness = config.train.stages[number - 1], Randomness(config.seed, number)
    clips, device = EncodedDataset(commits.read(Workspace(root).encoded), "train"), torch.device("cpu")
    base = build_base(config.model, config.seed)
    objective = build_objective(config, number, clips, lambda: lambda *inputs: base_forward(base, *inputs), device)
    model = starting_model(config, None).train()
    make_trainable(model, stage, randomness.weights_seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, stage), betas=(0.9, 0.999))
    rows = []
    for step in range(stage.steps):
        losses = []
        for index in (2 * step, 2 * step + 1):
            draws = randomness.draws(index, 2, text_dropout=stage.text_dropout, pose_dropout=stage.pose_dropout)
            example = objective.example(clips[randomness.sample(index, len(clips))], draws, device)
            torch.manual_seed(draws.layer_seed)
            loss = objective.loss(model, example)["total"]
            (loss / 2).backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        rows.append({"loss": sum(losses) / 2, "gradient_norm": norm.item()})
    return rows


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3", "lora_zero3"])
def test_zero_gives_the_losses_and_gradients_of_plain_pytorch(two_workers, name):
    number, overrides = runs(two_workers)[name]
    found = newest_progress(two_workers / name)["history"]
    expected = plain_history(two_workers, number, overrides)
    assert len(found) == len(expected) == 3
    for ours, plain in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-5)
        assert ours["gradient_norm"] == pytest.approx(plain["gradient_norm"], rel=1e-4)


def test_a_dropped_term_would_be_seen(two_workers):
    number, overrides = runs(two_workers)["zero3"]
    found = newest_progress(two_workers / "zero3")["history"][-1]
    wrong = plain_history(two_workers, number, overrides, dropped_term=True)[-1]
    assert found["gradient_norm"] != pytest.approx(wrong["gradient_norm"], rel=1e-3)


def test_a_killed_worker_changes_nothing(two_workers, tmp_path, capsys):
    """SIGKILL of a worker in mid-run under Ray Train: the group restarts and ends in bitwise the same weights."""
    import torch
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    from infra.ray_session import session
    from model.checkpoint import load_model
    from training.stages import train_stage

    workspace, config = Workspace(tmp_path / "work"), tiny_config(*LONG)
    shutil.copytree(Workspace(two_workers).encoded, workspace.encoded)
    killed = []
    with session(config.resources, workspace):
        killer = threading.Thread(target=kill_a_worker, args=(workspace.checkpoints(1), killed))
        killer.start()
        commit = train_stage(config, workspace, None, 1)
        killer.join()
    assert killed and commits.verify(commit).meta["stage"] == 1
    assert not workspace.checkpoints(1).exists()
    assert "Stage 1 continues from its checkpoint of step" in capsys.readouterr().out

    undisturbed = sorted((two_workers / "undisturbed").glob("step-*"))[-1]
    progress = json.loads((undisturbed / "progress.json").read_text())
    assert commit.meta["validation"] == progress["validation"]
    expected = get_fp32_state_dict_from_zero_checkpoint(str(undisturbed / "deepspeed"))
    found = get_fp32_state_dict_from_zero_checkpoint(str(commit.path / "deepspeed"))
    assert found.keys() == expected.keys() and len(found) > 42
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert progress["validation"]["end"]["loss"] < progress["validation"]["start"]["loss"]

    merged = load_model(commit.path / "model").state_dict()
    assert torch.equal(merged["patch_embedding_fuse.weight"], expected["patch_embedding_fuse.weight"])
    assert not any("lora" in name for name in merged)


def kill_a_worker(folder: Path, killed: list[int]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if list(folder.glob("step-*/COMMIT.json")):
            mine = psutil.process_iter(["ppid", "cmdline"])
            ancestry = {p.pid: p for p in psutil.Process().children(recursive=True)}
            workers = [p for p in mine if p.pid in ancestry and "RayTrainWorker" in "".join(p.info["cmdline"] or ())]
            os.kill(workers[-1].pid, signal.SIGKILL)
            killed.append(workers[-1].pid)
            return
        time.sleep(0.01)
