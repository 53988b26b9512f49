"""Curation's engine at 1,000 to 100,000 stub units: what a unit costs, and whether it costs the same at every count.

    python tests/campaigns/scale.py [--most 100000]

Every row goes through a unit that makes two rows of it, a lone stage and a second unit, guarded and recorded like real
ones, on a local Ray of 2 CPUs with the demo's resources. Each count runs in a process of its own, twice: the first
makes all units, the second finds them done. Exit 1 if a bound is broken:

- total time by count: exponent <= 1.05 between the smallest and the largest;
- peak resident memory of the driver <= 1.5 GiB;
- finding all units of the largest count done <= 10 s of CPU time;
- peak resident memory of judging, settling, writing, checking and reporting a manifest of as many rows, 5 % of them
  kept: the same bound as the driver's;
- peak use of Ray's object store <= 64 MiB: what is under way, whatever the count. Frames would not fit: those of one
  window (81 at 640 x 360) are 53 MiB, and a stage here makes as many.
"""

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))

from infra import config
from pipelines.work.stage import Stage
from pipelines.work.units import Unit, flow

EXPONENT, DRIVER_GIB, RESUME_S, STORE_MIB = 1.05, 1.5, 10.0, 64.0
SCORES = 30


@dataclass(frozen=True)
class Scan(Stage):
    """Two rows with as many scores as a real one, and a window's frames that must stay where they are."""

    reads: ClassVar = ("source_id",)
    writes: ClassVar = ("clip_id", "fingerprint", *(f"score_{n}" for n in range(SCORES)))
    local: ClassVar = ("images",)
    memory: ClassVar = 256 * 2**20

    def __call__(self, row):
        import numpy as np

        frames = np.empty((81, 360, 640, 3), np.uint8)  # never touched, so it costs no time here
        scores = {f"score_{n}": round(n / 7, 6) for n in range(SCORES)}
        made = [{"clip_id": f"{row['source_id']}.{n}", "fingerprint": "0123456789abcdef" * 27} for n in range(2)]
        return [{**one, **scores, "images": frames} for one in made]


@dataclass(frozen=True)
class Judge(Stage):
    reads: ClassVar = ("score_1",)
    writes: ClassVar = ("tier",)

    def __call__(self, row):
        return {"tier": "train"}


@dataclass(frozen=True)
class Pose(Stage):
    """Scores of one clip, and a small file."""

    reads: ClassVar = ("clip_id", "folder")
    writes: ClassVar = tuple(f"pose_{n}" for n in range(SCORES))
    memory: ClassVar = 256 * 2**20

    def __call__(self, row):
        (row["folder"] / "pose.npz").write_bytes(b"pose")
        return {f"pose_{n}": round(n / 7, 6) for n in range(SCORES)}


def steps(units: Path) -> list:
    return [Unit("scan", "source_id", (Scan(),), units), Judge(), Unit("pose", "clip_id", (Pose(),), units)]


