"""What the DWPose path costs beside its networks: `python tests/benchmarks/dwpose_cost.py [--corpus DIR]`.

The real weights are not needed: networks that find coloured markers stand for them (tests/model/marker_networks.py).

1. At 720p, with as many multiply-adds per picture as YOLOX-L at 640 and DWPose-L at 384x288 have: the share of the time
   that is spent outside onnxruntime, searching every frame and every tenth. Bound: 15 %. It is shown on the CPU only:
   on a GPU the networks are faster and their share is smaller. What carries over is the time outside onnxruntime,
   about 5 to 7 ms a frame.
2. On the good clips of the rendered corpus (``--corpus``; else it is rendered), with markers painted on the dancers'
   17 known body joints: how many times fewer frames are searched with tracking, and the OKS of its tracks to those of
   searching every frame (COCO's body sigmas; the scale is 0.53 of the area of the known joints' box, as COCO's people
   fill their boxes; a joint that one finds and the other does not counts 0). Bounds: 5 times, 0.95 on every clip.
   What these networks find hardly depends on the crop, so the OKS shows that nobody is lost or mixed up, and not how
   the real pose network answers to a crop by the joints of the frame before.
3. CPU time of a frame in clips of N, 4N and 16N frames. Bound: the dearest is 1.2 times the cheapest.

Exits 1 where a bound is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

from infra.schema import Pose, Sample
from model.pose.dwpose import DWPoseEstimator
from model.video import frames as read_frames
from pipelines.sample.corpus import render_sample

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from marker_networks import COLOURS, DWPOSE_L_GMAC, RED, YOLOX_L_GMAC, build, paint, paint_joints

OUTSIDE, FEWER, ALIKE, FLAT = 0.15, 5.0, 0.95, 1.2
EVERY = Pose().detect_every
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
FILLED = 0.53
BODY, CHEST = 17, [5, 6, 11, 12]
SEEN = 0.3
WALK = 40  # frames: half of them somebody walks through the picture, then they are away


class Clock:
    """Seconds inside onnxruntime's run, of all sessions."""

    def __init__(self):
        self.seconds, original = 0.0, onnxruntime.InferenceSession.run

        def run(session, *arguments, **named):
            started = time.perf_counter()
            try:
                return original(session, *arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        onnxruntime.InferenceSession.run = run


def estimator_for(folder: Path, person: tuple[float, float], *, heavy: bool = False, **settings) -> DWPoseEstimator:
    """On marker networks with the real ones' batch sizes: one picture for the detector, any number for the joints."""
    gmac = (YOLOX_L_GMAC, DWPOSE_L_GMAC) if heavy else (0.0, 0.0)
    searching = {"person": person, "heavy_gmac": gmac[0]}
    locating = {"colours": COLOURS[:BODY], "heavy_gmac": gmac[1]}
    return build(folder, detector=searching, pose=locating, device="cpu", **settings)


def dancers(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """One dancer who stays, and one who walks through the picture again and again."""
    rng = np.random.default_rng(0)
    shape = rng.uniform((-0.12, -0.35), (0.12, 0.35), (BODY, 2)) * height
    grey = rng.integers(100, 156, (height, width), np.uint8)[..., None].repeat(3, axis=2)
    for time_ in range(frames):
        frame = grey.copy()
        swing = 0.01 * height * np.sin(time_ / 4 + np.arange(BODY))[:, None]
        for x in (0.25 * width, time_ % WALK / WALK * 2 * width):
            middle = np.array([x, 0.5 * height])
            paint(frame, RED, middle, 0.035 * height)
            paint_joints(frame, shape + swing + middle, max(3, height // 90))
        yield frame


def outside(folder: Path, clock: Clock, threads: int) -> list[tuple]:
    rows = []
    for every, count in ((1, 12), (EVERY, 40)):
        estimator = estimator_for(folder, (180, 300), heavy=True, threads=threads, detect_every=every)
        frames = list(dancers(count, 720, 1280))
        estimator.estimate(frames[:2])
        clock.seconds, calls, started = 0.0, estimator.detector_calls, time.perf_counter()
        estimator.estimate(frames)
        total = time.perf_counter() - started
        share = 1 - clock.seconds / total
        what = f"{total / count * 1e3:.0f} ms a frame, {(total - clock.seconds) / count * 1e3:.1f} ms of it outside"
        searched = f"{estimator.detector_calls - calls} of {count} frames searched"
        rows.append((f"720p, {searched}: {what}", share <= OUTSIDE, f"{share:.1%} outside", f"<= {OUTSIDE:.0%}"))
    return rows


def painted(video: Path, known: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """The clip's first frames without their colours, and markers on the dancer's joints that are in the picture.

    ``known`` (T, 133, 2) px and ``scores`` (T, 133) say how many frames.
    """
    out, radius = [], max(3, round(0.015 * np.ptp(known[:, :BODY, 1], axis=1).max()))
    for (_, frame), joints, there in zip(read_frames(video), known[:, :BODY], scores[:, :BODY] > 0, strict=False):
        grey = 98 + cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) // 4
        frame = grey[..., None].repeat(3, axis=2)
        paint(frame, RED, joints[CHEST].mean(axis=0), 16 * max(frame.shape) / 640)
        for joint in np.flatnonzero(there):
            paint_joints(frame, joints[[joint]], radius, COLOURS[joint:])
        out.append(frame)
    return out


def alike(one, other, known: np.ndarray) -> np.ndarray:
    """(T,) OKS of two tracks' body joints."""
    extent = known[:, :BODY].max(axis=1) - known[:, :BODY].min(axis=1)
    area = FILLED * extent.prod(axis=1, keepdims=True)
    gap = np.square(one.keypoints[:, :BODY] - other.keypoints[:, :BODY]).sum(axis=2)
    seen, also = one.scores[:, :BODY] > SEEN, other.scores[:, :BODY] > SEEN
    likeness = np.exp(-gap / (2 * area * np.square(2 * SIGMAS))) * (seen & also)
    return likeness.sum(axis=1) / np.maximum((seen | also).sum(axis=1), 1)


def fewer(folder: Path, corpus: Path, seconds: float, console: Console) -> list[tuple]:
    clips = sorted((corpus / "joints").glob("dancer_*.npz"))
    table = Table("clip", "frames", "searched", "tracked", "OKS", "least", "seen", "off", title="tracking")
    calls, worst = np.zeros(2, int), 1.0
    for path in progress(clips, "tracking", console=console):
        with np.load(path) as arrays:
            count = int(np.searchsorted(arrays["times"], seconds))
            known, scores = arrays["keypoints"][:count], arrays["scores"][:count]
        frames = painted(corpus / "videos" / f"{path.stem}.mp4", known, scores)
        reach = np.abs(known[:, :BODY] - known[:, CHEST].mean(axis=1, keepdims=True)).max(axis=(0, 1))
        box = 2 * reach * 640 / max(frames[0].shape)  # around the chest, where the detector's marker is
        tracks, searched = [], []
        for every in (1, EVERY):
            estimator = estimator_for(folder, tuple(box), detect_every=every)
            tracks += estimator.estimate(frames)
            searched.append(estimator.detector_calls)
        one, other = tracks
        oks, seen = alike(one, other, known), other.scores[:, :BODY] > SEEN
        off = np.median(np.linalg.norm(other.keypoints[:, :BODY] - known[:, :BODY], axis=2)[seen])
        figures = len(frames), *searched, f"{oks.mean():.4f}", f"{oks.min():.4f}", f"{seen.mean():.0%}", f"{off:.1f} px"
        table.add_row(path.stem, *map(str, figures))
        calls, worst = calls + searched, min(worst, float(oks.mean()))
    console.print(table)
    ratio = calls[0] / calls[1]
    searched = f"frames searched on {len(clips)} good clips: {calls[0]} on their own, {calls[1]} with tracking"
    return [
        (searched, ratio >= FEWER, f"{ratio:.1f}x fewer", f">= {FEWER:g}x"),
        ("OKS of tracking to searching every frame, worst clip", worst >= ALIKE, f"{worst:.4f}", f">= {ALIKE}"),
    ]


def flat(folder: Path, frames: int) -> list[tuple]:
    frames = max(1, round(frames / WALK)) * WALK  # the same share of frames with two people in every clip
    estimator = estimator_for(folder, (90, 170), detect_every=EVERY)
    walk, costs = list(dancers(WALK, 240, 320)), []
    estimator.estimate(walk[:10])
    for count in (frames, 4 * frames, 16 * frames):
        rounds = []
        for _ in range(16 * frames // count):
            started = time.process_time()
            estimator.estimate(islice(cycle(walk), count), people=2)
            rounds.append((time.process_time() - started) / count)
        costs.append(float(np.median(rounds)))
    ratio = max(costs) / min(costs)
    lengths = f"ms a frame in clips of {frames}, {4 * frames} and {16 * frames} frames: "
    lengths += ", ".join(f"{cost * 1e3:.2f}" for cost in costs)
    return [(lengths, ratio <= FLAT, f"{ratio:.2f}", f"<= {FLAT}")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a rendered sample corpus; none: it is rendered first")
    parser.add_argument("--seconds", type=float, default=3.0, help="of every clip of the corpus (default 3)")
    parser.add_argument("--frames", type=int, default=WALK, help=f"N of the clip lengths N, 4N, 16N (default {WALK})")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a network (default 1)")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = options.corpus or folder / "sample"
        if not options.corpus:
            corpus.mkdir()
            render_sample(corpus, Sample(faults=False, seconds=options.seconds), seed=0)
        rows = flat(folder, options.frames)
        rows += fewer(folder, corpus, options.seconds, console)
        rows += outside(folder, Clock(), options.threads)
    table = Table("", "measured", "bound", "", title="cost of the DWPose path")
    for what, met, measured, bound in rows:
        table.add_row(what, measured, bound, "[green]met" if met else "[red]missed")
    console.print(table)
    console.print(
        f"Multiply-adds of the heavy networks: {YOLOX_L_GMAC} G a frame searched, {DWPOSE_L_GMAC} G a person located, "
        f"as of YOLOX-L 640x640 and DWPose-L 384x288. onnxruntime {onnxruntime.__version__}, {options.threads} threads."
    )
    return 0 if all(met for _, met, _, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
