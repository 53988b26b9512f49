"""The command `plan`: what it is asked beside the config, and its answer."""

from collections.abc import Sequence
from pathlib import Path

from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config

ASKED = {
    "world": (int, "a whole number", "8"),
    "gpu": (str, "a name", "h100-80"),
    "price": (float, "a number", "2.5"),
    "mfu": (float, "a number", "0.3"),
}
"""Keys among the overrides that are not the config's: type, what it is called, example."""


def split_overrides(overrides: Sequence[str]) -> tuple[dict[str, int | float | str], list[str]]:
    """What concerns the plan alone, as arguments of :func:`plan_stages`, and the overrides of the config.

    Raises UsageError for what is no number, and for a key that is given twice.
    """
    asked, rest = {}, []
    for item in overrides:
        key, _, text = item.partition("=")
        if key not in ASKED:
            rest.append(item)
            continue
        if key in asked:
            raise UsageError(f"{item}: {key} is given twice.")
        kind, called, example = ASKED[key]
        try:
            asked[key] = kind(text)
        except ValueError:
            raise UsageError(f"{item}: {called} expected, such as {key}={example}.") from None
    return asked, rest


def plan_stages(
    config: Config,
    numbers: Sequence[int],
    *,
    world: int | None = None,
    gpu: str = "here",
    price: float | None = None,
    mfu: float | None = None,
) -> bool:
    """Prints the plan of the stages; whether all of them fit. ``world`` workers, by default train.workers."""
    from rich.console import Console

    from training.planning.check import faults
    from training.planning.hardware import named
    from training.planning.plan import MFU, make_plan
    from training.planning.table import show

    card, world = named(gpu), config.train.workers if world is None else world
    known = {"mfu": MFU if mfu is None else mfu, "price": price, "clips": _clips(config)}
    plans = [make_plan(config, number, world, card, **known) for number in numbers]
    show(plans, Console())
    return not any(fault.fatal for plan in plans for fault in faults(plan))


def _clips(config: Config) -> int | None:
    """Of the encoded dataset, where it is there already."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from infra.commits import find
    from infra.workspace import Workspace

    where = config.train.encoded or Workspace(Path(config.work).expanduser().absolute(), config.store).encoded
    try:
        if config.train.data == "raw" or (commit := find(where)) is None:
            return None
        with commit.open("manifest.parquet") as file:
            return pq.ParquetFile(file).metadata.num_rows
    except (SteadyDancerError, OSError, pa.ArrowException):
        return None  # a plan needs no dataset; `train` says what is wrong with it
