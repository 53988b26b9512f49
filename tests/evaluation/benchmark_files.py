"""Small benchmark folders on disk, and an estimator that needs no network."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from infra.config import load
from model import video
from model.pose.tracks import PoseTrack

FRAMES, SIZE, FPS = 12, (48, 32), 24.0
CONFIG = load("demo", ["clip.frames=5", "clip.fps=12.0"])


def standing(frames: int, angle: float = 0.0, scale: float = 1.0, turn: float = 0.0) -> PoseTrack:
    """A full body whose limbs hang at ``angle`` radians and turn by ``turn`` a frame."""
    points, scores = np.zeros((frames, 133, 2), np.float32), np.zeros((frames, 133), np.float32)
    scores[:, 5:17] = 1
    for joint, place in {5: (20, 10), 6: (12, 10), 11: (19, 22), 12: (13, 22)}.items():
        points[:, joint] = place
    at = angle + turn * np.arange(frames)
    for parent, joint in ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)):
        points[:, joint] = points[:, parent] + 6 * np.stack([np.sin(at), np.cos(at)], axis=1)
    return PoseTrack(points * np.float32(scale), scores)


class Standing:
    """Finds one person wherever a picture is not black, and counts how often it is asked."""

    asked = 0

    def estimate(self, frames):
        type(self).asked += 1
        return [standing(len(frames), 0.3, turn=0.05)] if frames[0].max() > 0 else []


def estimator(settings):
    return Standing()


def picture(path: Path, value: int = 90, mode: str = "RGB", size=SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (value,) * 3).convert(mode).save(path)
    return path


def clip(path: Path, frames: int = FRAMES, fps: float = FPS, size=SIZE) -> Path:
    """Frame t is grey of value 10 + 15 t."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return video.write(path, [np.full((*size, 3), 10 + 15 * t, np.uint8) for t in range(frames)], fps)


def manifest(folder: Path, *pairs: dict, **fields) -> Path:
    data = {"name": "small", "pairs": [{"prompt": "A person dances.", **pair} for pair in pairs], **fields}
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def small(folder: Path, **fields) -> Path:
    """Two drivers, two references, four pairs and one of the same source."""
    pairs = []
    for number in range(2):
        clip(folder / f"drivings/{number}.mp4")
        picture(folder / f"references/{number}.png", 60 + number)
    for driver in range(2):
        for reference in range(2):
            paths = {"driving": f"drivings/{driver}.mp4", "reference": f"references/{reference}.png"}
            pairs.append({"id": f"d{driver}_r{reference}", **paths})
    pairs.append({"id": "itself", "driving": "drivings/0.mp4", "same_source": True})
    return manifest(folder, *pairs, **fields)
