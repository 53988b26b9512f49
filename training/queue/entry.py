"""One run of a queue: what it runs, what it takes of the machine, and how far it is."""

import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from infra.schema import Config, Section

NAME = r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,99}"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


class Entry(Section):
    """One run. Times are in seconds since 1970, ``memory_gb`` in GiB."""

    name: Name
    number: int = Field(description="in order of adding")
    priority: int
    after: list[Name] = Field(description="entries that must be done first")
    command: list[str] = Field(min_length=1, description="of the steadydancer command, without --config")
    work: str = Field(description="the work folder; entries that share one never run together")
    cwd: str = Field(description="where relative paths of the config start")
    cpus: int = Field(ge=1)
    memory_gb: float = Field(ge=0)
    workers: int = Field(ge=0, description="GPUs that it takes where there are any")
    steps: list[int] = Field(description="of the training stages")
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    since: float
    error: str | None = None
    attempt: int = 0
    interruptions: int = Field(0, description="by a signal, and not the runner's, since it got further")
    furthest: tuple[int, int] = Field((0, 0), description="stage and step, when it was last interrupted")
    seconds: float = Field(0.0, description="of all attempts that ended")
    cancelling: bool = Field(False, description="running, and told to stop for good")
    pid: int | None = None
    started: float | None = Field(None, description="when that process did, which tells it from a later one")
    gpus: list[str] = Field([], description="devices of the running attempt")

    @property
    def alive(self) -> bool:
        """Whether the process of the last attempt is at work, whoever started it."""
        import psutil

        if self.pid is None or self.started is None:
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0  # clocks are set
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """SIGTERM to its process, which writes a checkpoint. Ray's processes, its children, are for it to end."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def held_back(self, others: Mapping[str, "Entry"]) -> str | None:
        """Why it cannot start as long as the others are as they are; None: it can, at once or later."""
        for name in self.after:
            other = others.get(name)
            if other is None or other.number >= self.number:
                return f"after {name}, which cannot be read"
            if other.state in ("failed", "cancelled"):
                return f"after {name}, which {'failed' if other.state == 'failed' else 'was cancelled'}"
            if other.state == "waiting" and other.held_back(others):
                return f"after {name}, which is held back"
        return None


def needs(config: Config) -> dict:
    """What a run takes of this machine. One that joins a cluster takes it there."""
    steps = [stage.steps for stage in config.train.stages]
    if config.resources.ray_address is not None:
        return {"cpus": 1, "memory_gb": 0.0, "workers": 0, "steps": steps}
    resources = config.resources
    return {
        "cpus": resources.cpus,
        "memory_gb": resources.memory_gb,
        "workers": config.train.workers,
        "steps": steps,
    }
