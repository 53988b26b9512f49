"""Pictures and poses to encoded parts of conditions: the same for the dataset, for training and for inference.

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent), N D tokens and width.
Frames are uint8 RGB (H, W, 3); sizes are (height, width).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.encoders import Encoders
from model.pose.drawing import draw_pose
from model.pose.tracks import PoseTrack


class EncodedImage(NamedTuple):
    latent_BCTHW: Tensor
    """(1, 16, T, H, W): codec of the picture followed by grey frames."""
    clip_BND: Tensor
    """(1, 257, D)"""


class EncodedPose(NamedTuple):
    latent_BCTHW: Tensor
    """(1, 16, T, H, W): codec of the drawn pose."""
    clip_BND: Tensor
    """(1, 257, D): of its first frame."""


def to_signed(frames: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(frames)).movedim(-1, -3).float() / 127.5 - 1


def to_pixels(video_BCTHW: Tensor, *, nearest: bool = False) -> np.ndarray:
    """(1, 3, T, H, W) in [-1, 1] to (T, H, W, 3) uint8.

    Truncated as the official writer does (specification 3.5), or to the ``nearest``: what goes through the model again
    would lose half a grey level each time.
    """
    pixels_THWC = (video_BCTHW[0].clamp(-1, 1) + 1) / 2 * 255 + (0.5 if nearest else 0.0)
    return pixels_THWC.permute(1, 2, 3, 0).to(torch.uint8).cpu().numpy()


def resize(image_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic without antialiasing, overshoot kept (specification 3.2.4)."""
    return F.interpolate(image_BCHW, size=size, mode="bicubic", align_corners=False)


def encode_image(encoders: Encoders, image: np.ndarray, frames: int, size: tuple[int, int]) -> EncodedImage:
    """A reference picture of any size, for a video of ``frames`` (4k+1) frames of ``size`` (specification 1.7, 3.2)."""
    image_BCHW = to_signed(image)[None]
    video = torch.zeros(1, 3, frames, *size)
    video[:, :, 0] = resize(image_BCHW, size)
    return EncodedImage(encoders.codec.encode(video), encoders.image(image_BCHW))


def pose_latent(encoders: Encoders, pictures: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """(1, 16, T, H, W): codec of condition pictures (h, w, 3), 4k+1 of them, for a video of ``size``."""
    video = torch.empty(1, 3, len(pictures), *size)
    for t, picture in enumerate(pictures):
        video[:, :, t] = resize(to_signed(picture)[None], size)
    return encoders.codec.encode(video)


def encode_pose(
    encoders: Encoders, track: PoseTrack, track_size: tuple[int, int], size: tuple[int, int]
) -> EncodedPose:
    """A pose in pixels of the reference picture (``track_size``), drawn and encoded for a video of ``size``.

    CLIP sees the first picture as it is (specification 3.2).
    """
    pictures = DrawnPoses([track], track_size, size)
    return EncodedPose(pose_latent(encoders, pictures, size), encoders.image(to_signed(pictures[0])[None]))


class DrawnPoses(Sequence):
    """The condition pictures of one or several persons, drawn when they are asked for: (H, W, 3) uint8 RGB each.

    Drawn on twice ``size``, that of the video, and resized to ``track_size``, that of the reference picture, as the
    official pose frames are (specification 3.2, 4.3). ``tracks`` are in pixels of the latter and equally long.
    """

    def __init__(self, tracks: Sequence[PoseTrack], track_size: tuple[int, int], size: tuple[int, int]):
        self.tracks, self.track_size, self.canvas = tracks, track_size, (2 * size[0], 2 * size[1])

    def __len__(self) -> int:
        return len(self.tracks[0])

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < len(self):
            raise IndexError(t)
        people = (np.stack([getattr(track, part)[t] for track in self.tracks]) for part in ("keypoints", "scores"))
        canvas = Image.fromarray(draw_pose(*people, self.track_size, self.canvas))
        return np.asarray(canvas.resize(self.track_size[::-1], Image.Resampling.BICUBIC))


class Motion(NamedTuple):
    """Two equally long sequences of condition pictures, (H, W, 3) uint8 RGB in the size of the reference picture."""

    positive: Sequence[np.ndarray]
    negative: Sequence[np.ndarray]
