"""What a queue may use of this machine, and what of it an entry gets."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UsageError
from training.queue.entry import Entry


@dataclass(frozen=True)
class Machine:
    """``memory_gb`` in GiB; ``gpus`` are devices as CUDA_VISIBLE_DEVICES names them."""

    cpus: int
    memory_gb: float
    gpus: tuple[str, ...]
    hidden: bool = False
    """Whether there are GPUs that are not among ``gpus``."""

    def lacks(self, entry: Entry) -> str | None:
        """Why the entry would not fit if nothing else ran."""
        needed = ((entry.cpus, self.cpus, "CPUs"), (entry.memory_gb, self.memory_gb, "GiB of memory"))
        for asked, there, what in (*needed, (self._gpus_of(entry), len(self.gpus), "GPUs")):
            if asked > there:
                return f"it needs {asked:g} {what}, this queue has {there:.4g}"
        return None

    def fits(self, entry: Entry, running: Sequence[Entry]) -> bool:
        """Whether the entry fits beside those that run."""
        return (
            entry.cpus + sum(other.cpus for other in running) <= self.cpus
            and entry.memory_gb + sum(other.memory_gb for other in running) <= self.memory_gb
            and self._gpus_of(entry) <= len(self._free(running))
        )

    def devices(self, entry: Entry, running: Sequence[Entry]) -> list[str]:
        """GPUs for the entry, none of which another has."""
        return self._free(running)[: self._gpus_of(entry)]

    def environment(self, devices: list[str]) -> dict[str, str]:
        """Shows an entry its GPUs and no others."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if self.gpus or self.hidden else {}

    def _free(self, running: Sequence[Entry]) -> list[str]:
        taken = {device for other in running for device in other.gpus}
        return [device for device in self.gpus if device not in taken]

    def _gpus_of(self, entry: Entry) -> int:
        return entry.workers if self.gpus else 0


def machine(cpus: int | None, memory_gb: float | None, gpus: int | None) -> Machine:
    """This machine, or so much of it. Raises UsageError for more GPUs than it has."""
    import psutil

    there = _visible_gpus()
    if gpus is not None and gpus > len(there):
        raise UsageError(f"--gpus {gpus}: this machine has {len(there)}.")
    given = there if gpus is None else there[:gpus]
    memory = psutil.virtual_memory().total / 2**30 if memory_gb is None else memory_gb
    return Machine(cpus or len(os.sched_getaffinity(0)), memory, tuple(given), hidden=len(given) < len(there))


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
