"""A pair folder: a reference picture and its condition pictures, in the layout of the official release.

Specification section 5. Its inference script takes ``positive/``, ``negative/``, ``ref_image.png`` and the text of
``prompt.txt`` from such a folder as they are.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from infra import commits
from infra.commits import Commit
from infra.errors import SteadyDancerError
from model import video
from model.pose.alignment import align, limb_ratios
from model.pose.drawing import draw_pose
from model.pose.perturbation import negative, official_draws, stretched
from model.pose.reading import Driving, Reference, frames_shown
from model.pose.tracks import PoseTrack
from model.pose.wholebody import select_person
from model.resolution import output_size

AREA = 1024 * 576
"""What the release renders at; its condition pictures are twice as wide and high."""
JPEG_QUALITY = 95
PREVIEW_HEIGHT = 480


def write_pair(
    folder: Path,
    reference: Reference,
    driving: Driving,
    driving_video: Path,
    prompt: str,
    *,
    frames: int,
    seed: int,
    compat: bool = False,
    progress: Callable[[], None] | None = None,
) -> Commit:
    """``folder``, new or empty, whole or not at all: a picture per pose of the driving's main person.

    The pictures have the reference's aspect. ``compat`` aligns and perturbs as the official release does, with Python's
    random numbers of ``seed``. ``meta["ratios"]`` of the commit tells by how much each body part was scaled. Raises
    SteadyDancerError where the folder is not empty, and where there are fewer poses than ``frames``.
    """
    refuse_unless_new(folder)
    track = _with_anothers_hand(driving) if compat and len(driving.people) > 1 else driving.people[0].track
    refuse_if_short(driving_video, len(track), driving.fps, frames)
    size = reference.picture.shape[:2]
    placed = track, driving.size, reference.pose, size, "official" if compat else "robust"
    aligned, ratios = align(*placed), limb_ratios(*placed)
    if compat:
        wrong = stretched(aligned, *official_draws(seed, len(aligned)))
    else:
        wrong = negative(aligned, np.random.default_rng(seed))
    height, width = output_size(AREA, *size)
    canvas = 2 * height, 2 * width
    config = {"seed": seed, "compat": compat, "fps": driving.fps}
    scaled = {part: ratio._asdict() for part, ratio in ratios.items() if np.isfinite(ratio.value)}
    meta = {"poses": len(track), "people": reference.people, "ratios": scaled}
    with commits.write(folder, "pair", config=config, meta=meta) as draft:
        for name in ("positive", "negative"):
            (draft / name).mkdir()
        Image.fromarray(reference.picture).save(draft / "ref_image.png")
        (draft / "prompt.txt").write_text(prompt.strip() + "\n" if prompt.strip() else "", encoding="utf-8")
        if driving_video.suffix.lower() == ".mp4" and driving.whole:
            shutil.copyfile(driving_video, draft / "driving_video.mp4")
        else:
            shown = frames_shown(driving_video, driving.shown)
            video.write(draft / "driving_video.mp4", map(_even, shown), driving.fps)
        panels, shown = (
            _panels(draft, reference, aligned, wrong, canvas, progress),
            frames_shown(driving_video, driving.shown),
        )
        joined = (np.concatenate([*row, _panel(image)], axis=1) for row, image in zip(panels, shown, strict=True))
        video.write(draft / "preview.mp4", joined, driving.fps)
    return commits.read(folder)


def _with_anothers_hand(driving: Driving) -> PoseTrack:
    """The release's mix-up of several persons: the first with the second one's left hand as the right one."""
    tracks = [driven.track for driven in driving.people]
    arrays = (np.stack([getattr(track, name) for track in tracks], axis=1) for name in ("keypoints", "scores"))
    return PoseTrack(*select_person(*arrays, compat=True))


def refuse_if_short(driving_video: Path, poses: int, fps: float, frames: int) -> None:
    """Raises SteadyDancerError where there are fewer poses than ``frames``."""
    if poses < frames:
        raise SteadyDancerError(
            f"{driving_video}: {poses} poses at {fps:g} fps, a pair needs {frames}.",
            f"Use a video of at least {frames / fps:.2f} s, or fewer frames (clip.frames).",
        )


def refuse_unless_new(folder: Path) -> None:
    """Raises SteadyDancerError unless ``folder`` is absent or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SteadyDancerError(f"{folder} is there already and not empty.", "Give a new folder for the pair.")


def _panels(
    draft: Path,
    reference: Reference,
    aligned: PoseTrack,
    wrong: PoseTrack,
    canvas: tuple[int, int],
    progress: Callable[[], None] | None,
) -> Iterator[list[np.ndarray]]:
    """Writes the condition pictures frame by frame, and gives each frame's row of the preview as far as it goes."""
    size, still = reference.picture.shape[:2], _panel(reference.picture)
    for t in range(len(aligned)):
        row = [still]
        for name, track in (("positive", aligned), ("negative", wrong)):
            picture = draw_pose(track.keypoints[t], track.scores[t], size, canvas)
            done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if not done:
                raise SteadyDancerError(f"{draft / name}: frame {t} could not be written as JPEG.")
            (draft / name / f"{t:04d}.jpg").write_bytes(data.tobytes())
            row.append(_panel(picture))
        if progress is not None:
            progress()
        yield row


def _panel(image: np.ndarray) -> np.ndarray:
    """Scaled to the preview's height, with an even width."""
    width = max(2, round(image.shape[1] * PREVIEW_HEIGHT / image.shape[0] / 2) * 2)
    return video.resize(image, (PREVIEW_HEIGHT, width))


def _even(image: np.ndarray) -> np.ndarray:
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
