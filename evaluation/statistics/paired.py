"""Two models on the pairs both have a value for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from evaluation.pairs import Pair
from evaluation.statistics.clusters import Estimate, cluster_means, estimate, minimum_detectable_effect
from evaluation.statistics.holm import holm
from evaluation.statistics.sign_flip import sign_flip_p
from evaluation.statistics.two_way import two_way_interval


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """Of candidate minus baseline: the cluster-t estimate, the two-way bootstrap's bounds, and the sign-flip p.

    ``mde``: the true difference that so many drivers, as unlike as these, would show with 80 % power. ``p_holm`` is
    None until :func:`corrected` has seen all metrics. What cannot be said is None.
    """

    two_way_low: float | None
    two_way_high: float | None
    p: float | None
    mde: float | None
    p_holm: float | None = None


def paired_difference(
    candidate: Mapping[str, float], baseline: Mapping[str, float], pairs: Mapping[str, Pair]
) -> PairedDifference:
    """From values by pair id; ``pairs`` has every pair that is in both."""
    differences = {pair: candidate[pair] - baseline[pair] for pair in candidate.keys() & baseline.keys()}
    means_G = cluster_means(differences, pairs)
    low, high = two_way_interval(differences, pairs) or (None, None)
    return PairedDifference(
        **asdict(estimate(differences, pairs)),
        two_way_low=low,
        two_way_high=high,
        p=sign_flip_p(means_G),
        mde=minimum_detectable_effect(means_G),
    )


def corrected(by_metric: Mapping[str, PairedDifference]) -> dict[str, PairedDifference]:
    """The same with ``p_holm``: of all metrics that one comparison of two models asked for."""
    p_holm = holm({metric: difference.p for metric, difference in by_metric.items()})
    return {metric: replace(difference, p_holm=p_holm[metric]) for metric, difference in by_metric.items()}
