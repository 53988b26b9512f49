"""Drift: what changed since the dataset before this one. Told as warnings, since data may change for good reasons."""

import math
from typing import TYPE_CHECKING

from pipelines.checks.rules import Rule, View
from pipelines.columns import SCORES

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_DISTANCE = 0.2
"""Between the distributions of a score, then and now: the two-sample Kolmogorov-Smirnov statistic."""
CRITICAL = 1.95
"""c of the statistic's critical value c * sqrt((n + m) / (n * m)) at the level 0.001: small sets differ by chance."""
LARGEST_SHARE_CHANGE = 0.1
"""Of the share of candidates that are kept, and at least as far as chance reaches."""


def drift_views(now: "pa.Table", before: "pa.Table") -> list[View]:
    """Scores and kept share against the dataset before; clips that vanished though their source is still there."""
    return [_spread(now, before), _vanished(now, before)]


def _spread(now: "pa.Table", before: "pa.Table") -> View:
    import great_expectations.expectations as gxe
    import numpy as np
    import pandas as pd
    from scipy.stats import ks_2samp

    lines = []
    for name in SCORES:
        if name not in before.column_names:
            continue
        new, old = (_numbers(table, name) for table in (now, before))
        if len(new) and len(old):
            distance = float(ks_2samp(new, old, method="asymp").statistic)
            chance = CRITICAL * math.sqrt((len(new) + len(old)) / (len(new) * len(old)))
            text = f"{name} (median {np.median(new):.3g}, was {np.median(old):.3g}; distance {distance:.2f})"
            lines.append((text, distance, max(LARGEST_DISTANCE, chance)))
    if now.num_rows and before.num_rows:
        new, old = (_kept_share(table) for table in (now, before))
        chance = 3.29 * math.sqrt(0.25 * (1 / now.num_rows + 1 / before.num_rows))  # two-sided 0.001 of a normal
        lines.append((f"kept share ({new:.1%}, was {old:.1%})", abs(new - old), max(LARGEST_SHARE_CHANGE, chance)))
    table = pd.DataFrame(lines, columns=["what", "distance", "bound"])
    below = gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="bound", column_B="distance", or_equal=True)
    return View("drift", table, [Rule("drift: spread as in the dataset before", below, "warning")], key="what")


def _vanished(now: "pa.Table", before: "pa.Table") -> View:
    table = before.select(["clip_id", "source_id", "start"]).to_pandas()
    table = table[table["start"].notna() & table["source_id"].isin(set(now["source_id"].to_pylist()))].copy()
    view = View("clips before", table, key="clip_id")
    there = table["clip_id"].isin(set(now["clip_id"].to_pylist()))
    view.holds("drift: clips of a source that is still there are still there", there, "warning")
    return view


def _numbers(table: "pa.Table", name: str):
    import numpy as np

    values = table[name].drop_null().to_numpy()
    return values[np.isfinite(values)]


def _kept_share(table: "pa.Table") -> float:
    return table["verdict"].to_pylist().count("kept") / table.num_rows
