"""Manifest rows made by hand: a small dataset in which everything that can become of a clip is there once."""

import hashlib
import io
from pathlib import Path

import numpy as np

from model import video
from model.pose.tracks import PoseTrack
from pipelines import dataset
from pipelines.columns import COLUMNS, POSE_SCORES
from pipelines.gates import HAS_BODY, Gate, Gates, Tier, judge

FRAMES, FPS, SIZE = 5, 10.0, (48, 32)
GATES = Gates(
    (
        Gate("brightness", "too_dark", min=10, max=210),
        Gate("people", "person_count", min=1, max=1),
        Gate("aesthetic", "aesthetic", min=4, optional=True),
        HAS_BODY,
    ),
    (Tier("hq", (Gate("hand_visibility", "hands", min=0.5),)),),
)


def digest(*words) -> str:
    return hashlib.sha256(" ".join(map(str, words)).encode()).hexdigest()


def row(name: str, world=0, source=None, fault=None, **changed) -> dict:
    """A row that passes all gates, then ``changed`` and judged. ``world`` keeps the ids of equal names apart."""
    source = source or name
    of_source = {"codec": "h264", "width": 64, "height": 96, "rotation": 0, "source_fps": 25.0, "source_bytes": 9000}
    rights = {"licence": "CC-BY-4.0", "consent": "form 12", "provenance": "https://example.org/1", "subject": "Ana"}
    made = {
        "clip_id": digest(world, name)[:20],
        "source_id": digest(world, source),
        "source": f"world{world}/{source}.mp4",
        **of_source,
        **rights,
        "collected_at": "2026-10-01",
        "metadata": '{"title": "turns"}',
        **{"shot": 0, "shot_start": 0.0, "shot_end": 2.0, "start": 0.5, "frames": FRAMES, "fps": FPS},
        "crop": [0, 0, 96, 64],
        "fingerprint": "0123456789abcdef" * 3,
        **{column.name: 0.25 for column in COLUMNS if column.role == "score" and column.name != "aesthetic"},
        **{"brightness": 100.0, "people": 1.0, "hand_visibility": 0.75, "reached": "pose"},
    } | changed
    if made["reached"] != "pose":
        made |= dict.fromkeys(POSE_SCORES)
    if made["reached"] == "found":
        made |= {column.name: None for column in COLUMNS if column.role in ("score", "span")} | {"fingerprint": None}
    made |= judge(made | {"fault": fault}, GATES)
    if made["verdict"] == "kept":
        made |= {"bucket": "48x32", "stored_frames": FRAMES, "caption": f"{name} turns.", "caption_from": "sidecar"}
    return made


def world(number=0) -> dict[str, dict]:
    """Name -> row."""
    best = digest(number, "best")[:20]
    return {
        "plain": row("plain", number),
        "spare": row("spare", number, "plain", "spare", start=1.0),
        "best": row("best", number, group=best),
        "same": row("same", number, fault="duplicate", group=best, error="near-duplicate"),
        "low": row("low", number, hand_visibility=0.25),
        **{name: row(name, number) for name in ("fourth", "fifth")},
        "two": row("two", number, people=2.0),
        "dark": row("dark", number, brightness=1.0, reached="scan"),
        "short": row("short", number, fault="too_short", reached="scan", start=None, frames=None, motion=None),
        "noise": row("noise", number, fault="unreadable", reached="found", error="no frame"),
        "copy": row("copy", number, "plain", "duplicate", reached="found"),
    }


def files(folder: Path):
    """The members of a kept row: one tiny clip and one pose for all of them, and the caption of each."""
    frames = (np.full((*SIZE, 3), 20 * n, np.uint8) for n in range(FRAMES))
    mp4 = video.write(folder / "tiny.mp4", frames, FPS).read_bytes()
    pose = io.BytesIO()
    PoseTrack(np.full((FRAMES, 133, 2), 3, np.float32), np.ones((FRAMES, 133), np.float32)).save(pose)
    return lambda kept: [("mp4", mp4), ("pose.npz", pose.getvalue()), ("txt", kept["caption"].encode())]


def sharded(folder: Path, rows: list[dict], members=None) -> list[dict]:
    """The rows with their output columns, after their shards were written to ``folder``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    members = members or files(folder.parent)
    return dataset.write_shards(folder, [dict(made) for made in rows], members, 4, 100.0)
