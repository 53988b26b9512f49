"""A committed encoded dataset of noise in the layout `encode` writes, small enough for quick forward passes."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra import commits, config, environment

environment.prepare()
os.environ["GLOO_SOCKET_IFNAME"] = "lo"

META = {"encoders": {"codec": "block-dct-1", "image": "patches-1-48", "text": "words-1-32"}}
FRAMES, HEIGHT, WIDTH = 9, 64, 48


def write_encoded(folder: Path, clips: int = 5, buckets=((HEIGHT, WIDTH),), **changed) -> commits.Commit:
    """``clips`` encoded clips of 9 frames in two shards, of the (height, width) of ``buckets`` by turns.

    The last one is held out. ``changed``: a tensor's name and the shape, or the array, that every clip has instead.
    """
    from safetensors.numpy import save, save_file

    random = np.random.default_rng(7)
    settings = {"encode": {"codec": "embedded"}, "model": {"size": "tiny"}}
    with commits.write(folder, "encoded", config=settings, meta=META) as draft:
        (draft / "shards").mkdir()
        rows = []
        for number in range(clips):
            height, width = buckets[number % len(buckets)]
            t, h, w = (FRAMES - 1) // 4 + 1, height // 8, width // 8
            grid = np.meshgrid(np.linspace(8, width - 8, 19), np.linspace(6, height - 6, 7))
            body = np.stack(grid, -1).reshape(133, 2)
            shapes = {
                "latent": (16, t, h, w),
                "pose_latent": (16, t, h, w),
                "image_latent": (16, t, h, w),
                "clip_image": (257, 48),
                "clip_pose": (257, 48),
                "text": (5, 32),
            }
            shapes |= {name: shape for name, shape in changed.items() if isinstance(shape, tuple)}
            tensors = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
            walk = np.cumsum(random.normal(0, 1, (FRAMES, 1, 2)), axis=0)
            tensors["keypoints"] = (body + walk).astype(np.float32)
            tensors["scores"] = np.ones((FRAMES, 133), np.float32)
            tensors |= {name: array for name, array in changed.items() if not isinstance(array, tuple)}
            name, data = f"clip{number}", save(tensors)
            shard = draft / "shards" / f"{number % 2:05d}.tar"
            with tarfile.open(shard, "a") as tar:
                member = tarfile.TarInfo(f"{name}.safetensors")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            with tarfile.open(shard) as tar:
                offset = tar.getmember(f"{name}.safetensors").offset_data
            rows.append(
                {
                    "clip_id": name,
                    "shard": shard.name,
                    "offset": offset,
                    "bytes": len(data),
                    "bucket": f"{height}x{width}",
                    "frames": FRAMES,
                    "fps": 16.0,
                    "source": "noise",
                    "split": "val" if number == clips - 1 else "train",
                }
            )
        pq.write_table(pa.Table.from_pylist(rows), draft / "manifest.parquet")
        save_file({"text": random.standard_normal((1, 32), dtype=np.float32)}, draft / "null_text.safetensors")
    return commits.read(folder)


def tiny_config(*overrides: str):
    """The demo preset on 9-frame clips with a few quick steps a stage."""
    steps = [f"train.stages.{n}.steps=6" for n in range(3)]
    return config.load("demo", ["clip.frames=9", "clip.area=3072", "train.checkpoint_every=3", *steps, *overrides])
