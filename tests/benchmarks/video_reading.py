"""PyAV beside decord: `python tests/benchmarks/video_reading.py [--rounds N]`.

CPU seconds of all threads, in turns in one process, median of the paired ratios decord / PyAV: every frame as RGB, and
6 of 81 frames anywhere, of a rendered clip and of a made 1080p file, 81 frames each. Then a file with flipped bits:
PyAV says that frames are corrupt, decord hands out as many frames as there should be and says nothing.

Exits 1 if decord shows the damage (then it could read sources) or :func:`model.video.pick`, which is decord, costs more
than 1.25 times PyAV on the rendered clip (then it should not be decord).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.schema import Sample
from model import video
from pipelines.sample.corpus import write_sample

FRAMES, PICKED, NOT_WORSE = 81, 6, 1.25


def pick_by_pyav(path: Path, indices: list[int]) -> np.ndarray:
    """Only what is asked for is converted; all up to the last is decoded."""
    wanted, found = set(indices), {}
    for number, raw in enumerate(video.raw_frames(path)):
        if number in wanted:
            found[number] = raw.picture.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                break
    return np.stack([found[index] for index in indices])


def stream_by_decord(path: Path) -> int:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    return sum(1 for index in range(len(reader)) if reader[index].asnumpy() is not None)


def stream_by_pyav(path: Path) -> int:
    return sum(1 for raw in video.raw_frames(path) if raw.picture.to_ndarray(format="rgb24") is not None)


def cpu_seconds(work: Callable[..., object], *given) -> float:
    start = time.process_time()
    work(*given)
    return time.process_time() - start


def damaged(path: Path) -> Path:
    data, draw = bytearray(path.read_bytes()), np.random.default_rng(0)
    for place in draw.integers(data.index(b"mdat") + 8 + len(data) // 4, len(data) // 2, 200):
        data[place] ^= 1 << int(draw.integers(8))
    broken = path.with_name("broken.mp4")
    broken.write_bytes(data)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console()
    table = Table("file", "work", "PyAV CPU ms", "decord CPU ms", "decord / PyAV")
    draw, small_pick = np.random.default_rng(0), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = write_sample(folder / "sample", Sample(dancers=1, faults=False), 0, workers=1).path
        pictures = [picture for _, picture in video.frames(sample / "videos" / "dancer_00.mp4")][:FRAMES]
        clip = video.write(folder / "clip.mp4", pictures, 16.0)
        large = video.write(
            folder / "large.mp4", (cv2.resize(picture, (1920, 1080)) for picture in pictures), 16.0, crf=20
        )
        for path in (clip, large):
            for work, one, other in (
                ("all frames", stream_by_pyav, stream_by_decord),
                (f"{PICKED} of {FRAMES} frames", pick_by_pyav, video.pick),
            ):
                times = []
                for turn in range(options.rounds + 1):
                    chosen = sorted(draw.choice(FRAMES, PICKED, replace=False).tolist())
                    given = (path,) if work == "all frames" else (path, chosen)
                    order = (one, other) if turn % 2 else (other, one)
                    pair = [cpu_seconds(read, *given) for read in order]
                    times.append(pair if turn % 2 else pair[::-1])
                times = times[1:]  # the first reads the file and imports
                ratio = statistics.median(b / a for a, b in times)
                small_pick = ratio if path == clip and "of" in work else small_pick
                pyav, decord = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
                table.add_row(path.stem, work, f"{pyav:.0f}", f"{decord:.0f}", f"{ratio:.2f}")
        broken, marked = damaged(clip), 0
        try:
            marked = sum(raw.picture.is_corrupt for raw in video.raw_frames(broken))
            end = "to the end"
        except video.UnreadableVideo:
            end = "then a decoding error"
        try:
            silent = stream_by_decord(broken) == FRAMES
        except Exception as error:  # noqa: BLE001 whatever decord raises is damage told
            console.print(f"decord: {error}")
            silent = False
    console.print(table)
    told = f"PyAV marks {marked} frames as corrupt, {end}"
    console.print(f"Flipped bits: {told}; decord {f'hands out all {FRAMES} frames' if silent else 'tells of it'}.")
    return int(small_pick > NOT_WORSE or not silent)


if __name__ == "__main__":
    sys.exit(main())
