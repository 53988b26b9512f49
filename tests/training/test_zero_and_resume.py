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
from training import signals

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
        data=str(workspace.encoded),
        cache=workspace.cache,
        parent=None,
        folder=folder,
        compiled_op=prebuild.build(),
    )


SHORT = ("train.stages.1.steps=3", "train.stages.0.steps=3", "train.clip_norm=0.5")
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "undisturbed": (1, LONG),
    "alone": (1, LONG),
    "elastic": (1, LONG),
    "elastic_zero3": (1, ("train.zero=3", *LONG)),
    "zero1": (2, ("train.zero=1", *SHORT)),
    "zero2": (2, ("train.zero=2", "train.recompute=full", "train.offload=optimizer", *SHORT)),
    "zero3": (2, ("train.zero=3", *SHORT)),
    "lora_zero3": (1, ("train.zero=3", "train.recompute=attention", *SHORT)),
    "uneven": (1, ("train.batch=5", "train.micro_batch=2", "train.stages.0.schedule=cosine", *SHORT)),
    "pose_simulation": (3, ("train.zero=1", "train.stages.2.steps=3", "train.stages.2.pose_simulation=1.0")),
    "bf16": (2, ("train.zero=3", "train.precision=bf16", *SHORT)),
}
"""Name -> (stage, overrides); what the two workers below do one after another."""


def worker(root: str, rank: int, world: int, names: list[str], stop_at: int | None) -> None:
    """One gloo process, without Ray. ``stop_at``: the step from which the driver would ask for an end."""
    import torch.distributed as dist

    from training.launch import work

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), GLOO_SOCKET_IFNAME="lo")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    store = dist.FileStore(f"{root}/store-{names[0]}-{world}-{stop_at}", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    for name in names:
        number, overrides = RUNS[name]
        folder = Path(root) / name.removesuffix("_zero3" if name.startswith("elastic") else "")
        job = make_job(Workspace(Path(root)), folder, number, *overrides)
        if stop_at is not None and rank == 0:
            threading.Thread(target=ask_for_an_end, args=(job.folder, stop_at)).start()
        assert work(job) == {"finished": stop_at is None}


def ask_for_an_end(folder: Path, step: int) -> None:
    while (signals.shown(folder) or {"step": 0})["step"] < step:
        time.sleep(0.005)
    (folder / signals.STOP).touch()


def train(root: Path, world: int, names: list[str], stop_at: int | None = None) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.trainer", "deepspeed"])
    arguments = [(str(root), rank, world, names, stop_at) for rank in range(world)]
    workers = [context.Process(target=worker, args=each) for each in arguments]
    for each in workers:
        each.start()
    for each in workers:
        each.join(300)
        assert each.exitcode == 0


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> Path:
    """Folder of what two gloo processes trained, without Ray."""
    from training import prebuild

    prebuild.build()
    root = tmp_path_factory.mktemp("two")
    write_encoded(Workspace(root).encoded)
    train(root, 2, [name for name in RUNS if not name.startswith(("alone", "elastic"))])
    return root


def newest_progress(folder: Path) -> dict:
    return json.loads((sorted(folder.glob("step-*"))[-1] / "progress.json").read_text())


def plain_history(root: Path, number: int, overrides: tuple[str, ...], dropped_term: bool = False) -> list[dict]:
    """The same steps in one process of plain PyTorch: no DeepSpeed, no workers, one sample after the other, fp32."""
    import torch

    from model.checkpoint import build_base
    from model.initialise import base_forward
    from training.adapters import make_trainable, parameter_groups
    from training.batches import Batches
    from training.clips.data import EncodedDataset
    from training.clips.randomness import Randomness
    from training.engine import schedule
    from training.objectives import build_objective
    from training.trainer import starting_model

    config = tiny_config(*overrides, *(["train.stages.1.distill_weight=0.0"] if dropped_term else []))
    stage, randomness = config.train.stages[number - 1], Randomness(config.seed, number)
    clips, device = EncodedDataset(commits.read(Workspace(root).encoded), "train"), torch.device("cpu")
    base = build_base(config.model, config.seed)
    objective = build_objective(config, number, clips, lambda: lambda *inputs: base_forward(base, *inputs), device)
    model = starting_model(config, None).train()
    make_trainable(model, stage, randomness.weights_seed)
    groups = parameter_groups(model, stage)
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, betas=config.train.betas)
    batches = Batches(config, number, clips, objective, randomness, rank=0, world=1)
    size, rows = config.train.batch, []
    for step in range(stage.steps):
        losses = []
        for position, row in enumerate(batches.order.batch(step)):
            draws = batches.draws(step, position)
            torch.manual_seed(draws.layer_seed)
            loss = objective.loss(model, objective.example(clips[row], draws))["total"].squeeze()
            (loss / size).backward()
            losses.append(loss.item())
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(stage, step)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        rows.append({"loss": sum(losses) / size, "gradient_norm": norm.item()})
    return rows


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3", "lora_zero3", "uneven", "pose_simulation", "bf16"])
def test_zero_gives_the_losses_and_gradients_of_plain_pytorch(two_workers, name):
    """In fp32 up to the order of sums, in bf16 up to its rounding (8 bits: 0.4 % of each number)."""
    number, overrides = RUNS[name]
    found = newest_progress(two_workers / name)["history"]
    expected = plain_history(two_workers, number, overrides)
    assert len(found) == len(expected) == 3 and all(row["applied"] for row in found)
    # Two samples at once share one draw of FAAU's dropout, one after the other have one each.
    loss, norm = {"bf16": (5e-3, 1e-2), "uneven": (1e-3, 2e-3)}.get(name, (1e-5, 1e-4))
    for ours, plain in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(plain["loss"], rel=loss)
        assert ours["gradient_norm"] == pytest.approx(plain["gradient_norm"], rel=norm)


