"""The vision transformer of DINO, in the layout of its published files, which DreamSim's three members share.

Own code because libraries resize the position table otherwise than DINO does, which moves features of pictures that
are not square. Shapes: B pictures, N tokens, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a ViT; the defaults are DINO's ViT-B/16. ``grid``: patches a side that the position table is for."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    grid: int = 14
    norm_eps: float = 1e-6
    quick_gelu: bool = False
    norm_first: bool = False
    """whether tokens are normalised before the first block, as in CLIP"""
    norm_last: bool = True
    """whether CLS is given after the final norm"""
    projection: int | None = None
    """columns of a linear map behind it, without bias"""


class VisionTransformer(nn.Module):
    """(B, 3, H, W) normalised pixels -> (B, D), or (B, ``projection``): the CLS token. Patches beyond H/16 are cut."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + shape.grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, shape.patch, shape.patch)})
        self.pos_drop = nn.LayerNorm(width, shape.norm_eps) if shape.norm_first else nn.Identity()
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, shape.norm_eps)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, shape.projection)) if shape.projection else None

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        patches_BDhw = self.patch_embed["proj"](pixels_BCHW)
        tokens_BND = torch.cat([self.cls_token.expand(len(pixels_BCHW), -1, -1), patches_BDhw.flatten(2).mT], dim=1)
        tokens_BND = self.pos_drop(tokens_BND + self.positions(*patches_BDhw.shape[2:]))
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        cls_BD = tokens_BND[:, 0]
        cls_BD = self.norm(cls_BD) if self.shape.norm_last else cls_BD
        return cls_BD if self.proj is None else cls_BD @ self.proj

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position table for a grid of patches, (1, 1 + rows * columns, D).

        Bicubic with the scale (n + 0.1) / grid, not n / grid: DINO adds the tenth against rounding, and its sampling
        points move with it.
        """
        grid, width = self.shape.grid, self.shape.width
        if rows == columns == grid:
            return self.pos_embed
        table = self.pos_embed[:, 1:].reshape(1, grid, grid, width).permute(0, 3, 1, 2)
        scale = (rows + 0.1) / grid, (columns + 0.1) / grid
        table = F.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], table.flatten(2).mT], dim=1)


class _Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.width
        self.heads, self.quick_gelu = shape.heads, shape.quick_gelu
        self.norm1, self.norm2 = (nn.LayerNorm(width, shape.norm_eps) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens_BND: Tensor) -> Tensor:
        tokens_BND = tokens_BND + self._attention(self.norm1(tokens_BND))
        hidden = self.mlp["fc1"](self.norm2(tokens_BND))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick_gelu else F.gelu(hidden)
        return tokens_BND + self.mlp["fc2"](hidden)

    def _attention(self, tokens_BND: Tensor) -> Tensor:
        query, key, value = self.attn["qkv"](tokens_BND).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.attn["proj"](F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
