"""Where two models differ: by stratum of the pairs, and along one that is a number."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.pairs import Pair
from evaluation.statistics.clusters import CONFIDENCE, quantile
from evaluation.statistics.paired import PairedDifference, paired_difference
from infra.errors import UsageError


@dataclass(frozen=True)
class Slope:
    """Change of the difference per unit of the stratum; None where it cannot be said."""

    n: int
    n_clusters: int
    slope: float | None
    low: float | None
    high: float | None


def by_stratum(
    candidate: Mapping[str, float], baseline: Mapping[str, float], pairs: Mapping[str, Pair], stratum: str
) -> dict[str, PairedDifference]:
    """One difference per value of the stratum, sorted; pairs without it are left out. The p are not corrected.

    Raises UsageError if no pair has the stratum, or it is a number.
    """
    of_pair = _values(pairs, stratum)
    if not all(isinstance(value, str) for value in of_pair.values()):
        raise UsageError(f"Stratum {stratum!r} is a number, so it has no groups.", "Ask for the slope along it.")
    common = candidate.keys() & baseline.keys() & of_pair.keys()
    return {
        value: paired_difference({pair: candidate[pair] for pair in common if of_pair[pair] == value}, baseline, pairs)
        for value in sorted({of_pair[pair] for pair in common})
    }


def slope(
    candidate: Mapping[str, float], baseline: Mapping[str, float], pairs: Mapping[str, Pair], stratum: str
) -> Slope:
    """The least-squares slope of candidate minus baseline against a numeric stratum, such as ``start_gap_deg``.

    Every driving video counts the same. The 95 % interval is ± t(0.975, G - 1) · the jackknife's standard error, which
    leaves out one driver at a time; None below three drivers, or if one driver alone has all the spread. Raises
    UsageError if no pair has the stratum or a value is no number.
    """
    of_pair = _values(pairs, stratum)
    ids = sorted(candidate.keys() & baseline.keys() & of_pair.keys())
    if any(isinstance(value, str) for value in of_pair.values()):
        raise UsageError(f"Stratum {stratum!r} is not a number, so nothing has a slope along it.", "Ask by its value.")
    gap_P = np.array([of_pair[pair] for pair in ids], np.float64)
    difference_P = np.array([candidate[pair] - baseline[pair] for pair in ids])
    drivers, driver_P = np.unique([pairs[pair].cluster for pair in ids], return_inverse=True)
    count = len(drivers)
    found = _least_squares(gap_P, difference_P, driver_P)
    without = [_least_squares(*(each[driver_P != g] for each in (gap_P, difference_P, driver_P))) for g in range(count)]
    if found is None or count < 3 or None in without:
        return Slope(len(ids), count, found, None, None)
    error = np.std(without) * np.sqrt(count - 1)
    half = quantile((1 + CONFIDENCE) / 2, count - 1) * error
    return Slope(len(ids), count, found, float(found - half), float(found + half))


def _values(pairs: Mapping[str, Pair], stratum: str) -> dict[str, str | float]:
    found = {pair.id: pair.strata[stratum] for pair in pairs.values() if stratum in pair.strata}
    if not found:
        known = sorted({name for pair in pairs.values() for name in pair.strata})
        raise UsageError(f"No pair has a stratum {stratum!r}.", f"There are: {', '.join(known) or 'none'}.")
    return found


def _least_squares(gap_P: np.ndarray, difference_P: np.ndarray, driver_P: np.ndarray) -> float | None:
    if len(gap_P) == 0 or np.ptp(gap_P) == 0:
        return None
    weight_P = 1 / np.bincount(driver_P)[driver_P]
    centred_P = gap_P - np.average(gap_P, weights=weight_P)
    return float(np.sum(weight_P * centred_P * difference_P) / np.sum(weight_P * centred_P**2))
