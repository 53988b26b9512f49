"""MUSIQ fitted to SPAQ: the technical quality of a picture, from patches of it at three sizes.

Written from the paper (arXiv 2108.05997) and the facts of its Apache-2.0 release, whose checkpoint it reads. Sizes are
made as VBench's loader makes them, bicubic without antialiasing, where the release has a Gaussian kernel. Scores
have not been compared with those of published code, for lack of the weights: GELU is the release's tanh form, which
VBench's loader need not have. Shapes: B pictures, N patches, D width.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import fill, read_tensors, seeded
from evaluation.backbones.pictures import no_longer_than, pixels, resized

KEY = "musiq_spaq"
PATCH = 32
LONGER_SIDES = (224, 384)
"""Of the smaller copies; the third size is the picture's own."""
GRID = 10
"""Rows and columns of the table that places are hashed to."""
ROOT = 64


@dataclass(frozen=True)
class Shape:
    width: int = 384
    depth: int = 14
    heads: int = 6
    hidden: int = 1152


class Musiq(nn.Module):
    """(B, 3, H, W) pixels in -1..1 -> (B,) scores, nominally 0..100."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.conv_root, self.gn_root = _StandardisedConv(3, ROOT, 7, 2), nn.GroupNorm(32, ROOT, eps=1e-6)
        self.unit = _Bottleneck(ROOT)
        self.embedding = nn.Linear(4 * ROOT * (PATCH // 4) ** 2, shape.width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, GRID**2, shape.width))
        self.scales = nn.Parameter(0.02 * torch.randn(1, len(LONGER_SIDES) + 1, shape.width))
        self.cls = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.head = nn.Linear(shape.width, 1)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        # The release pads the sequence and masks the padding, which is the same as not having it.
        tokens = [self.tokens(copy, scale) for scale, copy in enumerate(copies(pixels_BCHW))]
        tokens_BND = torch.cat([self.cls.expand(len(pixels_BCHW), -1, -1), *tokens], dim=1)
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        return self.head(self.norm(tokens_BND[:, 0]))[:, 0]

    def tokens(self, pixels_BCHW: Tensor, scale: int) -> Tensor:
        """(B, N, D) of one size's patches, row by row, with the embeddings of their places and of the size."""
        count = len(pixels_BCHW)
        patches, rows, columns = patches_of(pixels_BCHW)
        x = F.relu(self.gn_root(self.conv_root(patches)))
        x = self.unit(F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2))  # zeros lose against what ReLU left
        embedded = self.embedding(x.permute(0, 2, 3, 1).flatten(1)).unflatten(0, (count, -1))
        return embedded + self.positions[:, hashed_places(rows, columns)] + self.scales[:, scale]


def copies(pixels_BCHW: Tensor) -> list[Tensor]:
    """The picture at its three sizes, the largest last."""
    height, width = pixels_BCHW.shape[2:]
    ratios = [side / max(height, width) for side in LONGER_SIDES]
    sizes = [(max(1, round(height * ratio)), max(1, round(width * ratio))) for ratio in ratios]
    return [*(resized(pixels_BCHW, size, "bicubic") for size in sizes), pixels_BCHW]


