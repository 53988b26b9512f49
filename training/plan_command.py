"""The command `plan`: what it is asked beside the config, and its answer."""

from collections.abc import Sequence

from infra.errors import UsageError
from infra.schema import Config

ASKED = {"world": int, "gpu": str, "price": float, "mfu": float}
"""Keys among the overrides that are not the config's, and their types."""


def split_overrides(overrides: Sequence[str]) -> tuple[dict[str, int | float | str], list[str]]:
    """What concerns the plan alone, as arguments of :func:`plan_stages`, and the overrides of the config."""
    asked, rest = {}, []
    for item in overrides:
        key, _, text = item.partition("=")
        if key not in ASKED:
            rest.append(item)
            continue
        try:
            asked[key] = ASKED[key](text)
        except ValueError:
            raise UsageError(f"{item}: {ASKED[key].__name__} expected, such as {key}=8.") from None
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

    from training.hardware import named
    from training.plan import MFU, make_plan
    from training.plan_check import faults
    from training.plan_table import show

    card, world = named(gpu), config.train.workers if world is None else world
    plans = [make_plan(config, number, world, card, mfu=mfu or MFU, price=price) for number in numbers]
    show(plans, Console())
    return not any(fault.fatal for plan in plans for fault in faults(plan))
