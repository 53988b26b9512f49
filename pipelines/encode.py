"""The step `encode`: a dataset's clips as latents and features, a committed dataset of its own with the same ids."""

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from infra import commits
from infra.commits import Commit
from infra.config import section_values
from infra.errors import SteadyDancerError
from infra.schema import Config
from infra.tracking import StepRun
from infra.workspace import Workspace
from model.pose.tracks import PoseTrack
from pipelines import dataset, shards
from pipelines.clips import bucket_size
from pipelines.work.stage import PerProcess, Row, Stage
from pipelines.work.unit import Unit
from pipelines.work.units import flow

SECTIONS = ("encode", "model")
FEATURES, NULL_TEXT = "features.safetensors", "null_text.safetensors"
CARRIED = ("clip_id", "source_id", "source", "start", "frames", "fps", "bucket", "split", "caption")


def build_encoders(settings: Row) -> Any:
    """The encoders of the config's encode and model sections, on a GPU where there is one."""
    import torch

    from infra import schema
    from model.encoders import build_encoders as build

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return build(schema.Encode(**settings["encode"]), schema.Model(**settings["model"]), device)


@dataclass(frozen=True)
class ReadClip(Stage):
    """A stored clip, by one read from its shard: frames (T, H, W, 3), track in their pixels, caption."""

    reads: ClassVar = ("shards", "shard", "offset", "bytes", "sha256")
    local: ClassVar = ("images", "track", "text")

    def __call__(self, row: Row) -> Row:
        from model import video

        members = shards.read(row["shards"], row["shard"], row["offset"], row["bytes"], row["sha256"])
        with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
            file.write(members["mp4"])
            file.flush()
            images = np.stack([image for _, image in video.frames(file.name)])
        return {
            "images": images,
            "track": PoseTrack.load(io.BytesIO(members["pose.npz"])),
            "text": members["txt"].decode(),
        }


@dataclass(frozen=True)
class EncodeClip(Stage):
    """``features.safetensors``, float32: ``latent``, ``pose_latent`` and ``image_latent`` (16, T, H, W), the last of
    the first frame followed by grey frames (specification 1.7), ``clip_image`` and ``clip_pose`` (257, dim), ``text``
    (L, dim), ``keypoints`` (frames, 133, 2) in pixels of the bucket, ``scores`` (frames, 133). And
    ``null_text.safetensors``: ``text`` of the empty caption.
    """

    encoders: PerProcess = field(metadata={"setting": False})
    on_gpu: bool = field(default=False, metadata={"setting": False})

    reads: ClassVar = ("images", "track", "text", "bucket", "folder")
    writes: ClassVar = ("encoders",)
    memory: ClassVar = 2 * 2**30

    @property
    def num_gpus(self) -> float:
        return 1.0 if self.on_gpu else 0.0

    def settings(self) -> Row:
        return super().settings() | {"encoders": self.encoders.settings}

    def __call__(self, row: Row) -> Row:
        from safetensors.torch import save_file

        encoders = self.encoders.get()
        size = bucket_size(row["bucket"])
        tensors, null_text = encode_clip(encoders, row["images"], row["track"], row["text"], size)
        save_file(tensors, row["folder"] / FEATURES)
        save_file({"text": null_text}, row["folder"] / NULL_TEXT)
        return {"encoders": encoders.ids}


def encode_clip(
    encoders: Any, images: np.ndarray, track: PoseTrack, text: str, size: tuple[int, int]
) -> tuple[dict[str, Any], Any]:
    """The tensors that EncodeClip stores of a clip of ``size`` (height, width), float32 on the CPU, and (L, dim) of the
    empty caption.
    """
    import torch

    from model.inputs import encode_image, encode_pose, to_signed

    with torch.no_grad():
        caption, null_text = encoders.text([text, ""])
        image = encode_image(encoders, images[0], len(images), size)
        pose = encode_pose(encoders, track, size, size)
        tensors = {
            "latent": encoders.codec.encode(to_signed(images).transpose(0, 1)[None])[0],
            "pose_latent": pose.latent_BCTHW[0],
            "image_latent": image.latent_BCTHW[0],
            "clip_image": image.clip_BND[0],
            "clip_pose": pose.clip_BND[0],
            "text": caption,
            "keypoints": torch.from_numpy(track.keypoints),
            "scores": torch.from_numpy(track.scores),
        }
    return {name: _stored(tensor) for name, tensor in tensors.items()}, _stored(null_text)


