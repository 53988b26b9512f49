"""How often 95 % intervals hold the truth when pairs share driving videos, in simulation.

    python tests/campaigns/interval_coverage.py [--seeds 0 1 2 3 4] [--repetitions 4000] [--out FILE]

Twelve driving videos of four pairs each, normal scores, correlation 0.5 between pairs of one driver, truth 0. Three
intervals: the percentile bootstrap over pairs, which takes them as independent, the percentile bootstrap over drivers,
and the t-interval over drivers that the evaluation reports.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.statistics.clusters import t_interval

CLUSTERS, PAIRS, CORRELATION, DRAWS = 12, 4, 0.5, 1000
BOUNDS = (0.025, 0.975)


def coverage(seed: int, repetitions: int) -> dict[str, float]:
    """Share of the repetitions whose interval holds 0, by the kind of interval."""
    random = np.random.default_rng(seed)
    of_driver = np.sqrt(CORRELATION) * random.standard_normal((repetitions, CLUSTERS, 1))
    scores_RGP = of_driver + np.sqrt(1 - CORRELATION) * random.standard_normal((repetitions, CLUSTERS, PAIRS))
    means_RG = scores_RGP.mean(-1)
    intervals = {
        "bootstrap over pairs": bootstrap(scores_RGP.reshape(repetitions, -1), random),
        "bootstrap over drivers": bootstrap(means_RG, random),
        "t over drivers": t_interval(means_RG),
    }
    return {name: float(np.mean((low <= 0) & (high >= 0))) for name, (low, high) in intervals.items()}


def bootstrap(values_RN: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bounds of each row's mean. All rows of a seed share the draws, which are good for any of them."""
    count = values_RN.shape[1]
    weights_BN = random.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    low, high = np.quantile(values_RN @ weights_BN.T, BOUNDS, axis=1)
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {seed: coverage(seed, arguments.repetitions) for seed in arguments.seeds}

    table = Table(title=f"Coverage of 95 % intervals, {arguments.repetitions} repetitions per seed")
    for name in ("interval", *(f"seed {seed}" for seed in found), "mean"):
        table.add_column(name)
    means = {}
    for kind in next(iter(found.values())):
        of_seeds = [of_kind[kind] for of_kind in found.values()]
        means[kind] = float(np.mean(of_seeds))
        table.add_row(kind, *(f"{share:.2%}" for share in (*of_seeds, means[kind])))
    Console().print(table)
    if arguments.out:
        design = {"clusters": CLUSTERS, "pairs": PAIRS, "correlation": CORRELATION, "draws": DRAWS}
        result = {"design": design | {"repetitions": arguments.repetitions}, "coverage": found, "mean": means}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
