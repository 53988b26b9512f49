"""Holm's correction of the p of several metrics that one comparison looks at."""

from collections.abc import Mapping


def holm(p: Mapping[str, float | None]) -> dict[str, float | None]:
    """Each p, ascending, times the number of metrics not yet rejected before it; never falling, at most 1.

    The chance that any of them is below 0.05 by luck is at most 0.05 (Holm 1979). ``p`` is the list that was fixed
    beforehand: a metric whose p is None counts as one of it, or what fails to compute would sharpen the others.
    """
    corrected: dict[str, float | None] = dict.fromkeys(p)
    highest = 0.0
    tested = sorted((value, name) for name, value in p.items() if value is not None)
    for place, (value, name) in enumerate(tested):
        highest = max(highest, min(1.0, (len(p) - place) * value))
        corrected[name] = highest
    return corrected
