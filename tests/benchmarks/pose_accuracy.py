"""Accuracy of the embedded estimator against known joints: `python tests/benchmarks/pose_accuracy.py [options]`.

On the rendered corpus (--corpus DIR, else rendered for it):

- joints of the good clips at about 16 frames a second: the share of the joints that truly lie in the picture, hidden by
  something in front or not, that are estimated within 0.2 torsos of the truth (a torso: middle of the shoulders to
  middle of the hips, true, frame by frame). A joint that was not found is a wrong one. For face and hands also in which
  share of the frames they are found, of those with at least half of them in the picture; and for the hands the share
  within 0.2 of the hand's own size (the diagonal of the box around its true joints): of all, and of those found.
- people of every labelled file that can be decoded: the median over the frames on which curation counts, which are
  those of the window in the middle; of a file too short for a window, of the whole.

--videos DIR with --people NAME=COUNT ... counts people in DIR/NAME.mp4 the same way. Exits 1 where the body's share is
below 0.95 on one of the good clips, or a count is wrong.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.schema import Clip, Pose, Sample
from model import video
from model.pose.estimator import PoseEstimator, build_estimator
from model.pose.wholebody import (
    BODY,
    FACE,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_SHOULDER,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_SHOULDER,
)
from pipelines.pose.window import analysis_size
from pipelines.sample.corpus import write_sample

WITHIN, BODY_BOUND, FPS = 0.2, 0.95, 16
PARTS = {"body": BODY, "face": FACE, "left": LEFT_HAND, "right": RIGHT_HAND}
HANDS = ("left", "right")
COLUMNS = ("body", "face", "face found")
COLUMNS += tuple(f"{hand}{what}" for hand in HANDS for what in ("", " found", " of hand", " of hand found"))


def joints_of(path: Path, joints: Path, estimator: PoseEstimator) -> dict[str, np.ndarray]:
    """Column -> one bool per true joint, or, of what was found, per frame."""
    known = np.load(joints)
    step = max(1, round((len(known["times"]) - 1) / known["times"][-1] / FPS))
    frames = (frame for index, (_, frame) in enumerate(video.frames(path)) if index % step == 0)
    tracks = estimator.estimate(frames)
    truth, there = known["keypoints"][::step].astype(np.float64), known["scores"][::step] > 0
    off, found = np.full(there.shape, np.inf), np.zeros(there.shape, bool)
    if tracks:
        found = tracks[0].scores > 0
        off = np.where(found, np.linalg.norm(tracks[0].keypoints - truth, axis=-1), np.inf)
    middles = truth[:, [LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=1) - truth[:, [LEFT_HIP, RIGHT_HIP]].mean(axis=1)
    near = off < WITHIN * np.linalg.norm(middles, axis=-1)[:, None]
    rows = {}
    for part, where in PARTS.items():
        inside = there[:, where]
        rows[part] = near[:, where][inside]
        mostly = inside.mean(axis=1) >= 0.5
        rows[f"{part} found"] = found[:, where].any(axis=1)[mostly]
        if part in HANDS:
            size = np.linalg.norm(np.ptp(truth[:, where], axis=1), axis=-1)
            of_hand = off[:, where] < WITHIN * size[:, None]
            rows[f"{part} of hand"] = of_hand[inside]
            rows[f"{part} of hand found"] = of_hand[inside & found[:, where]]
    return rows


def people_of(path: Path, estimator: PoseEstimator, samples: int) -> np.ndarray:
    """(samples,) int: people on the frames on which curation counts."""
    clip, info = Clip(), video.probe(path)
    size = analysis_size(info.height, info.width)
    if info.seconds >= clip.seconds:
        frames = video.read_at(path, (info.seconds - clip.seconds) / 2, clip.frames, clip.fps, size)
    else:
        frames = np.stack([video.resize(frame, size) for _, frame in video.frames(path)])
    return estimator.count_people(frames[((np.arange(samples) + 0.5) * len(frames) / samples).astype(int)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a corpus made by `steadydancer sample`")
    parser.add_argument("--videos", type=Path, help="a folder of other videos")
    parser.add_argument("--people", nargs="*", default=[], metavar="NAME=COUNT", help="how many are in them")
    options = parser.parse_args()
    settings, console = Pose(), Console(width=150)
    estimator, progressing = build_estimator(settings), Console(stderr=True)
    missed, left_out = [], []
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder) / "sample"
        if options.corpus is None:
            write_sample(corpus, Sample(), 0)
        labels = json.loads((corpus / "labels.json").read_text())
        good = [name for name, label in labels.items() if label["verdict"] == "keep" and label["people"] == 1]
        shares = Table(
            "clip", *COLUMNS, title=f"share within {WITHIN} torsos; left and right are the hands", title_justify="left"
        )
        everything = defaultdict(list)
        for name in progress(good, "Estimating", console=progressing, transient=True):
            rows = joints_of(corpus / "videos" / name, corpus / "joints" / f"{Path(name).stem}.npz", estimator)
            for column in COLUMNS:
                everything[column].append(rows[column])
            shares.add_row(Path(name).stem, *(_share(rows[column]) for column in COLUMNS))
        if not good:
            raise SystemExit(f"{corpus}: no good clip with one person in labels.json.")
        together = {column: np.concatenate(values) for column, values in everything.items()}
        shares.add_section()
        shares.add_row("all", *(_share(together[column]) for column in COLUMNS))
        console.print(shares)
        for name, body in zip(good, everything["body"], strict=True):
            if not body.mean() >= BODY_BOUND:
                missed.append(f"{name}: body {_share(body)}, bound {BODY_BOUND}")

        files = {corpus / "videos" / name: label["people"] for name, label in labels.items()}
        for given in options.people:
            name, _, count = given.rpartition("=")
            files[options.videos / f"{name}.mp4"] = int(count)
        counts = Table("file", "people", "counted", "on the frames", "", title="people", title_justify="left")
        for path, people in progress(files.items(), "Counting", console=progressing, transient=True):
            if people is None:
                left_out.append(path.name)
                continue
            found = people_of(path, estimator, settings.people_samples)
            right = np.median(found) == people
            counts.add_row(path.name, str(people), f"{np.median(found):g}", str(found), "✓" if right else "✗")
            if not right:
                missed.append(f"{path.name}: {np.median(found):g} people counted, there are {people}")
        console.print(counts)
    print(f"Left out, as they are labelled unreadable or damaged: {', '.join(left_out) or 'none'}.")
    print("\n".join(missed) or f"All bounds hold: body at least {BODY_BOUND}, every count right.")
    return 1 if missed else 0


def _share(hits: np.ndarray) -> str:
    return f"{hits.mean():.3f}" if len(hits) else "-"


if __name__ == "__main__":
    sys.exit(main())