def rows(count: int):
    """Half as many sources as there are clips; a third of the units are scans."""
    for number in range(count // 3):
        yield {"source_id": f"{number:064d}", "source": f"folder/video {number}.mp4", "path": f"/data/{number}.mp4"}


class Store:
    """The object store's use, looked at ten times a second."""

    def __init__(self):
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        import ray

        total = ray.cluster_resources()["object_store_memory"]
        while not self._stop.wait(0.1):
            left = ray.available_resources().get("object_store_memory", 0.0)
            self.peak = max(self.peak, (total - left) / 2**20)

    def end(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.peak


def measure(units: Path, count: int, engine: bool) -> dict:
    """One pass over all rows, in this process."""

    def drained() -> tuple[int, float]:
        made, size = 0, 0
        for made, row in enumerate(flow(steps(units), rows(count)), 1):
            size += len(json.dumps(row)) if made <= 100 else 0
        return made, size / min(made, 100) * made

    store = 0.0
    if engine:
        from infra.ray_session import session
        from infra.workspace import Workspace

        with session(config.load("demo").resources, Workspace(units.parent)):
            import ray

            ray.cloudpickle.register_pickle_by_value(sys.modules["scale"])
            watch = Store()
            started = time.monotonic()
            made, size = drained()
            seconds = time.monotonic() - started
            store = watch.end()
    else:
        started = time.process_time()  # it is all this process does, on cached files: other load does not count
        made, size = drained()
        seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rows": made, "row_mib": size / 2**20, "seconds": seconds, "driver_gib": peak, "store_mib": store}


def assemble(folder: Path, count: int) -> dict:
    """What the driver does with ``count`` measured rows up to the commit, without the clips themselves."""
    from hashlib import sha256

    from manifests import GATES, world

    from pipelines import choosing, dataset
    from pipelines.checks import validation
    from pipelines.columns import COLUMNS
    from pipelines.curate import finished, slim
    from pipelines.report import page

    measured = [column.name for column in COLUMNS if column.role not in ("verdict", "output")]
    examples = [{name: row.get(name) for name in measured} for row in world().values() if row["reached"] == "pose"]
    started, judged = time.monotonic(), []
    for number in range(count):
        row = json.loads(json.dumps(examples[number % len(examples)]))
        row |= {"source_id": sha256(str(number).encode()).hexdigest(), "clip_id": f"{number:020x}", "copy": 0}
        row |= {"source": f"folder/video {number}.mp4", "path": f"/data/{number}.mp4", "cache": "/data/cache"}
        row |= {
            "fingerprint": sha256(str(number).encode()).hexdigest() * 5,
            "brightness": 5.0 if number % 20 else 100.0,
        }
        judged.append(finished(slim(row), GATES))
    kept = sum(row["verdict"] == "kept" for row in judged)
    judged = choosing.settle(judged, 10, 1)
    dataset.write_manifest(folder / dataset.MANIFEST, judged)

    import pyarrow.parquet as pq

    table = pq.read_table(folder / dataset.MANIFEST)
    checks = validation.validate(table, GATES, frames=5, fps=10.0)
    page.write(folder / "report.html", table, GATES, checks, lambda clip: None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": time.monotonic() - started, "gib": peak, "kept": kept}


def apart(what: str, folder: Path, *arguments) -> dict:
    """The function of that name in a process of its own."""
    call = f"scale.{what}(pathlib.Path({str(folder)!r}), *{arguments!r})"
    command = [sys.executable, "-c", f"import json, pathlib, scale; print(json.dumps({call}))"]
    done = subprocess.run(command, cwd=Path(__file__).parent, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=100_000)
    options = parser.parse_args()
    counts = [count for count in (1_000, 10_000, 100_000) if count < options.most] + [options.most]
    made, found = {}, {}
    for count in counts:
        folder = Path(tempfile.mkdtemp(prefix="scale-"))
        try:
            made[count] = apart("measure", folder / "units", count, True)
            found[count] = apart("measure", folder / "units", count, False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        one, again = made[count], found[count]
        print(
            f"{count:7d} units: {one['seconds']:7.1f} s, {1e3 * one['seconds'] / count:5.2f} ms a unit, driver "
            f"{one['driver_gib']:.2f} GiB, store {one['store_mib']:.1f} MiB of {one['row_mib']:.0f} MiB of rows; "
            f"all found done in {again['seconds']:.2f} s of CPU time, {again['driver_gib']:.2f} GiB",
            flush=True,
        )
    first, last = counts[0], counts[-1]
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        manifest = apart("assemble", folder, last)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"manifest of {last} rows, {manifest['kept']} kept: {manifest['seconds']:.0f} s, {manifest['gib']:.2f} GiB")
    figures = {
        f"exponent of time from {first} to {last} units": (
            math.log(made[last]["seconds"] / made[first]["seconds"]) / math.log(last / first),
            EXPONENT,
        ),
        "driver's peak memory, GiB": (max(one["driver_gib"] for one in (*made.values(), *found.values())), DRIVER_GIB),
        f"manifest of {last} rows, GiB": (manifest["gib"], DRIVER_GIB),
        f"finding {last} units done, CPU s": (found[last]["seconds"], RESUME_S),
        "object store's peak, MiB": (max(one["store_mib"] for one in made.values()), STORE_MIB),
    }
    for name, (figure, bound) in figures.items():
        print(f"{'ok    ' if figure <= bound else 'BROKEN'} {name}: {figure:.2f}, at most {bound:g}")
    return 0 if all(figure <= bound for figure, bound in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
