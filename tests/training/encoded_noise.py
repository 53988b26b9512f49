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


def write_encoded(folder: Path, clips: int = 5, **changed) -> commits.Commit:
    """``clips`` encoded clips of 9 frames of 48x64 pixels in two shards; the last one is held out."""
    from safetensors.numpy import save, save_file

    random = np.random.default_rng(7)
    t, h, w = (FRAMES - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8
    body = np.stack(np.meshgrid(np.linspace(8, WIDTH - 8, 19), np.linspace(6, HEIGHT - 6, 7)), -1).reshape(133, 2)
    with commits.write(folder, "encoded", config={"encode": {"codec": "embedded"}}, meta=META) as draft:
        (draft / "shards").mkdir()
        rows = []
        for number in range(clips):
            shapes = {
                "latent": (16, t, h, w),
                "pose_latent": (16, t, h, w),
                "image_latent": (16, t, h, w),
                "clip_image": (257, 48),
                "clip_pose": (257, 48),
                "text": (5, 32),
            } | changed
            tensors = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
            walk = np.cumsum(random.normal(0, 1, (FRAMES, 1, 2)), axis=0)
            tensors["keypoints"] = (body + walk).astype(np.float32)
            tensors["scores"] = np.ones((FRAMES, 133), np.float32)
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
                    "bucket": f"{WIDTH}x{HEIGHT}",
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
