"""Every set metric by its name."""

import difflib

from evaluation.metrics.sets.fid import FID
from evaluation.metrics.sets.fvd import FVD, FVD_SQUASH
from evaluation.metrics.sets.humanvid_fid import HUMANVID_FID
from evaluation.metrics.sets.kid import KID, KVD
from evaluation.metrics.sets.set_metric import SetMetric
from infra.errors import UsageError

SET_METRICS: dict[str, SetMetric] = {metric.name: metric for metric in (KID, FID, KVD, FVD, FVD_SQUASH, HUMANVID_FID)}


def select_sets(names: list[str]) -> list[SetMetric]:
    """The set metrics of these names, or "all", each once. Raises UsageError naming the nearest known one."""
    names = list(SET_METRICS) if names == ["all"] else names
    for name in names:
        if name not in SET_METRICS:
            near = difflib.get_close_matches(name, SET_METRICS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"evaluate.sets: there is no set metric {name!r}.{hint}", f"Known: {', '.join(SET_METRICS)}."
            )
    return [SET_METRICS[name] for name in dict.fromkeys(names)]
