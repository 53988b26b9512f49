"""One scene to one video file: generated, its first frame checked, written with what it was made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from infra import commits
from infra.config import config_hash, identity
from infra.errors import SteadyDancerError
from infra.schema import Config
from model import video
from model.animate import generate
from model.animation.out_of_memory import Job, explained
from model.animation.parts import Parts
from model.animation.provenance import provenance
from model.animation.reporting import Report
from model.animation.request import Request
from model.animation.scenes import Scene
from model.denoising import Preview
from model.inputs import resize, to_pixels, to_signed
from model.pose.reading import size_text

LEAST_LIKE = 20.0
"""dB, of the first frame against the picture that it repeats."""


def render(
    config: Config,
    request: Request,
    parts: Parts,
    scene: Scene,
    job: Job,
    seed: int,
    path: Path,
    report: Report,
    title: str,
) -> tuple[int, int]:
    """Writes ``path``, an mp4, whole or not at all; returns the (height, width) of its frames.

    With ``request.preview`` a few frames stand in ``NAME.preview.png`` beside it while it is made; it goes when
    that ends, however it does. Raises OutOfMemory, and SteadyDancerError as :func:`generate`.
    """
    fps = parts.clip.fps
    comment = _provenance(config, request, parts, scene, seed) if request.provenance else {}
    with (
        report.task(title) as update,
        explained(job, parts.device),
        _previews(path.with_suffix(".preview.png")) as preview,
    ):
        frames = generate(
            parts.model,
            parts.encoders,
            scene.reference,
            scene.motion(job.frames, seed),
            scene.prompt,
            config.animate,
            seed=seed,
            window=job.window,
            device=parts.device,
            progress=update,
            preview=preview if request.preview else None,
        )
    size = frames.shape[1:3]
    like = psnr(frames[0], shown_reference(scene.reference, size))
    published(path, lambda draft: video.write(draft, frames, fps, metadata=comment))
    report.made(
        f"{path}: {len(frames)} frames of {size_text(size)} at {fps:g} fps, seed {seed}; "
        f"the first is like the picture to {like:.1f} dB."
    )
    if like < LEAST_LIKE:
        report.note_once(
            f"A first frame below {LEAST_LIKE:g} dB is unlike the picture. The model may be too little trained, as the "
            "demo's is, or the encoders not those that it was trained with."
        )
    return size


def _provenance(config: Config, request: Request, parts: Parts, scene: Scene, seed: int) -> dict[str, str]:
    """The encoders are told by their weights, wherever these lie."""
    encoders = parts.encoders.ids
    sections = {"animate": config.animate, "pose": config.pose, "clip": parts.clip}
    used = {name: identity(section) for name, section in sections.items()}
    return provenance(
        model=parts.id,
        encoders=encoders,
        loras=request.loras,
        inputs=scene.inputs,
        seed=seed,
        animate=used["animate"],
        settings=config_hash({**used, "encoders": encoders, "prompt": scene.prompt, "people": request.people}),
    )


def shown_reference(reference: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture as the model is given it, (h, w, 3) uint8."""
    return to_pixels(resize(to_signed(reference)[None], size)[:, :, None])[0]


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pictures, in dB."""
    error = np.square(image.astype(np.float64) - other).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def published(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` into a draft beside ``path``, which takes its place once it is whole. Raises SteadyDancerError."""
    try:
        with commits.draft(path) as folder:
            write(folder / path.name)
            (folder / path.name).replace(path)
    except OSError as error:
        raise SteadyDancerError(f"{path} cannot be written: {error.strerror}.", "Choose another --out.") from error


@contextmanager
def _previews(path: Path) -> Iterator[Preview]:
    """What shows each picture in ``path``, which is gone in the end if there was one."""
    shown = False

    def show(step: int, picture: np.ndarray) -> None:
        nonlocal shown
        published(path, lambda draft: Image.fromarray(picture).save(draft))
        shown = True

    try:
        yield show
    finally:
        if shown:
            path.unlink(missing_ok=True)
