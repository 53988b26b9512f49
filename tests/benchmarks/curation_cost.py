"""Cost of the CPU chain of curation: `python tests/benchmarks/curation_cost.py [--files N] [--corpus DIR]`.

Makes 1080p H.264 files (a rendered dancer enlarged, with texture and grain, some 10 Mb/s) once, in a temporary folder,
and in one process, in turns, over the same files:

- a bare decode pass of PyAV (`for frame in container.decode(stream): pass`);
- the whole CPU chain without pose and without transcoding: hash, probe, scan, windows, scores, strips, gates.

Bound: at most 1.4 times the CPU time (all threads, median over the rounds of the paired ratios). Then probe and hash of
the files of a corpus: at least 25 files a second. Exits 1 where a bound is missed.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.schema import Sample
from model import video
from pipelines import gates
from pipelines.sample.corpus import write_sample
from pipelines.scan.previews import SaveStrip
from pipelines.scan.source import Probe, Scan
from pipelines.scan.window_scores import ScoreWindow
from pipelines.scan.windows import MakeWindows
from pipelines.work.stage import run

OF_BARE, PROBES_PER_SECOND = 1.4, 25.0
SIZE, FPS, SECONDS, BITS = (1080, 1920), 30, 10, 10_000_000
WINDOWS = MakeWindows(81, 16.0, 0.5, 0.1, 2)
CHAIN = (Probe(), Scan(), WINDOWS, ScoreWindow(), SaveStrip(), gates.JudgeScan(gates.load("demo")))


def busy_film(path: Path, pictures: list[np.ndarray], seed: int) -> None:
    """``pictures`` over and over at 1080p, with texture and moving grain so that they need as many bits as film."""
    draw = np.random.default_rng(seed)
    height, width = SIZE
    texture = cv2.resize(draw.normal(0, 10, (height // 2, width // 2)).astype(np.float32), (width, height))
    grains = [texture + draw.normal(0, 6, SIZE).astype(np.float32) for _ in range(6)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", BITS
        stream.options = {"preset": "veryfast", "maxrate": str(BITS * 6 // 5), "bufsize": str(BITS)}
        for number in range(FPS * SECONDS):
            large = cv2.resize(pictures[number % len(pictures)], (width, height), interpolation=cv2.INTER_CUBIC)
            grainy = np.clip(large + grains[number % len(grains)][..., None], 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grainy, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def films(count: int, corpus: Path | None) -> tuple[list[Path], Path]:
    """The 1080p files and the folder of the corpus, made where they are not there yet."""
    cache = Path(tempfile.gettempdir()) / "steadydancer-curation-cost"
    cache.mkdir(exist_ok=True)
    if corpus is None:
        made = cache / "sample"
        if not made.exists():
            write_sample(made, Sample(dancers=4), 0, workers=1)
        corpus = made / "videos"
    dancers = sorted(corpus.glob("dancer_*.mp4"))
    paths = [cache / f"busy_{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            pictures = [picture for _, picture in video.frames(dancers[number % len(dancers)])]
            busy_film(path.with_suffix(".part.mp4"), pictures, number)
            path.with_suffix(".part.mp4").rename(path)
    return paths, corpus


def decode(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


def described(path: Path, folder: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    return {"path": str(path), "source": path.name, "source_id": digest, "source_bytes": size, "folder": folder}


def chain(path: Path, folder: Path, spent: dict[str, float]) -> int:
    """How many windows there are. Adds the CPU seconds of each part to ``spent``."""
    began = time.process_time()
    rows = [described(path, folder)]
    spent["hash"] = spent.get("hash", 0) + time.process_time() - began
    for stage in CHAIN:
        began, name = time.process_time(), type(stage).__name__
        rows = [made for row in rows for made in run((stage,), row)]
        spent[name] = spent.get(name, 0) + time.process_time() - began
    return len(rows)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--corpus", type=Path, help="folder of videos; by default a sample is rendered")
    options = parser.parse_args()
    console = Console()
    with console.status("Making films"):
        paths, corpus = films(options.files, options.corpus)
    bare, whole, spent = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chain(paths[0], folder, {})  # imports
        for index in range(options.rounds):
            turns = [(bare, decode, ()), (whole, chain, (folder, spent))]
            for path in paths:
                for times, work, given in turns[:: 1 if index % 2 == 0 else -1]:
                    times.append(cpu_seconds(lambda work=work, path=path, given=given: work(path, *given)))
        files = [path for path in sorted(corpus.iterdir()) if path.is_file()]
        repeats = max(1, 50 // len(files))
        began = time.process_time()
        for path in files * repeats:
            run((Probe(),), described(path, folder))
        rate = len(files) * repeats / (time.process_time() - began)
    ratio = statistics.median(one / other for one, other in zip(whole, bare, strict=True))

    frames = FPS * SECONDS * len(paths) * options.rounds
    table = Table("part", "CPU ms a frame", "of a bare decode")
    table.add_row("bare decode", f"{sum(bare) / frames * 1e3:.2f}", "1.00")
    for part, seconds in spent.items():
        table.add_row(part, f"{seconds / frames * 1e3:.2f}", f"{seconds / sum(bare):.3f}")
    console.print(table)
    console.print(f"The CPU chain costs {ratio:.2f} times a bare decode (bound {OF_BARE}).")
    console.print(f"Probe and hash: {rate:.0f} files per CPU second (bound {PROBES_PER_SECOND:.0f}).")
    return int(ratio > OF_BARE or rate < PROBES_PER_SECOND)


if __name__ == "__main__":
    sys.exit(main())
