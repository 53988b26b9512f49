"""What a worker runs on: GPUs by name, and what this machine or the Ray cluster has.

Memory is what torch finds on a card, which is less than its name says. TFLOP/s are dense bf16 products with fp32 sums
by the vendors' data sheets, without sparsity.
"""

import difflib
import os
import sys
from typing import NamedTuple

from infra.errors import SteadyDancerError, UsageError

GIB = 2**30


class Gpu(NamedTuple):
    """What one worker has; of ``cpu`` what all workers of the machine share."""

    name: str
    memory: int
    """bytes"""
    tflops: float | None
    """bf16, dense; None: not known"""
    per_node: int = 8
    """how many share a host's memory"""
    offers: str | None = None
    """how its vendor, torch or Ray call it, where that is not ``name``'s first part"""

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"


_LISTED = (
    Gpu("l4-24", int(22.0 * GIB), 121.0, offers="L4"),
    Gpu("rtx3090-24", int(23.5 * GIB), 71.0, offers="RTX 3090"),
    Gpu("rtx4090-24", int(23.5 * GIB), 165.0, offers="RTX 4090"),
    Gpu("rtx5090-32", int(31.3 * GIB), 209.0, offers="RTX 5090"),
    Gpu("a100-40", int(39.4 * GIB), 312.0),
    Gpu("l40s-48", int(44.4 * GIB), 362.0),
    Gpu("a6000-48", int(47.4 * GIB), 155.0, offers="RTX A6000"),
    Gpu("a100-80", int(79.1 * GIB), 312.0),
    Gpu("a800-80", int(79.1 * GIB), 312.0),
    Gpu("h800-80", int(79.1 * GIB), 989.0),
    Gpu("h100-80", int(79.1 * GIB), 989.0),
    Gpu("h20-96", int(95.0 * GIB), 148.0),
    Gpu("h200-141", int(139.7 * GIB), 989.0),
    Gpu("b200-180", int(178.3 * GIB), 2250.0),
)
GPUS = {gpu.name: gpu for gpu in _LISTED}
"""By name, the smallest memory first."""
OTHERS = ("MIG", "LAPTOP", "TI", "D")
"""Words of a name that stand for another peak than that of the card they follow, or for a slice of it."""


def named(name: str) -> Gpu:
    """The GPU of a name such as ``h100-80``, this machine's processors for ``cpu``, or ``here``.

    Raises UsageError for an unknown name, naming the nearest.
    """
    if name == "cpu":
        return processors()
    if name == "here":
        return here()
    if name in GPUS:
        return GPUS[name]
    known = [*GPUS, "cpu", "here"]
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    meant = f"Did you mean {nearest[0]}? Known are" if nearest else "Known are"
    raise UsageError(f"gpu={name} is not known.", f"{meant} {', '.join(known)}.")


def here() -> Gpu:
    """What Ray's cluster has where this process has joined one, else this machine: its first GPU, or its processors.

    Raises SteadyDancerError for GPUs that can neither be looked at nor are known by their type.
    """
    cluster = _cluster()
    if cluster is None or not cluster.get("GPU"):
        # Ray knows of this machine's GPUs: where it counts none, none is used.
        return (_local() if cluster is None else None) or processors()
    types = sorted(key.partition(":")[2] for key in cluster if key.startswith("accelerator_type:"))
    found = [gpu for gpu in map(called, types) if gpu is not None]
    if found:  # the smallest decides
        return min(found, key=lambda gpu: gpu.memory)
    if (local := _local()) is not None:
        return local
    raise SteadyDancerError(
        f"Ray has GPUs of type {', '.join(types) or 'unknown'}, whose memory is not known here.",
        "Set train.plan=false to train without a plan.",
    )


def called(name: str, memory: int | None = None) -> Gpu | None:
    """The listed GPU that torch or Ray call ``name``, with ``memory`` (bytes) where it is known.

    None: not listed; a slice of one (MIG) is none.

    Of several with one name the smallest that has the memory; without ``memory`` the smallest.
    """
    words = name.upper().replace("-", " ").split()
    fitting = [gpu for gpu in _LISTED if _in_a_row(_offered(gpu), words)]
    if not fitting or any(word in OTHERS for word in words):
        return None
    if memory is None:
        return fitting[0]
    nearest = min(fitting, key=lambda gpu: abs(gpu.memory - memory))
    return nearest._replace(memory=memory)


def _offered(gpu: Gpu) -> list[str]:
    return (gpu.offers or gpu.name.partition("-")[0]).upper().split()


def _in_a_row(some: list[str], words: list[str]) -> bool:
    return any(words[start : start + len(some)] == some for start in range(len(words)))


def processors() -> Gpu:
    """This machine's processors: the memory that is free, or that its container may still take."""
    import psutil

    from infra.workspace import cgroup_memory

    free = int(min(psutil.virtual_memory().available, cgroup_memory()))
    return Gpu("cpu", free, None, per_node=max(len(os.sched_getaffinity(0)), 1))


def _cluster() -> dict[str, float] | None:
    """Ray's resources, where this process has joined it already."""
    ray = sys.modules.get("ray")
    return ray.cluster_resources() if ray is not None and ray.is_initialized() else None


def _local() -> Gpu | None:
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    listed = called(properties.name, properties.total_memory)
    return listed or Gpu(properties.name, properties.total_memory, None)
