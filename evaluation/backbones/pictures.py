"""Pictures as networks are shown them: resized, cropped and normalised as the published metrics do.

Upstream resizes float tensors of 0..255 without antialiasing and without clamping, except where it reads a reference
image, which goes through Pillow. Shapes: N pictures of H x W pixels.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""(mean, standard deviation) per channel of pictures in 0..1."""


def pixels(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in 0..255."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float()


def normalised(unit_NCHW: Tensor, mean_and_std: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """Pictures in 0..1 less the mean, over the standard deviation."""
    mean, std = (unit_NCHW.new_tensor(values).view(1, 3, 1, 1) for values in mean_and_std)
    return (unit_NCHW - mean) / std


def resized(pixels_NCHW: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """To (height, width) without antialiasing; bicubic may leave 0..255, as upstream."""
    return F.interpolate(pixels_NCHW, size=size, mode=mode, align_corners=False, antialias=False)


def shorter_side(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) with the shorter one ``side``, the longer one cut to a whole number: 576 x 1024 -> 224 x 398."""
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def no_longer_than(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width), scaled down where the longer one is beyond ``side``, both cut to whole numbers of at least 1."""
    longer = max(height, width)
    if longer <= side:
        return height, width
    scale = side / longer
    return max(1, int(scale * height)), max(1, int(scale * width))


def centre_crop(pixels_NCHW: Tensor, side: int) -> Tensor:
    """The middle ``side`` x ``side`` pixels; half pixels round to even."""
    height, width = pixels_NCHW.shape[2:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels_NCHW[:, :, top : top + side, left : left + side]


def resized_by_pillow(pictures: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, *size) float32 in 0..255: bicubic, antialiased, rounded to whole levels."""
    height, width = size
    small = [Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC) for picture in pictures]
    return pixels(np.stack([np.asarray(picture) for picture in small]))
