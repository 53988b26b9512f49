"""Whether raters agree more than by chance."""

from collections import Counter
from collections.abc import Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float | None:
    """Krippendorff's alpha of nominal values; a unit has the values that its raters gave, in any order.

    1 - D_o / D_e with D_o the share of unequal pairs of values within units (each unit's pairs weighted by
    1 / (values - 1)) and D_e that among all values (Krippendorff, "Content Analysis", 2004). 1 is full agreement, 0
    what chance gives. Units of one value say nothing. None where no two can be compared or all values are equal.
    """
    counts = [Counter(values) for values in units if len(values) > 1]
    pooled = sum(counts, Counter())
    n = pooled.total()
    expected = _unequal(pooled) / (n * (n - 1)) if n else 0
    if not expected:
        return None
    observed = sum(_unequal(unit) / (unit.total() - 1) for unit in counts) / n
    return 1 - observed / expected


def _unequal(counts: Counter) -> int:
    """Ordered pairs of unequal values."""
    return counts.total() ** 2 - sum(count**2 for count in counts.values())
