"""The decision about one metric: is a candidate worse than a baseline by more than a margin?"""

from collections.abc import Iterable
from typing import Literal

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
Verdict = Literal["pass", "fail", "inconclusive"]


def judge(low: float | None, high: float | None, margin: float) -> Verdict:
    """Of the interval of candidate minus baseline, oriented so that positive is better.

    Fails if all of it is below -margin, passes if all of it is above, else says that the pairs do not tell; so does
    no interval at all. Passing is a one-sided test at 2.5 %.
    """
    if low is None or high is None:
        return INCONCLUSIVE
    return FAIL if high < -margin else PASS if low > -margin else INCONCLUSIVE


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Fails with any, passes with all. A pass of all needs no correction for their number (intersection-union test)."""
    found = set(verdicts)
    return FAIL if FAIL in found else PASS if found == {PASS} else INCONCLUSIVE
