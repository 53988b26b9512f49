"""Kernel distances: the unbiased squared maximum mean discrepancy, for as few videos as there are."""

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.evidence import NotComputable
from evaluation.metrics.sets.set_metric import Rows, SetMetric, of_driver

SIDES = (0, 0), (1, 1), (0, 1)
"""Real with real, generated with generated, real with generated."""
SIGNS = np.array([1, 1, -2])


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y / d + 1)³ for rows of (n, d) and (m, d), (n, m) float64."""
    return (np.asarray(x, np.float64) @ np.asarray(y, np.float64).T / x.shape[1] + 1) ** 3


def squared_mmd(videos: Sequence[Rows]) -> float:
    """Mean kernel within the real rows and within the generated ones, less twice the mean between them.

    Only rows of different drivers are set against each other, in all three means: rows of one video are like each
    other, and a generated video is like its driver, whatever the model. Raises NotComputable for a single driver.
    """
    drivers = by_driver(videos)
    if len(drivers) < 2:
        raise NotComputable("one driver only, whose rows cannot be set against those of another")
    sums, pairs = (each.sum(axis=(1, 2)) for each in _between_drivers(drivers))
    return float(SIGNS @ (sums / pairs))


def standard_error(videos: Sequence[Rows]) -> float | None:
    """Of :func:`squared_mmd`, by the jackknife that leaves out one driver, with all its videos, at a time.

    None for fewer than three drivers.
    """
    drivers = by_driver(videos)
    if len(drivers) < 3:
        return None
    sums, pairs = (
        each.sum(axis=(1, 2))[:, None] - each.sum(axis=1) - each.sum(axis=2) for each in _between_drivers(drivers)
    )
    left = SIGNS @ (sums / pairs)
    return float(np.sqrt((len(left) - 1) * np.mean((left - left.mean()) ** 2)))


def by_driver(videos: Sequence[Rows]) -> list[Rows]:
    """The rows of videos with one driver, which is known by its rows, in one."""
    groups: dict[bytes, list[Rows]] = {}
    for rows in videos:
        groups.setdefault(rows[0].tobytes(), []).append(rows)
    return [tuple(np.concatenate(side) for side in zip(*group, strict=True)) for group in groups.values()]


def _between_drivers(drivers: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """By SIDES and two drivers, (3, G, G): the kernel between their rows, summed, and over how many pairs of rows.

    0 for a driver and itself.
    """
    others = ~np.eye(len(drivers), dtype=bool)
    rows = [[driver[side] for driver in drivers] for side in (0, 1)]
    counts = [np.array([len(part) for part in parts]) for parts in rows]
    sums = np.stack([_sums(rows[a], rows[b]) for a, b in SIDES])
    return sums * others, np.stack([np.outer(counts[a], counts[b]) for a, b in SIDES]) * others


def _sums(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """(G, G): the kernel between the rows of any two drivers, summed."""
    together, starts = np.concatenate(second), np.cumsum([0, *map(len, second[:-1])])
    return np.stack([np.add.reduceat(kernel(rows, together).sum(axis=0), starts) for rows in first])


def _metric(name: str, preprocessing: str, backbone: str, what: str, source: str, facts: frozenset) -> SetMetric:
    return SetMetric(
        name=name,
        version=2,
        preprocessing=preprocessing,
        definition=f"Unbiased squared maximum mean discrepancy, kernel (x·y/d + 1)³, between {what} of the generated "
        "videos and of their drivers at the same moments; over all rows, not over drawn subsets, but only between rows "
        "of different drivers. Hence its expectation does not depend on the number of videos, nor on how alike the "
        "frames of a video are, and is 0 for sets of one distribution: values below 0 happen. Drivers are told apart "
        "by their rows; two parts of one recording count as two. The standard error leaves out one driver at a time: "
        "it takes drivers as independent, and does not have what the choice of references adds.",
        source=source,
        range=(-float("inf"), float("inf")),
        unit="",
        direction="lower",
        backbone=backbone,
        rows=of_driver(backbone),
        distance=squared_mmd,
        standard_error=standard_error,
        facts=facts,
    )


KID = _metric(
    "kid",
    "inception2015pool3-bicubic299-poly3",
    "inception_fid",
    "Inception features (2048) of every frame",
    "Binkowski et al. 2018, with all samples instead of 100 subsets of 1000, and without pairs of one driver",
    frozenset(),
)
KVD = _metric(
    "kvd",
    "i3d400-clips16-short224crop-poly3",
    "i3d_logits",
    "I3D logits (400) of clips of 16 frames",
    "the kernel video distance of Unterthiner et al. 2018, without pairs of one driver",
    frozenset({"fps", "size"}),
)
