"""What a training step costs beside the computation: `python tests/benchmarks/training_overhead.py [--rounds N]`.

A stage is trained by one worker on encoded noise as `train` does it: Ray Train, DeepSpeed, clips read and noised ahead,
checkpoints, every step logged to MLflow. Beside it runs the bare loop: the same model, engine, clips and draws in a
process without Ray, its examples made beforehand and nothing logged; that its losses are the same is checked. The two
take turns, so that both meet the machine as it is, and a round's overhead is the ratio of their median steps. A step of
the stage is the time from one step's metrics to those of the next, so that nothing is left out.

Exits 1 where the median overhead is above 1.15, where a step waits more than 5 % of its time for its clips, or where
the losses differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from encoded_noise import tiny_config, write_encoded
from rich.console import Console
from rich.table import Table

from infra.workspace import Workspace, claim

OVERHEAD, WAIT, SAME = 1.15, 0.05, 1e-4
SIZE, CLIPS, WARM = (256, 192), 12, 3
"""Pixels (height, width); clips; steps at the start of a run that are not counted."""


def settings(folder: Path, steps: int):
    return tiny_config(
        f"work={folder}",
        f"clip.area={SIZE[0] * SIZE[1]}",
        f"train.stages.0.steps={steps}",
        "train.checkpoint_every=20",
        "train.workers=1",
        "train.batch=4",
        "train.validation_clips=1",
    )


def staged(folder: Path, steps: int) -> dict[str, list[float]]:
    """Seconds, shares of waiting and losses of the steps of a real stage, from what MLflow was told."""
    from mlflow import MlflowClient

    from infra.ray_session import session
    from infra.tracking import Tracking
    from training.stages import train_stage

    with claim(settings(folder, steps)) as workspace:
        write_encoded(workspace.encoded, CLIPS, [SIZE])
        config = settings(folder, steps)
        tracking = Tracking(config, workspace)
        with tracking.chain() as chain, session(config.resources, workspace), tracking.step("stage1", chain) as run:
            train_stage(config, workspace, run, 1)
    client = MlflowClient(tracking.uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment).experiment_id
    [run] = client.search_runs([experiment], "attributes.run_name = 'stage1'")

    def told(name: str):
        return sorted(client.get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)

    times = [metric.timestamp / 1000 for metric in told("loss")]
    return {
        "seconds": [after - before for before, after in pairwise(times)],
        "wait": [metric.value for metric in told("data_wait_share")],
        "loss": [metric.value for metric in told("loss")],
    }


def bare(folder: Path, steps: int) -> dict[str, list[float]]:
    """Seconds and losses of the loop that there is no way around."""
    import torch
    import torch.distributed as dist

    from infra import commits
    from model.checkpoint import PRECISION
    from training import engine as deepspeed_engine
    from training import prebuild
    from training.adapters import make_trainable
    from training.batches import Batches
    from training.clips.randomness import Randomness
    from training.clips.raw import open_clips
    from training.objectives import build_objective
    from training.trainer import starting_model

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), 1), rank=0, world_size=1)
    prebuild.load(prebuild.build())
    deepspeed_engine.start()
    config, device = settings(folder, steps), torch.device("cpu")
    stage, randomness = config.train.stages[0], Randomness(config.seed, 1)
    clips, _ = open_clips(commits.read(Workspace(folder).encoded), config)
    model = starting_model(config, None, PRECISION[config.train.precision])
    make_trainable(model, stage, randomness.weights_seed)
    objective = build_objective(config, 1, clips, lambda: None, device)
    engine = deepspeed_engine.student_engine(model, config, 1, device)
    batches = Batches(config, 1, clips, objective, randomness, 0, 1)
    shares = [batches.share(step) for step in range(steps)]
    batches.close()

    seconds, losses = [], []
    for step, share in enumerate(shares):
        started, loss = time.perf_counter(), 0.0
        deepspeed_engine.set_learning_rate(engine, stage, step)
        for micro in share.micro_batches:
            torch.manual_seed(micro.layer_seed)
            total = objective.loss(engine, micro.example)["total"].mean()
            engine.backward(total)
            engine.step()
            loss += total.item() / len(share.micro_batches)
        seconds.append(time.perf_counter() - started)
        losses.append(loss)
    return {"seconds": seconds, "loss": losses}


def measured(kind: str, folder: Path, steps: int) -> dict[str, list[float]]:
    """One of the two above, in a process of its own."""
    out = folder.parent / f"{kind}.json"
    command = [sys.executable, __file__, "--only", kind, "--folder", str(folder), "--steps", str(steps)]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(out.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", choices=("staged", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        result = {"staged": staged, "bare": bare}[options.only](options.folder, options.steps)
        options.out.write_text(json.dumps(result))
        return 0

    table = Table(title="A training step, one worker", title_justify="left")
    for column in ("round", "bare loop", "stage", "overhead", "waits for clips", "losses differ"):
        table.add_column(column, justify="right")
    overheads, waits, differences = [], [], []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
            folder = Path(scratch) / "work"
            stage = measured("staged", folder, options.steps)
            loop = measured("bare", folder, options.steps)
        ours, least = (statistics.median(each["seconds"][WARM:]) for each in (stage, loop))
        waits.append(statistics.mean(stage["wait"][WARM:]))
        overheads.append(ours / least)
        pairs = zip(stage["loss"], loop["loss"], strict=True)
        differences.append(max(abs(one - other) / other for one, other in pairs))
        figures = [f"{least:.3f} s", f"{ours:.3f} s", f"{overheads[-1]:.3f}", f"{waits[-1]:.2%}"]
        figures.append(f"{differences[-1]:.1e}")
        table.add_row(str(number + 1), *figures)
        Console(stderr=True).print(f"round {number + 1}: {', '.join(figures)}")
    overhead, wait, difference = statistics.median(overheads), statistics.median(waits), max(differences)
    Console().print(table)
    print(f"overhead {overhead:.3f} (bound {OVERHEAD}), waits {wait:.2%} (bound {WAIT:.0%}), losses {difference:.1e}")
    return int(overhead > OVERHEAD or wait > WAIT or difference > SAME)


if __name__ == "__main__":
    sys.exit(main())
