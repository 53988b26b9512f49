"""I3D (Carreira and Zisserman 2017: Inception-v1 inflated to three dimensions) for benchmarks; it reads no weights."""

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {  # channels of: 1x1 | 1x1, 3x3x3 | 1x1, 3x3x3 | 1x1 after pooling
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
POOLED_BEFORE = {"3b": (1, 3, 2), "4b": (3, 3, 2), "5b": (2, 2, 2)}  # kernel in time, in space; stride in space


def same(x_NCTHW: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    """Padded with zeros as TensorFlow's "SAME" does: what is odd goes behind."""
    padding: list[int] = []
    for length, k, s in zip(x_NCTHW.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        missing = max((-(-length // s) - 1) * s + k - length, 0)
        padding += [missing // 2, missing - missing // 2]
    return F.pad(x_NCTHW, padding)


def max_pool(x_NCTHW: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    return F.max_pool3d(same(x_NCTHW, kernel, stride), kernel, stride)  # after a ReLU: no zero outweighs a value


class Unit(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.convolution = nn.Conv3d(channels, out, kernel, stride, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight)  # so that random weights let pictures through
        self.norm = nn.BatchNorm3d(out, eps=0.001)

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.convolution(same(x_NCTHW, self.kernel, self.stride))))


class Block(nn.Module):
    def __init__(self, channels: int, sizes: tuple[int, ...]):
        super().__init__()
        one, narrow, wide, narrower, less_wide, pooled = sizes
        self.point = Unit(channels, one, 1)
        self.first = nn.Sequential(Unit(channels, narrow, 1), Unit(narrow, wide, 3))
        self.second = nn.Sequential(Unit(channels, narrower, 1), Unit(narrower, less_wide, 3))
        self.pooled = Unit(channels, pooled, 1)
        self.out = one + wide + less_wide + pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.point(x), self.first(x), self.second(x), self.pooled(around)], 1)


class I3D(nn.Module):
    """(N, 3, T, 224, 224) in -1..1 to the logits of 400 classes, (N, 400). T is at least 9."""

    def __init__(self):
        super().__init__()
        self.stem = nn.ModuleList([Unit(3, 64, 7, 2), Unit(64, 64, 1), Unit(64, 192, 3)])
        self.blocks = nn.ModuleDict()
        channels = 192
        for name, sizes in BLOCKS.items():
            self.blocks[name] = Block(channels, sizes)
            channels = self.blocks[name].out
        self.logits = nn.Conv3d(channels, 400, 1)

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        x = max_pool(self.stem[0](x_NCTHW), (1, 3, 3), (1, 2, 2))
        x = self.stem[2](self.stem[1](x))
        for name, block in self.blocks.items():
            if name in POOLED_BEFORE:
                time, space, stride = POOLED_BEFORE[name]
                x = max_pool(x, (time, space, space), (1 if time == 1 else 2, stride, stride))
            x = block(x)
        return self.logits(F.avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))
