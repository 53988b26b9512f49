"""What Ray, the guard and the ledger cost: `python tests/benchmarks/curation_ray.py [--copies N] [--rounds N]`.

The scan of the same 1080p files, in turns: by `flow` on a local Ray of two cores, and by a plain loop of two processes
over the same stages. Wall time, each from the first file to the last; Ray's own start is left out, the start of its
workers and of the loop's processes is in. Bound: at most 1.2 times the loop's time. Exits 1 where it is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import curation_cost

from infra import config
from infra.ray_session import session
from infra.workspace import Workspace
from pipelines.work.stage import run
from pipelines.work.unit import Unit
from pipelines.work.units import flow

OF_LOOP = 1.2
STAGES = curation_cost.CHAIN[:-1]


def looped(row: dict) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return len(run(STAGES, {**row, "folder": Path(folder)}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=12, help="times that each of two films is scanned")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--corpus", type=Path, help="folder of videos; by default a sample is rendered")
    options = parser.parse_args()
    paths, _ = curation_cost.films(2, options.corpus)
    rows = []
    for number in range(options.copies):
        for path in paths:
            row = curation_cost.described(path, path.parent)
            del row["folder"]
            rows.append({**row, "source_id": f"{number:02d}{row['source_id'][2:]}"})
    ratios = []
    with tempfile.TemporaryDirectory() as name, session(config.load("demo").resources, Workspace(Path(name))):
        for index in range(options.rounds):
            began = time.monotonic()
            unit = Unit("scan", "source_id", STAGES, Path(name) / f"units{index}")
            found = sum(row.get("fault") in (None, "too_short") for row in flow([unit], rows))
            on_ray = time.monotonic() - began
            began = time.monotonic()
            with get_context("spawn").Pool(2) as pool:
                expected = sum(pool.imap_unordered(looped, rows))
            plain = time.monotonic() - began
            if found != expected:
                raise SystemExit(f"{found} rows on Ray, {expected} in the loop")
            ratios.append(on_ray / plain)
            print(f"round {index + 1}: Ray {on_ray:.1f} s, loop {plain:.1f} s, {len(rows)} files, {found} rows")
    ratio = statistics.median(ratios)
    print(f"Ray takes {ratio:.2f} times the loop (bound {OF_LOOP})")
    return int(ratio > OF_LOOP)


if __name__ == "__main__":
    sys.exit(main())
