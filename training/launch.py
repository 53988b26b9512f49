"""Ray Train: starts the workers of a stage, restarts them when one dies, and shows the driver where they are."""

import json
import os
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.errors import SteadyDancerError
from training.job import Job

STOP_SECONDS = 120.0
"""How long an interrupted run may take to write its last checkpoint."""


def run_workers(job: Job, console: Console) -> None:
    """Trains until the stage's last step is checkpointed in ``job.folder``.

    A worker that dies takes the group down with it; Ray starts another (``train.max_failures`` times), which continues
    from the newest valid checkpoint. Ctrl-C lets the workers write a checkpoint first, a second one does not.
    Raises what the workers refused, or SteadyDancerError when they died too often.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    stop, live = job.folder / "stop", job.folder / "live.json"
    stop.unlink(missing_ok=True)
    live.unlink(missing_ok=True)
    trainer = _trainer(job)
    outcome: dict = {}
    fitting = threading.Thread(target=_fit, args=(trainer, outcome), daemon=True)
    fitting.start()
    try:
        _show(job, live, fitting, console)
    except KeyboardInterrupt:
        console.print("Interrupted: the workers write a checkpoint (Ctrl-C again: at once).")
        stop.touch()
        fitting.join(STOP_SECONDS)
        raise
    finally:
        stop.unlink(missing_ok=True)
    if "error" in outcome:
        raise outcome["error"]
    returned = outcome["result"].return_value or {}
    if "error" in returned:
        raise returned["error"]


def _trainer(job: Job):
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from training.process_group import NodeAddressTorchConfig

    config = job.config.train
    cluster = ray.cluster_resources()
    gpus = int(cluster.get("GPU", 0))
    if 0 < gpus < config.workers:
        raise SteadyDancerError(
            f"train.workers={config.workers} needs as many GPUs, Ray has {gpus}.", f"Set train.workers={gpus}."
        )
    cpus = 1.0 if gpus else min(1.0, cluster["CPU"] / config.workers)
    names = ("OMP_NUM_THREADS", "TORCH_EXTENSIONS_DIR", "DS_ACCELERATOR", "MLFLOW_DISABLE_TELEMETRY")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    return TorchTrainer(
        work,
        train_loop_config=job,
        torch_config=NodeAddressTorchConfig(timeout_s=config.timeout_s),
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": int(cpus * 1000) / 1000, **({"GPU": 1} if gpus else {})},
        ),
        run_config=RunConfig(
            name="ray-train",
            storage_path=str(job.folder),
            failure_config=FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": environment},
        ),
    )


def _fit(trainer, outcome: dict) -> None:
    from ray.train import TrainingFailedError

    try:
        outcome["result"] = trainer.fit()
    except TrainingFailedError as error:
        outcome["error"] = SteadyDancerError(
            f"The training workers died more than train.max_failures times. Last: {_cause(error)}",
            "Run the same command again to continue from the newest checkpoint.",
        )
        outcome["error"].__cause__ = error
    except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, which raises it
        outcome["error"] = error


def _cause(error) -> str:
    failures = getattr(error, "worker_failures", {})
    texts = [f"worker {rank}: {str(failure).strip().splitlines()[-1]}" for rank, failure in failures.items()]
    return "; ".join(texts) or str(error).strip().splitlines()[-1]


def _show(job: Job, live: Path, fitting: threading.Thread, console: Console) -> None:
    steps = job.config.train.stages[job.number - 1].steps
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    said = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"stage {job.number}: starting {job.config.train.workers} workers", total=steps, loss="")
        while True:
            alive = fitting.is_alive()
            if live.exists():
                state = json.loads(live.read_text())
                said = said if said <= len(state["messages"]) else 0  # a restarted worker begins its list anew
                for message in state["messages"][said:]:
                    console.print(message)
                said = max(said, len(state["messages"]))
                bar.update(
                    task,
                    completed=state["step"],
                    description=f"stage {job.number}: training",
                    loss=f"loss {state['loss']:.4f}",
                )
            if not alive:
                return
            time.sleep(0.2)


def work(job: Job) -> dict:
    """The function that Ray Train runs in every worker. This file is light, since Ray's controller imports it too.

    A SteadyDancerError is met by all ranks together and is returned, not raised: a restart would meet it again.
    """
    from training import engine, prebuild
    from training.trainer import Trainer

    prebuild.load(job.compiled_op)
    engine.start()
    try:
        return {"finished": Trainer(job).run()}
    except SteadyDancerError as error:
        return {"error": error}
