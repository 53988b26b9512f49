"""`steadydancer animate`: files in, an mp4 out."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from infra import commits
from infra.errors import SteadyDancerError
from infra.schema import Clip, Config, Encode, Model
from model import video
from model.animate import animate
from model.checkpoint import load_model
from model.encoders import build_encoders
from model.pose.estimator import PoseEstimator, build_estimator
from model.pose.tracks import PoseTrack

LONGEST_SIDE = 1280


def animate_files(config: Config, *, image: Path, driving: Path, out: Path, checkpoint: Path, prompt: str = "") -> Path:
    """Writes ``out``: the person of ``image`` moving like ``driving``, a video or the pose track of one beside it.

    ``checkpoint`` is a stage's committed folder. Model, inputs and seed go into the file's metadata. Raises
    SteadyDancerError for a picture without a person, a driving that is too short, and folders that hold no checkpoint.
    """
    if out.suffix != ".mp4":
        raise SteadyDancerError(f"{out}: the video is written as mp4.", "End the name in .mp4.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SteadyDancerError(f"{out.parent} cannot be made: {error.strerror}.", "Choose another --out.") from None
    commit = commits.verify(checkpoint)
    if commit.kind != "checkpoint":
        raise SteadyDancerError(f"{checkpoint} is a {commit.kind}, not a checkpoint.", "Give a stage's folder.")
    trained = commit.config  # what it was trained with decides how it is used, whatever config is loaded
    encode, base = Encode(**trained["encode"]), Model(**trained["model"])
    picture, estimator, clip = read_picture(image), build_estimator(config.pose), Clip(**trained["clip"])
    size = picture.shape[:2]
    if not (people := estimator.estimate(picture[None])):
        raise SteadyDancerError(f"{image}: nobody was found in it.", "Use a picture that shows one person.")
    track, track_size = read_driving(driving, clip.frames, clip.fps, estimator)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, encoders = load_model(commit.path / "model", device=device), build_encoders(encode, base, device)
    columns = TextColumn("Animating"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        frames = animate(
            model,
            encoders,
            picture,
            track,
            track_size,
            prompt,
            config.animate,
            frames=clip.frames,
            fps=clip.fps,
            seed=config.seed,
            reference_pose=people[0],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    made = f"steadydancer model={commit.id} image={image.name} driving={driving.name} seed={config.seed}"
    video.write(out, frames, clip.fps, metadata={"comment": made})
    Console().print(
        f"{out}: {len(frames)} frames of {size_text(frames.shape[1:3])} from a picture of {size_text(size)}."
    )
    return out


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, transparency over white, at most 1280 pixels a side. Raises SteadyDancerError."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise SteadyDancerError(f"{path}: not a readable picture ({error}).", "Give a PNG, JPEG or WebP.") from error
    white = Image.new("RGBA", picture.size, "white")
    frame = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    return video.resize(frame, bounded(frame.shape[:2]))


def read_driving(path: Path, frames: int, fps: float, estimator: PoseEstimator) -> tuple[PoseTrack, tuple[int, int]]:
    """The most prominent person's pose at ``fps``, and the (height, width) its pixels belong to.

    Of a video, or of a saved track ``x.pose.npz``, already at ``fps``, with its video ``x.mp4`` beside it for the size.
    """
    if path.suffix == ".npz":
        clip = path.with_name(path.name.removesuffix(".npz").removesuffix(".pose") + ".mp4")
        if not clip.exists():
            raise SteadyDancerError(f"{path}: {clip.name} is not beside it.", "Its size is needed, or give the video.")
        info = video.probe(clip)
        return PoseTrack.load(path), (info.height, info.width)
    info = video.probe(path)
    size = bounded((info.height, info.width))
    people = estimator.estimate(video.read_at(path, 0.0, frames, fps, size))
    if not people:
        raise SteadyDancerError(f"{path}: nobody was found in it.", "Use a video that shows one person.")
    return people[0], size


def bounded(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) within 1280 pixels a side, the aspect kept."""
    factor = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def size_text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
