"""Previews: validation videos of checkpoints, made while training goes on, by a Ray task outside of its group.

This file is the driver's and imports nothing heavy; :mod:`training.validation_video` makes the videos.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from rich.console import Console

from infra import commits
from infra.errors import SteadyDancerError
from infra.schema import Config
from training.job import Job

SMALL = ("tiny", "small")
"""Models of these sizes are sampled on a CPU where no GPU is to spare."""
PATTERN, STATE = "step-*", "trained-*.safetensors"
LAST_S = 600.0
"""How long the end of a stage may wait for its last preview."""
KILL_S, _POLL_S = 10.0, 0.1


class Previews:
    """The previews of one run of a stage, at most one of them in the making; inside of a Ray session.

    None disturbs training: what goes wrong is told on the console, and nothing is raised. As a context manager it
    waits at the end for the last one. Files are made in ``previews`` of the job's folder.
    """

    def __init__(self, job: Job, console: Console):
        self._job, self._console, self._folder = job, console, job.folder.absolute() / "previews"
        self._every = job.config.train.preview_every
        shutil.rmtree(self._folder, ignore_errors=True)
        self._newest = 0
        self._running: tuple[int, object] | None = None
        self._waiting: int | None = None
        self._ended: list[tuple[int, Path | Exception]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type | None, *_) -> None:
        self._tell(self.close(0.0 if failed else LAST_S))

    def look(self) -> None:
        """Takes up the newest checkpoint where it is the first since a multiple of ``train.preview_every``, and logs
        the files that were made as artifacts.
        """
        if self._every is None:
            return
        with suppress(OSError):  # of the folder: the workers, who write there, tell it
            numbers = (path.name.removeprefix("step-") for path in self._job.folder.glob(PATTERN))
            step = max((int(number) for number in numbers if number.isdecimal()), default=0)
            if step // self._every > self._newest // self._every:
                self._newest = step
                self.submit(self._job.folder / f"step-{step:06d}", step)
        self._tell(self.collect())

    def _tell(self, ended: list[tuple[int, Path | Exception]]) -> None:
        for step, made in ended:
            if isinstance(made, Path) and self._job.run is not None:
                try:
                    for path in sorted(made.iterdir()):
                        self._job.run.log_artifact(path, f"previews/{made.name}")
                except Exception as error:  # noqa: BLE001 - told
                    made = error
            if isinstance(made, Exception):
                why = getattr(made, "cause", made)  # Ray's error quotes a whole traceback
                self._console.print(f"No preview of step {step}. {why!s:.500}", soft_wrap=True, markup=False)

    def submit(self, state: Path, step: int) -> None:
        """Has videos made from the checkpoint in ``state``, which may be deleted from now on.

        While others are being made it waits, in the place of an older one that does.
        """
        if self._waiting is not None:
            self._forget(self._waiting)
        try:
            self._keep(state, step)
        except Exception as error:  # noqa: BLE001 - retention may have been faster; told by collect()
            self._end(step, error)
            return
        self._waiting = step
        self._start()

    def collect(self) -> list[tuple[int, Path | Exception]]:
        """What has ended since the last call: (step, folder of its files or why there are none)."""
        if self._running is not None:
            step, task = self._running
            if (outcome := _outcome(task)) is not None:
                self._running = None
                self._end(step, outcome)
                self._start()
        ended, self._ended = self._ended, []
        return ended

    def close(self, seconds: float) -> list[tuple[int, Path | Exception]]:
        """Waits ``seconds`` for what is in the making and gives up the rest; what has ended, as :meth:`collect`."""
        deadline, ended = time.monotonic() + seconds, self.collect()
        while self._running is not None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            ended += self.collect()
        if self._waiting is not None:
            self._end(self._waiting, TimeoutError("It was not begun before the end of training."))
        if self._running is not None:
            step, task = self._running
            _cancel(task)
            self._end(step, TimeoutError(f"It was not done {seconds:.0f} s after the end of training."))
        self._waiting = self._running = None
        return ended + self.collect()

    def _keep(self, state: Path, step: int) -> None:
        """Links to the trained weights, which take no room and outlive the checkpoint."""
        kept = self._state(step)
        kept.mkdir(parents=True, exist_ok=True)
        for name in commits.read_record(state).files:
            if Path(name).match(STATE):
                try:
                    os.link(state / name, kept / name)
                except OSError:  # a file system without links
                    shutil.copyfile(state / name, kept / name)

    def _start(self) -> None:
        if self._running is not None or self._waiting is None:
            return
        step, self._waiting = self._waiting, None
        try:
            self._running = step, self._task(step)
        except Exception as error:  # noqa: BLE001 - told by collect()
            self._end(step, error)

    def _task(self, step: int):
        import ray

        device = _spare_device(self._job.config)
        # A worker of its own, which yields to all others and asks Ray for no core: training has them all.
        task = ray.remote(num_cpus=0, num_gpus=int(device == "cuda"), max_retries=0, max_calls=1)(preview_task)
        return task.remote(self._job, self._state(step), step, self._folder / f"step-{step:06d}", device)

    def _end(self, step: int, outcome: Path | Exception) -> None:
        self._forget(step)
        self._ended.append((step, outcome))

    def _forget(self, step: int) -> None:
        shutil.rmtree(self._state(step), ignore_errors=True)

    def _state(self, step: int) -> Path:
        return self._folder / f".state-{step:06d}"


def _outcome(task) -> Path | Exception | None:
    """None: it is not done."""
    import ray

    try:
        return ray.get(task) if ray.wait([task], timeout=0)[0] else None
    except Exception as error:  # noqa: BLE001 - a preview that fails is told of, and no more
        return error


def _cancel(task) -> None:
    """Returns when its process is gone, which writes into a folder that may now be removed."""
    import ray

    with suppress(Exception):  # Ray may be what has ended
        ray.cancel(task, force=True)
        ray.wait([task], timeout=KILL_S)


def _spare_device(config: Config) -> str:
    """Where to sample. A GPU is to spare only if all workers of a restarted group would still find one."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    if gpus > config.train.workers and ray.available_resources().get("GPU", 0) >= 1:
        return "cuda"
    if config.model.size in SMALL:
        return "cpu"
    raise SteadyDancerError(
        f"Of {gpus:.0f} GPUs none is to spare beside {config.train.workers} workers.",
        "Add a GPU to the cluster, or leave train.preview_every out.",
    )


def preview_task(job: Job, state: Path, step: int, out: Path, device: str) -> Path:
    """The preview of one checkpoint, in a process of its own. Returns ``out``."""
    import torch

    from training.validation_video import write_preview

    if device == "cpu":
        os.nice(19)
        torch.set_num_threads(1)
    data = commits.fetch(job.data, job.cache)
    write_preview(job.config, job.number, job.parent, state, data, out, step=step, device=device)
    return out
