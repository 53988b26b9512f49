"""One take: its shots rendered one after the other into a video file, with the joints beside it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model import video
from pipelines.sample.film import Script, Shot, frame_size
from pipelines.sample.labels import Label, label


@dataclass(frozen=True)
class Take:
    """``scripts`` follow each other by hard cuts, sharing ``seconds`` evenly. ``spoil`` changes every finished picture.
    ``bars`` is the share of the height that black bars cover. ``uneven`` makes the time between frames vary.
    ``rotation`` is stored as metadata (the joints are of the upright picture)."""

    name: str
    scripts: tuple[Script, ...]
    seconds: float
    short_side: int
    seed: tuple[int, int]
    reason: str | None = None
    why: str | None = None
    spoil: Callable[[np.ndarray], np.ndarray] | None = None
    bars: float = 0.0
    uneven: bool = False
    rotation: int = 0


def _times(take: Take, rng: np.random.Generator) -> np.ndarray:
    fps = take.scripts[0].fps
    even = np.arange(round(take.seconds * fps)) / fps
    if not take.uneven:
        return even
    gaps = rng.choice([0.6, 0.8, 1.0, 1.5, 2.0], size=len(even)) / fps
    times = np.round(np.cumsum(gaps) - gaps[0], 4)
    return times[times < take.seconds]


def record(folder: Path, take: Take) -> Label:
    """Write ``folder``/videos/<name>.mp4 and, with dancers, ``folder``/joints/<name>.npz."""
    rng = np.random.default_rng(take.seed)
    times = _times(take, rng)
    script = take.scripts[0]
    size = frame_size(script.aspect, take.short_side)
    bar = 2 * round(take.bars * size[0] / 2)
    inner = (size[0] - 2 * bar, size[1])
    tracks: list[tuple[np.ndarray, np.ndarray]] = []

    def pictures() -> Iterator[np.ndarray]:
        for script, part in zip(take.scripts, np.array_split(times, len(take.scripts)), strict=True):
            for picture, keypoints, scores in Shot(script, inner, part, rng).frames():
                tracks.append((keypoints + np.float32([0, bar]), scores))
                if take.spoil is not None:
                    picture = take.spoil(picture)
                yield np.pad(picture, ((bar, bar), (0, 0), (0, 0))) if bar else picture

    path = folder / "videos" / f"{take.name}.mp4"
    irregular = times if take.uneven else None
    video.write(path, pictures(), script.fps, times=irregular, rotation=take.rotation)
    people = tracks[0][0].shape[0]
    if people:
        keypoints = np.stack([keypoints for keypoints, _ in tracks], axis=1)
        scores = np.stack([scores for _, scores in tracks], axis=1)
        if people == 1:
            keypoints, scores = keypoints[0], scores[0]
        np.savez(folder / "joints" / f"{take.name}.npz", keypoints=keypoints, scores=scores, times=times)
    return label(
        take.reason,
        take.seconds / len(take.scripts),
        take.why,
        people=people,
        fps=float(script.fps),
        size=size,
        seconds=float(take.seconds),
    )
