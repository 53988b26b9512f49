"""Ray Train: starts the workers of a stage, restarts them when one dies, and shows the driver where they are."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.errors import SteadyDancerError
from training import signals
from training.job import Job

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def run_workers(job: Job, console: Console, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Trains until the stage's last step is checkpointed in ``job.folder``; calls ``meanwhile`` every now and then.

    A worker that dies takes the group down with it; Ray starts another (``train.max_failures`` times), which continues
    from the newest valid checkpoint. A worker that is told to go by SIGTERM has one written first. Ctrl-C, or SIGTERM
    to this process, lets the workers write a checkpoint and ends; a second one does not wait for it. Raises what the
    workers refused, or SteadyDancerError when they died too often.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    group, ended = 0, {"left": True}
    while ended.get("left"):  # which costs none of the failures: it was asked for, and nothing is lost
        group += 1
        signals.clear(job.folder)
        ended = _one_group(job, group, console, meanwhile)
    if "error" in ended:
        raise ended["error"]


def _one_group(job: Job, number: int, console: Console, meanwhile: Callable[[], None]) -> dict:
    """What the workers returned, whom Ray starts again when one dies."""
    trainer = _trainer(job, number)
    outcome: dict = {}
    fitting = threading.Thread(target=_fit, args=(trainer, outcome), daemon=True)
    with _sigterm_interrupts():
        fitting.start()
        try:
            _show(job, fitting, console, meanwhile)
        except KeyboardInterrupt:
            console.print("Interrupted: the workers write a checkpoint (Ctrl-C again: at once).")
            (job.folder / signals.STOP).touch()
            fitting.join(job.config.train.timeout_s)
            raise
        finally:
            (job.folder / signals.STOP).unlink(missing_ok=True)
    if error := signals.failed(job.folder):
        raise error
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"].return_value or {}


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM is taken for Ctrl-C inside the block, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _trainer(job: Job, group: int):
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
            name=f"ray-train-{group}",
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
    texts = [f"worker {rank}: {_last_line(failure)}" for rank, failure in failures.items()]
    cause = "; ".join(texts) or _last_line(error)
    if any(sign in f"{failures} {error}" for sign in ("OutOfMemory", "OOM")):
        cause += " The host's memory may not have sufficed: see `plan`."
    return cause


def _last_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _show(job: Job, fitting: threading.Thread, console: Console, meanwhile: Callable[[], None]) -> None:
    steps = job.config.train.stages[job.number - 1].steps
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    said, group = 0, None
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"stage {job.number}: starting {job.config.train.workers} workers", total=steps, loss="")
        while True:
            alive = fitting.is_alive()
            if (state := signals.shown(job.folder)) is not None:
                if state["began"] != group:  # whose list of messages is its own
                    said, group = 0, state["began"]
                for message in state["messages"][said:]:
                    console.print(message, soft_wrap=True, markup=False, highlight=False)
                said = len(state["messages"])
                bar.update(
                    task,
                    completed=state["step"],
                    description=f"stage {job.number}: training",
                    loss="" if state["loss"] is None else f"loss {state['loss']:.4f}",
                )
            meanwhile()
            if not alive:
                return
            time.sleep(0.2)


def work(job: Job) -> dict:
    """The function that Ray Train runs in every worker. This file is light, since Ray's controller imports it too.

    What a restart would meet again is not tried again: an error that all ranks met together is returned; one that a
    rank may have met alone, and memory that does not suffice, are left in the folder for the restarted group.
    """
    from training import engine, prebuild
    from training.trainer import Trainer

    if error := signals.failed(job.folder):
        return {"error": error}
    prebuild.load(job.compiled_op)
    engine.start()
    try:
        trainer = Trainer(job)
    except SteadyDancerError as error:
        signals.fail(job.folder, error)
        raise
    except (MemoryError, RuntimeError) as error:
        raise _classified(job, error, "while the model was set up") from error
    try:
        with signals.training():
            return {"finished": trainer.run()}
    except signals.Leaving:
        return {"left": True}
    except signals.Together as error:
        return {"error": error}
    except SteadyDancerError as error:
        signals.fail(job.folder, error)
        raise
    except (MemoryError, RuntimeError) as error:
        raise _classified(job, error, f"in step {trainer.progress.step + 1}") from error


def _classified(job: Job, error: Exception, when: str) -> Exception:
    """``error``, or what to do about it where it is one of memory: the same settings would meet it again."""
    if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
        return error
    told = SteadyDancerError(
        f"Out of memory {when} of stage {job.number}: {_last_line(error)}",
        "Set train.recompute=full, a higher train.zero or train.offload, or more train.workers: see `plan`. What was "
        "checkpointed is kept; the same command with other settings of these continues.",
    )
    signals.fail(job.folder, told)
    return told
