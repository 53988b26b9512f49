"""Small rendered dances whose every joint and silhouette is known, and an encoded dataset of them.

Shapes: T frames, H W pixels, J = 133 joints.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from infra import commits
from infra.config import section_values
from infra.schema import Config
from model.pose.tracks import PoseTrack
from pipelines import shards
from pipelines.encode import encode_clip
from pipelines.sample.canvas import Canvas
from pipelines.sample.choreography import dance as curves
from pipelines.sample.dancer import Dancer, Outfit, View
from pipelines.sample.face import Complexion
from pipelines.sample.film import Script, Shot
from pipelines.sample.skeleton import Body
from training.clips.randomness import T_STARS

SIDE, FPS, FRAMES = 64, 6.0, 13
LONGEST_GAP = 4
"""Poses that a start gap leaves out at most: so many frames more are rendered than a clip has."""
FINER = 2
"""Dancers are rendered with so many times the pixels a side, since a thin arm would flicker."""
CAPTION = "A person dances."
WALL = (228, 226, 220)
_SKIN, _RED, _BLUE = (np.array(colour, float) for colour in ((176, 112, 80), (150, 30, 40), (30, 36, 66)))
OUTFIT = Outfit(Complexion(_SKIN, _BLUE, _BLUE, _RED), "short", _RED, _RED, 0.5, _BLUE, 1.9, False, _RED)
"""One and the same in all dances: a model this small has room for a dancer and its poses, not for everybody's look."""


@dataclass(frozen=True)
class Dance:
    """The dancer before a wall of one colour and a camera that stands still, LONGEST_GAP frames longer than a clip."""

    frames_THWC: np.ndarray
    """uint8 RGB"""
    dancer_THW: np.ndarray
    """bool: where the dancer is"""
    track: PoseTrack

    def driving(self, gap: int = 0) -> PoseTrack:
        """FRAMES poses; of those after the first, ``gap`` are left out."""
        shown = [0, *range(1 + gap, FRAMES + gap)]
        return PoseTrack(self.track.keypoints[shown], self.track.scores[shown])


def dance(seed: int, number: int) -> Dance:
    """The dance of that number, another one for every seed."""
    rng, side = np.random.default_rng((seed, number)), FINER * SIDE
    times = rng.uniform(0, 20) + np.arange(FRAMES + LONGEST_GAP) / FPS
    shot = Shot(Script(framing="full", camera="fixed", fps=FPS), (side, side), times, rng)
    shot.scene.backdrop[:] = WALL
    shot.canvas = Canvas(side, side)
    view = View(np.full(len(times), 0.78 * side), np.tile([side / 2, 0.935 * side], (len(times), 1)))
    shot.dancers = [Dancer(Body(), OUTFIT, curves(times, rng, narrow=True), view)]
    frames, dancer, points, scores = [], [], [], []
    for picture, keypoints, seen in shot.frames():
        frames.append(_smaller(picture))
        dancer.append(_smaller(np.isfinite(shot.canvas.depth).astype(np.float32)) > 0.5)
        points.append((keypoints[0] + 0.5) / FINER - 0.5)
        scores.append(seen[0])
    track = PoseTrack(np.stack(points).astype(np.float32), np.stack(scores).astype(np.float32))
    return Dance(np.stack(frames), np.stack(dancer), track)


def _smaller(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def write_encoded(
    folder: Path, shown: list[Dance], held_out: list[Dance], config: Config, *, jumps: bool = False
) -> commits.Commit:
    """The first FRAMES frames of every dance, in the layout that the step ``encode`` writes.

    With ``jumps``, every second clip's second pose is the third, fourth or fifth in truth, the others staying.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.torch import save, save_file

    from model.encoders import build_encoders

    encoders = build_encoders(config.encode, config.model)

    def features(number: int, each: Dance) -> bytes:
        track = each.driving()
        if jumps and number % 2:
            track.keypoints[1] = track.keypoints[T_STARS[number // 2 % len(T_STARS)]]
        return save(encode_clip(encoders, each.frames_THWC[:FRAMES], track, CAPTION, (SIDE, SIDE))[0])

    names = [f"dance{number:05d}" for number in range(len(shown) + len(held_out))]
    facts = {"frames": FRAMES, "fps": FPS, "bucket": f"{SIDE}x{SIDE}", "source": "rendered"}
    values, meta = section_values(config, "encode", "model"), {"encoders": encoders.ids}
    with commits.write(folder, "encoded", config=values, meta=meta) as draft:
        dances = zip(names, [*shown, *held_out], strict=True)
        clips = ((name, [("safetensors", features(n, each))]) for n, (name, each) in enumerate(dances))
        rows = []
        for name, place in shards.write(draft / "shards", clips, config.curate.shard_clips, 256.0).items():
            offset, length = place.members["safetensors"]
            split = "train" if name < names[len(shown)] else "val"
            row = {"clip_id": name, "shard": place.shard, "offset": offset, "bytes": length, "split": split}
            rows.append(row | facts)
        pq.write_table(pa.Table.from_pylist(rows), draft / "manifest.parquet")
        save_file({"text": encoders.text([""])[0].contiguous()}, draft / "null_text.safetensors")
    return commits.read(folder)
