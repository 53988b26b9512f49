"""Kernel distances: the unbiased squared maximum mean discrepancy, for as few samples as there are."""

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.sets.set_metric import Rows, SetMetric, of_driver


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y / d + 1)³ for rows of (n, d) and (m, d), (n, m) float64."""
    return (x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1) ** 3


def squared_mmd(real: np.ndarray, generated: np.ndarray) -> float:
    """Mean kernel within either set, no row with itself, less twice the mean kernel between them; all rows are used."""
    between = kernel(real, generated).mean()
    return _within(real) + _within(generated) - 2 * between


def _within(rows: np.ndarray) -> float:
    values, n = kernel(rows, rows), len(rows)
    return (values.sum() - np.trace(values)) / (n * (n - 1))


def standard_error(videos: Sequence[Rows]) -> float:
    """Of :func:`squared_mmd`, by the jackknife that leaves out one video, real and generated, at a time."""
    sums = [_sums([rows[a] for rows in videos], [rows[b] for rows in videos]) for a, b in ((0, 0), (1, 1), (0, 1))]
    counts = [np.array([len(rows[side]) for rows in videos], np.float64) for side in (0, 1)]
    for side in (0, 1):
        itself = [np.sum(np.square(rows[side].astype(np.float64)), axis=1) / rows[side].shape[1] for rows in videos]
        sums[side] -= np.diag([((own + 1) ** 3).sum() for own in itself])
    n, m = (count.sum() - count for count in counts)
    real, generated, between = (s.sum() - s.sum(axis=0) - s.sum(axis=1) + np.diag(s) for s in sums)
    left = real / (n * (n - 1)) + generated / (m * (m - 1)) - 2 * between / (n * m)
    return float(np.sqrt((len(left) - 1) * np.mean((left - left.mean()) ** 2)))


def _sums(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """(V, V): the kernel between any two videos, summed."""
    values = kernel(np.concatenate(first), np.concatenate(second))
    for axis, blocks in enumerate((first, second)):
        values = np.add.reduceat(values, np.cumsum([0, *map(len, blocks[:-1])]), axis=axis)
    return values


def _metric(name: str, preprocessing: str, backbone: str, what: str, source: str, facts: frozenset) -> SetMetric:
    return SetMetric(
        name=name,
        version=1,
        preprocessing=preprocessing,
        definition=f"Unbiased squared maximum mean discrepancy, kernel (x·y/d + 1)³, between {what} of the generated "
        "videos and of their drivers at the same moments; over all rows, not over drawn subsets. Its expectation does "
        "not depend on the number of videos, and is 0 for sets of one distribution: values below 0 happen. The "
        "standard error leaves out one video at a time.",
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
    "Binkowski et al. 2018, with all samples instead of 100 subsets of 1000",
    frozenset(),
)
KVD = _metric(
    "kvd",
    "i3d400-clips16-short224crop-poly3",
    "i3d_logits",
    "I3D logits (400) of clips of 16 frames",
    "the kernel video distance of Unterthiner et al. 2018",
    frozenset({"fps", "size"}),
)
