"""Speed of the embedded estimator: `python tests/benchmarks/pose_speed.py [--frames N] [--rounds N]`.

On one rendered dancer, in one run:

- `estimate` beside a bare loop of MediaPipe's holistic model with the same options on the same frames. They take turns
  frame by frame, so that whatever else the machine does slows both. Bound: at least 0.85 of the bare loop's throughput.
- cost per frame, in CPU seconds of all threads, of a clip of N frames and one of 4 N, the frames repeated, both as
  streams; in turns, the median over the rounds. Bound: at most 1.2 times.

Loading the models, with the first frame, is left out of the first figure (whoever is first pays for both) and part of
the second. Exits 1 where a bound is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from mediapipe import solutions
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.schema import Pose, Sample
from model import video
from model.pose.estimator import PoseEstimator, build_estimator
from pipelines.sample.corpus import write_sample

OF_BARE, OF_SHORT, LONGER = 0.85, 1.2, 4


def in_turns(estimator: PoseEstimator, frames: Iterator[np.ndarray]) -> tuple[float, float]:
    """Seconds of the bare loop, whose results nobody reads, and of ``estimate``, both after the first frame."""
    bare = begin = 0.0

    def stream() -> Iterator[np.ndarray]:
        nonlocal bare, begin
        with solutions.holistic.Holistic(model_complexity=1, smooth_landmarks=False) as holistic:
            for index, frame in enumerate(frames):
                start = time.perf_counter()
                begin = start if index == 1 else begin
                holistic.process(frame)
                bare += time.perf_counter() - start if index else 0
                yield frame
            ended.append(time.perf_counter())

    ended: list[float] = []
    estimator.estimate(stream())
    return bare, ended[0] - begin - bare


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=80, help="of the short clip; the long one has 4 times as many")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_sample(Path(folder) / "sample", Sample(dancers=1, faults=False), 0, workers=1).path
        filmed = [frame for _, frame in video.frames(corpus / "videos" / "dancer_00.mp4")]
    estimator = build_estimator(Pose())

    def clip(frames: int) -> Iterator[np.ndarray]:
        return islice(cycle(filmed), frames)

    turns, costs = [], {options.frames: [], LONGER * options.frames: []}
    for index in progress(range(options.rounds), "Measuring", console=Console(stderr=True), transient=True):
        turns.append(in_turns(estimator, clip(options.frames + 1)))
        for frames in list(costs)[:: 1 if index % 2 == 0 else -1]:
            costs[frames].append(cpu_seconds(lambda frames=frames: estimator.estimate(clip(frames))) / frames)

    bare, ours = (options.frames / np.array(turns)).T
    short, long = (np.array(values) for values in costs.values())
    title = f"one person, {filmed[0].shape[1]}x{filmed[0].shape[0]}"
    table = Table("", "median", "of all rounds", title=title, title_justify="left")
    for name, values in (
        ("bare loop, frames a second", bare),
        ("estimate, frames a second", ours),
        (f"CPU ms a frame, {options.frames} frames", 1e3 * short),
        (f"CPU ms a frame, {LONGER * options.frames} frames", 1e3 * long),
    ):
        table.add_row(name, f"{np.median(values):.1f}", " ".join(f"{value:.1f}" for value in values))
    Console().print(table)
    throughput, cost = float(np.median(ours / bare)), float(np.median(long) / np.median(short))
    print(f"Throughput by the bare loop's: {throughput:.3f}, at least {OF_BARE}.")
    print(f"Cost of a frame of the longer clip by the short one's: {cost:.3f}, at most {OF_SHORT}.")
    return 0 if throughput >= OF_BARE and cost <= OF_SHORT else 1


if __name__ == "__main__":
    sys.exit(main())
