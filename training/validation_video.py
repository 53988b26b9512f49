"""Videos of held-out clips from a checkpoint: what the model generates, beside the clip itself and the pose.

The same clips, noise and negative poses at every step and stage, so that what differs is the model.

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent), L D text tokens and
width. Pictures are uint8 RGB.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from infra.commits import Commit
from infra.schema import Config
from model import video
from model.checkpoint import PRECISION
from model.conditions import assemble
from model.denoising import Denoiser, Window
from model.encoders import build_encoders
from model.guidance import Passes
from model.inputs import DrawnPoses, pose_latent, to_pixels
from model.pose.perturbation import negative
from model.pose.tracks import PoseTrack
from model.resolution import SPACE
from model.windows import Span
from training.adapters import merge
from training.clips.data import EncodedClip
from training.clips.raw import open_clips
from training.trainer import starting_model

PANEL, STRIP, COLUMNS = 192, 20, 5
"""Pixels: a picture's width at least, a line of text; frames of a clip in the contact sheet."""


class Shown(NamedTuple):
    """What there is to see of a clip, (T, H, W, 3) each."""

    clip_id: str
    generated: np.ndarray
    true: np.ndarray
    """The clip itself, through the codec."""
    pose: np.ndarray
    """What the model was to follow."""

    @property
    def panels(self) -> dict[str, np.ndarray]:
        """By name, in the order they are shown; enlarged by whole times, so that every pixel stays what it is."""
        times = -(-PANEL // self.true.shape[2])
        frames = self._asdict()
        return {name: frames[name].repeat(times, 1).repeat(times, 2) for name in ("generated", "true", "pose")}


def write_preview(
    config: Config, number: int, parent: str | None, state: Path, data: Commit, out: Path, *, step: int, device: str
) -> None:
    """Writes ``clip-ID.mp4`` (generated, true, pose side by side) of each clip and ``sheet.jpg`` of all into ``out``.

    The weights are those of the folder ``state`` (``trained-*.safetensors``) on what stage ``number`` started from:
    the commit at ``parent``, or the base. Generated are the first ``train.validation_clips`` clips that are held out,
    or where none is those that are trained on. Raises SteadyDancerError for weights that do not fit, and Unreadable.
    """
    stage = config.train.stages[number - 1]
    model = starting_model(config, parent, PRECISION[config.animate.precision], device)
    files = sorted(state.glob("trained-*.safetensors"))
    merge(model, {name: tensor for file in files for name, tensor in load_file(file).items()}, stage)
    only_codec = config.encode.model_copy(update={"image": "embedded", "text": "embedded"})
    settings = config.animate.model_copy(update={"offload": "none"})
    denoiser = Denoiser(model, build_encoders(only_codec, config.model, device), settings, torch.device(device))

    train, held_out = open_clips(data, config, device)
    clips = held_out if len(held_out) else train
    title = f"stage {number} {stage.objective.replace('_', ' ')}, step {step}"
    out.mkdir(parents=True, exist_ok=True)
    seen = []
    for row in range(min(config.train.validation_clips, len(clips))):
        draws = np.random.default_rng([config.seed, row])
        clip = sampled(denoiser, clips[row], torch.from_numpy(clips.null_text), draws)
        name = re.sub(r"[^\w-]", "_", clip.clip_id)[:100]
        video.write(out / f"clip-{name}.mp4", side_by_side(clip, title), config.clip.fps)
        seen.append(clip)
    Image.fromarray(contact_sheet(seen, title)).save(out / "sheet.jpg", quality=90)


@torch.no_grad()
def sampled(denoiser: Denoiser, clip: EncodedClip, null_text_LD: Tensor, draws: np.random.Generator) -> Shown:
    """The clip's first frame moved by the clip's pose, guided as :func:`model.animate.generate` is.

    Without text stands ``null_text_LD``; noise and negative pose come from ``draws``. Of the encoders only the codec is
    used.
    """
    noise_CTHW = draws.standard_normal(clip.latent.shape, dtype=np.float32)
    wrong_track = negative(PoseTrack(clip.keypoints, clip.scores), draws)
    size = tuple(SPACE * side for side in clip.latent.shape[2:])
    noise, true, pose, image, clip_image, clip_pose = (
        torch.from_numpy(part)[None].to(denoiser.device)
        for part in (noise_CTHW, clip.latent, clip.pose_latent, clip.image_latent, clip.clip_image, clip.clip_pose)
    )
    right = assemble(image, pose, clip_image, clip_pose, [torch.from_numpy(clip.text).to(denoiser.device)])
    wrong = pose_latent(denoiser.encoders, DrawnPoses([wrong_track], size, size), size)
    passes = Passes(right, right.with_text([null_text_LD]), right.with_pose_latent(wrong))
    generated = denoiser.denoise([Window(Span(0, true.shape[2]), passes)], noise)
    return Shown(clip.clip_id, *(to_pixels(denoiser.decode(latent)) for latent in (generated, true, pose)))


def side_by_side(clip: Shown, title: str) -> np.ndarray:
    """(T, H, W, 3), sides even."""
    headed = [np.concatenate([_line(name, frames), frames], axis=1) for name, frames in clip.panels.items()]
    joined = np.concatenate(headed, axis=2)
    return np.concatenate([_line(f"{title}, {clip.clip_id}", joined), joined], axis=1)


def contact_sheet(clips: Sequence[Shown], title: str) -> np.ndarray:
    """(H, W, 3): of every clip a few frames, generated above true above pose. Clips may be of several sizes."""
    strips = []
    for clip in clips:
        for place, (name, frames) in enumerate(clip.panels.items()):
            at = np.linspace(0, len(frames) - 1, min(COLUMNS, len(frames))).round().astype(int)
            row = np.concatenate(list(frames[at]), axis=1)
            strips += [_line(name if place else f"{clip.clip_id}: {name}", row[None])[0], row]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return np.concatenate([_line(title, padded[0][None])[0], *padded])


def _line(text: str, below_THWC: np.ndarray) -> np.ndarray:
    """(T, STRIP, W, 3): a line of text as wide as what it stands above."""
    line = np.full((STRIP, below_THWC.shape[2], 3), 255, np.uint8)
    cv2.putText(line, text, (4, STRIP - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return np.broadcast_to(line, (len(below_THWC), *line.shape))
