"""Out of memory, told in words: what was needed, what there is, and which settings would fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch

from infra import schema
from infra.errors import SteadyDancerError
from model.memory import HEADROOM, Estimate, estimate
from model.resolution import latent_shape, output_size

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
Change = tuple[str, str | int | bool]
_REMEDIES: list[Change] = [  # the least harm first; the last two change numbers
    ("animate.passes", "single"),
    ("animate.offload", "parts"),
    ("animate.offload", "blocks"),
    ("encode.codec_tiling", True),
    ("animate.precision", "bf16"),
]


class OutOfMemory(SteadyDancerError):
    """The device does not hold what the settings ask for."""


class Job(NamedTuple):
    """All that the memory of an animation depends on."""

    config: Mapping
    """arguments of the transformer"""
    settings: schema.Animate
    encode: schema.Encode
    reference_size: tuple[int, int]
    """(height, width) of the reference picture"""
    frames: int
    window: int
    """frames that the model sees at once"""

    def estimate(self) -> Estimate:
        size = output_size(self.settings.area, *self.reference_size)
        frames = min(self.frames, self.window) if self.settings.windows == "chained" else self.frames
        slots, _, _ = latent_shape(min(self.window, self.frames), *size)
        return estimate(self.config, latent_shape(frames, *size), self.settings, self.encode, slots)

    def fits(self, room: int) -> bool:
        return HEADROOM * self.estimate().total <= room

    def changed(self, *changes: Change) -> "Job":
        """With other values of ``animate.KEY`` and ``encode.KEY``; the last one of a key counts."""
        said = dict(changes)
        settings, encode = (
            {key.split(".")[1]: value for key, value in said.items() if key.startswith(section)}
            for section in ("animate.", "encode.")
        )
        return self._replace(
            settings=self.settings.model_copy(update=settings), encode=self.encode.model_copy(update=encode)
        )


@contextmanager
def explained(job: Job, device: torch.device | str) -> Iterator[None]:
    """Turns an allocation that fails inside into OutOfMemory.

    On the CPU offloading saves nothing: everything lies in host memory anyhow.
    """
    device = torch.device(device)
    if device.type == "cpu":
        job = job.changed(("animate.offload", "none"))
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(s in str(error) for s in _SIGNS):
            raise
        total, room = _memory(device)
        raise OutOfMemory(f"Out of memory on {device}. {_needed(job, total, room)}", remedies(job, room, device)) from (
            error
        )


def doubts(job: Job, device: torch.device) -> str | None:
    """Says so where ``job`` will hardly fit a GPU on which nothing lies yet."""
    total, room = _memory(device)
    if device.type == "cpu" or job.fits(room):
        return None
    return f"This may not fit. {_needed(job, total, room)} {remedies(job, room, device)}"


def remedies(job: Job, room: int, device: torch.device) -> str:
    """Which settings fit ``room`` bytes: single ones, or else as many together as it takes; the largest video size."""
    useless = ["animate.offload"] if device.type == "cpu" or job.settings.offload == "blocks" else []
    usable = [change for change in _REMEDIES if job.changed(change) != job and change[0] not in useless]
    ways: dict[str, list[Change]] = {}
    for change in usable:
        alone = job.changed(change)
        if alone.fits(room) and alone.estimate().total < job.estimate().total:
            ways.setdefault(change[0], [change])
    if not ways and job.changed(*usable).fits(room):
        ways["together"] = _fewest(job, usable, room)
    sizes = [[change] for change in _sizes(job, room)]
    if not ways and not sizes:
        sizes = [[change, *dict(usable).items()] for change in _sizes(job.changed(*usable), room)]
    told = [" ".join(f"{key}={str(value).lower()}" for key, value in way) for way in [*ways.values(), *sizes]]
    if not told:
        return "No setting makes it fit: use a device with more memory, or a smaller model."
    return f"By estimate any of these fits: {'; '.join(told)}."


def _fewest(job: Job, changes: list[Change], room: int) -> list[Change]:
    """Those without which the rest does not fit, the most harmful spared first."""
    for change in reversed(changes):
        rest = [one for one in changes if one != change]
        if job.changed(*rest).fits(room):
            changes = rest
    return list(dict(changes).items())


def _sizes(job: Job, room: int) -> list[Change]:
    """The largest area and the most frames that fit, if there are any."""
    changes: list[Change] = []
    for parts in range(31, 0, -1):
        area = ("animate.area", job.settings.area * parts // 32)
        try:
            fits = job.changed(area).fits(room)
        except SteadyDancerError:  # no room left for a picture of this aspect
            break
        if fits:
            changes.append(area)
            break
    for frames in range(job.frames - 4, 4, -4):
        if job._replace(frames=frames).fits(room):
            changes.append(("animate.frames", frames))
            break
    return changes


def _needed(job: Job, total: int, room: int) -> str:
    need = job.estimate()
    height, width = output_size(job.settings.area, *job.reference_size)
    parts = ", ".join(f"{name} {_gb(size)}" for name, size in sorted(need.parts.items(), key=lambda part: -part[1]))
    return (
        f"{job.frames} frames of {width}x{height} need about {_gb(HEADROOM * need.total)} while {need.moment} "
        f"({parts}); the device has {_gb(total)}, of which {_gb(room)} can be had."
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes in all, and those that this process has or could have."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free + torch.cuda.memory_reserved(device)
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available + psutil.Process().memory_info().rss