def _stored(tensor: Any) -> Any:
    return tensor.float().cpu().contiguous()


def encode(
    config: Config, workspace: Workspace, run: StepRun, *, build: Callable[[Row], Any] = build_encoders
) -> Commit:
    """Every kept clip of the dataset encoded, committed with a manifest that says where each one's features lie.

    Ray is running. Resumes clip by clip, to the same bytes. Raises SteadyDancerError naming the clips that could not be
    encoded; then nothing is committed, and the clips that could be are not encoded again by the next call.
    """
    import ray
    from rich.progress import track

    parent = commits.read(workspace.dataset)
    kept = [row for row in dataset.manifest_of(parent) if row["verdict"] == "kept"]
    values = section_values(config, *SECTIONS)
    encoders = PerProcess({"encode": values["encode"], "model": {"size": config.model.size}}, build)
    on_gpu = ray.cluster_resources().get("GPU", 0) > 0
    clip = Unit("encode", "version", (ReadClip(), EncodeClip(encoders, on_gpu)), workspace.units)

    jobs = [{**row, "version": _version(row), "shards": f"{parent.uri}/{dataset.SHARDS}"} for row in kept]
    done = flow([clip], jobs, retry_failed=True, patience=config.curate.patience)
    encoded = _unfailed(list(track(done, description="encoding clips", total=len(jobs))))

    meta = {"encoders": encoded[0]["encoders"]}
    with commits.write(
        workspace.encoded, "encoded", config=values, parents=[parent], meta=meta, scratch=workspace.cache
    ) as folder:
        rows = _write_shards(folder / dataset.SHARDS, kept, clip, config)
        (folder / NULL_TEXT).write_bytes(clip.file(_version(kept[0]), NULL_TEXT).read_bytes())
        _write_manifest(folder / dataset.MANIFEST, rows)
    run.log_metrics({"encoded": len(rows), "encoded_mb": sum(row["bytes"] for row in rows) / 1e6})
    return commits.read(workspace.encoded)


def _version(row: Row) -> str:
    """Names a clip as it is stored now: another caption or size makes another."""
    return f"{row['clip_id']}-{row['sha256']}"


def _write_shards(folder: Path, kept: list[Row], clip: Unit, config: Config) -> list[Row]:
    """Shards of ``<clip_id>.safetensors`` and ``.json``; the manifest's rows: ``offset``, ``bytes`` of the former."""
    rows = [{name: row[name] for name in CARRIED} for row in kept]

    def samples():
        for row, facts in zip(kept, rows, strict=True):
            features = clip.file(_version(row), FEATURES).read_bytes()
            yield (
                row["clip_id"],
                [
                    ("safetensors", features),
                    ("json", json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()),
                ],
            )

    places = shards.write(folder, samples(), config.curate.shard_clips, config.curate.shard_mb)
    for row in rows:
        place = places[row["clip_id"]]
        offset, size = place.members["safetensors"]
        row |= {"shard": place.shard, "offset": offset, "bytes": size}
    return rows


def _write_manifest(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = dataset.schema()
    columns = [known.field(name) for name in (*CARRIED, "shard", "offset", "bytes")]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), path)


def _unfailed(rows: list[Row]) -> list[Row]:
    if failed := [row for row in rows if row.get("fault")]:
        lines = "\n".join(f"  {row['clip_id']}: {row['error']}" for row in failed[:5])
        raise SteadyDancerError(
            f"{len(failed)} could not be encoded, nothing was committed:\n{lines}",
            "Correct what they name and run the same command again: what was encoded is not encoded again.",
        )
    return rows
