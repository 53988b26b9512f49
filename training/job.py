"""What goes from the driver to the worker processes. Imports nothing heavy: Ray's controller reads this file too."""

from dataclasses import dataclass
from pathlib import Path

from infra.schema import Config
from infra.tracking import StepRun


@dataclass(frozen=True)
class Job:
    """Everything a worker process has to know."""

    config: Config
    number: int
    """1, 2 or 3."""
    identity: dict
    """The part of the config that decides what comes out."""
    data: str
    """Path or address of the encoded dataset, or with ``train.data=raw`` of the dataset."""
    cache: Path
    """For its copy, where it lies on an object store."""
    parent: str | None
    """Commit of the stage before; none: the base model."""
    folder: Path
    """Holds the checkpoints and what worker and driver tell each other: see :mod:`training.signals`."""
    run: StepRun | None = None
    compiled_op: Path | None = None
