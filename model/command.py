"""`steadydancer animate`: files in, an mp4 out."""

from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from infra import commits
from infra.errors import SteadyDancerError
from infra.schema import Clip, Config, Encode, Model
from model import video
from model.animate import animate
from model.checkpoint import load_model
from model.encoders import build_encoders
from model.pose.estimator import build_estimator
from model.pose.reading import bounded, read_driving_track, read_reference, size_text


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
    estimator, clip = build_estimator(config.pose), Clip(**trained["clip"])
    reference = read_reference(image, estimator)
    if reference.note:
        Console(stderr=True).print(reference.note, style="yellow", markup=False)
    full = reference.picture.shape[:2]
    size = bounded(full)
    picture, pose = video.resize(reference.picture, size), reference.pose.resized(full, size)
    track, track_size = read_driving_track(driving, estimator, config.pose, clip.fps, seconds=clip.seconds)
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
            reference_pose=pose,
            alignment="official" if config.pose.compat else "robust",
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    made = f"steadydancer model={commit.id} image={image.name} driving={driving.name} seed={config.seed}"
    video.write(out, frames, clip.fps, metadata={"comment": made})
    told = f"{out}: {len(frames)} frames of {size_text(frames.shape[1:3])} from a picture of {size_text(size)}."
    Console().print(told, markup=False)
    return out