def test_a_dropped_term_would_be_seen(two_workers):
    """Even under the wider bounds of bf16: the gradient differs by 3 %."""
    number, overrides = RUNS["zero3"]
    found = newest_progress(two_workers / "zero3")["history"][-1]
    wrong = plain_history(two_workers, number, overrides, dropped_term=True)[-1]
    assert found["gradient_norm"] != pytest.approx(wrong["gradient_norm"], rel=1e-2)


def test_other_numbers_of_workers_go_on_with_the_same_samples_and_losses(two_workers):
    """Two workers, then one, then two under ZeRO-3: with nothing in common but the checkpoints."""
    for world, stop_at, name in ((2, 5, "elastic"), (1, 11, "elastic"), (2, None, "elastic_zero3")):
        train(two_workers, world, [name], stop_at)
        (two_workers / "elastic" / signals.STOP).unlink(missing_ok=True)
    undisturbed, elastic = (newest_progress(two_workers / name) for name in ("undisturbed", "elastic"))
    assert [row["clips"] for row in elastic["history"]] == [row["clips"] for row in undisturbed["history"]]
    for ours, expected in zip(elastic["history"], undisturbed["history"], strict=True):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert ours["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-3)


def test_a_killed_worker_changes_nothing(two_workers, tmp_path, capsys):
    """SIGKILL under Ray Train: another worker takes its place and ends in bitwise the same.

    Of one worker, for the time that starting takes; tests/campaigns/training_kills.py has two, and SIGTERM.
    """
    import torch
    from safetensors.torch import load_file

    from infra.ray_session import session
    from model.checkpoint import load_model
    from training.checkpoint import read_trained
    from training.stages import TRAINED, train_stage

    train(two_workers, 1, ["alone"])
    workspace, config = Workspace(tmp_path / "work"), tiny_config("train.workers=1", *LONG)
    shutil.copytree(Workspace(two_workers).encoded, workspace.encoded)
    killed = []
    with session(config.resources, workspace):
        killer = threading.Thread(target=kill_a_worker, args=(workspace.checkpoints(1), killed))
        killer.start()
        commit = train_stage(config, workspace, None, 1)
        killer.join()
    assert killed == [signal.SIGKILL] and commits.verify(commit).meta["stage"] == 1
    assert not workspace.checkpoints(1).exists()
    assert capsys.readouterr().out.count("Stage 1 continues from its checkpoint of step") == 1

    undisturbed = commits.read(sorted((two_workers / "alone").glob("step-*"))[-1])
    validation = newest_progress(two_workers / "alone")["validation"]
    assert commit.meta["validation"]["end"]["loss"] == validation[-1]["loss"] < validation[0]["loss"]
    expected, found = read_trained(undisturbed), load_file(commit.path / TRAINED)
    assert found.keys() == expected.keys() and len(found) > 42
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    merged = load_model(commit.path / "model").state_dict()
    assert torch.equal(merged["patch_embedding_fuse.weight"], expected["patch_embedding_fuse.weight"])
    assert not any("lora" in name for name in merged)


def kill_a_worker(folder: Path, killed: list[int]) -> None:
    """Once there is a checkpoint."""
    deadline, looked, workers = time.monotonic() + 500, 0.0, []
    while time.monotonic() < deadline and not any(folder.glob("step-*/COMMIT.json")):
        if time.monotonic() > looked + 0.5:  # looking for them takes a core that they need
            workers, looked = [p for p in psutil.Process().children(recursive=True) if is_a_worker(p)], time.monotonic()
        time.sleep(0.01)
    os.kill(workers[-1].pid, signal.SIGKILL)
    killed.append(signal.SIGKILL)


def is_a_worker(process: psutil.Process) -> bool:
    try:
        return "RayTrainWorker" in "".join(process.cmdline())
    except psutil.Error:  # it has ended
        return False