def patches_of(pixels_BCHW: Tensor) -> tuple[Tensor, int, int]:
    """(B * rows * columns, 3, 32, 32), rows, columns. The edges are filled with 0, half on either side."""
    height, width = pixels_BCHW.shape[2:]
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    down, right = rows * PATCH - height, columns * PATCH - width
    padded = F.pad(pixels_BCHW, (right // 2, right - right // 2, down // 2, down - down // 2))
    cut = padded.unflatten(3, (columns, PATCH)).unflatten(2, (rows, PATCH))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2), rows, columns


def hashed_places(rows: int, columns: int) -> Tensor:
    """(rows * columns,) long: each patch's entry of the 10 x 10 table, by nearest neighbour along either side."""
    table = torch.arange(GRID).float().view(1, 1, GRID)
    row, column = (F.interpolate(table, size=count, mode="nearest").long().flatten() for count in (rows, columns))
    return (row[:, None] * GRID + column).flatten()


class _StandardisedConv(nn.Conv2d):
    """Its weights have mean 0 and deviation 1 per output channel. Pads as TensorFlow's SAME does."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = centred / (centred.std((1, 2, 3), correction=0, keepdim=True) + 1e-5)
        kernel, stride, side = self.kernel_size[0], self.stride[0], x.shape[-1]
        more = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        return F.conv2d(F.pad(x, (more // 2, more - more // 2) * 2), weight, stride=stride)


class _Bottleneck(nn.Module):
    """The one residual unit of the patch embedding: to four times the channels, at the same size."""

    def __init__(self, width: int):
        super().__init__()
        self.conv_proj, self.gn_proj = _StandardisedConv(width, 4 * width, 1), nn.GroupNorm(32, 4 * width, eps=1e-4)
        self.conv1, self.gn1 = _StandardisedConv(width, width, 1), nn.GroupNorm(32, width, eps=1e-4)
        self.conv2, self.gn2 = _StandardisedConv(width, width, 3), nn.GroupNorm(32, width, eps=1e-4)
        self.conv3, self.gn3 = _StandardisedConv(width, 4 * width, 1), nn.GroupNorm(32, 4 * width, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.gn1(self.conv1(x)))
        y = F.relu(self.gn2(self.conv2(y)))
        return F.relu(self.gn_proj(self.conv_proj(x)) + self.gn3(self.conv3(y)))


class _Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, shape.hidden), nn.Linear(shape.hidden, width)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        seen = self.norm1(tokens_BND)
        parts = [
            part(seen).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        ]
        tokens_BND = tokens_BND + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return tokens_BND + self.fc2(F.gelu(self.fc1(self.norm2(tokens_BND)), approximate="tanh"))


_NAMES = (
    (r"^opt/target/", ""),
    (r"^block1/unit1/", "unit."),
    (r"^Transformer/posembed_input/pos_embedding$", "positions"),
    (r"^Transformer/scaleembed_input/scale_embedding$", "scales"),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"^Transformer/encoder_norm/", "norm."),
    (r"^Transformer/cls$", "cls"),
    (r"LayerNorm_0/", "norm1."),
    (r"(MultiHeadDotProductAttention|SelfAttention)_1/", ""),
    (r"LayerNorm_2/", "norm2."),
    (r"MlpBlock_3/Dense_0/", "fc1."),
    (r"MlpBlock_3/Dense_1/", "fc2."),
    (r"/?(kernel|scale)$", ".weight"),
    (r"/", "."),
    (r"\.\.", "."),
)


def in_our_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's arrays under the names of :class:`Musiq` and in PyTorch's order of axes; others as they are."""
    ours = {}
    for name, tensor in tensors.items():
        if name.startswith("opt/") and not name.startswith("opt/target/"):
            continue  # the optimiser's own
        renamed = name
        for pattern, replacement in _NAMES:
            renamed = re.sub(pattern, replacement, renamed)
        ours[renamed] = _reordered(name, tensor)
    return ours


def _reordered(name: str, array: Tensor) -> Tensor:
    if name.endswith("/kernel"):
        if array.ndim == 4:
            return array.permute(3, 2, 0, 1)
        if array.ndim == 3:  # heads have an axis of their own
            array = array.flatten(0, 1) if "/out/" in name else array.flatten(1)
        return array.T
    return array.flatten() if name.endswith(("/scale", "/bias")) else array


def load(files: Mapping[str, Path], shape: Shape | None = None) -> Musiq:
    """From the release's .npz, or a .safetensors of the same names. Raises SteadyDancerError for another network's."""
    path = files[KEY]
    return fill(Musiq(shape or Shape()), in_our_layout(read_tensors(path)), path, "MUSIQ of three scales, one score")


def random(seed: int, shape: Shape | None = None) -> Musiq:
    return seeded(lambda: Musiq(shape or Shape()), seed)


def prepared(pictures: np.ndarray) -> Tensor:
    """Longer side at most 512, in -1..1."""
    small = resized(pixels(pictures), no_longer_than(*pictures.shape[1:3], 512), "bilinear")
    return small / 127.5 - 1


MUSIQ_SPAQ = Backbone(
    name="musiq_spaq",
    version=1,
    preprocessing="longer512-bilinear-aa0-scales224+384bicubic",
    network="musiq_spaq",
    weights=(
        Weights(
            KEY,
            licence="Apache-2.0; the terms of SPAQ's photographs are not known",
            source="https://storage.googleapis.com/gresearch/musiq/spaq_ckpt.npz",
        ),
    ),
    load=load,
    random=random,
    embed=lambda network, pictures, _: in_batches(network, prepared, pictures),
)
