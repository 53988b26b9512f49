"""Inception-v3 as TensorFlow's graph of 2015-12-05 has it, under the parameter names of its PyTorch port.

It differs from other Inception-v3 in its pooling: averages leave out the padding, and the last block takes maxima.
"""

import torch
from torch import nn
from torch.nn import functional as F

Convolution = tuple
"""(name, channels, kernel height, kernel width, stride); with stride 1 the size stays, with 2 nothing is padded"""


class ConvolutionUnit(nn.Module):
    def __init__(self, channels: int, out: int, kernel: tuple[int, int], stride: int = 1, padding=(0, 0)):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)  # so that random weights let pictures through
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x_NCHW)))


class Mixed(nn.Module):
    """Chains of convolutions side by side, and a pooling. A list in a chain is a fork: all of it sees the same."""

    def __init__(self, channels: int, chains: list[list[Convolution | list[Convolution]]], pool: str, pooled: int = 0):
        super().__init__()
        self.chains: list[list[list[str]]] = []
        self.pool = pool
        for chain in chains:
            width, names = channels, []
            for step in chain:
                fork = step if isinstance(step, list) else [step]
                for name, out, height, wide, stride in fork:
                    padding = (height // 2, wide // 2) if stride == 1 else (0, 0)
                    self.add_module(name, ConvolutionUnit(width, out, (height, wide), stride, padding))
                names.append([name for name, *_ in fork])
                width = sum(out for _, out, *_ in fork)
            self.chains.append(names)
        if pooled:
            self.branch_pool = ConvolutionUnit(channels, pooled, (1, 1))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        parts = []
        for chain in self.chains:
            part = x_NCHW
            for fork in chain:
                part = torch.cat([getattr(self, name)(part) for name in fork], 1)
            parts.append(part)
        if self.pool == "shrink":
            return torch.cat([*parts, F.max_pool2d(x_NCHW, 3, 2)], 1)
        mean = self.pool == "mean"
        around = F.avg_pool2d(x_NCHW, 3, 1, 1, count_include_pad=False) if mean else F.max_pool2d(x_NCHW, 3, 1, 1)
        return torch.cat([*parts, self.branch_pool(around)], 1)


def _at_35(channels: int, pooled: int) -> Mixed:
    chains = [
        [("branch1x1", 64, 1, 1, 1)],
        [("branch5x5_1", 48, 1, 1, 1), ("branch5x5_2", 64, 5, 5, 1)],
        [("branch3x3dbl_1", 64, 1, 1, 1), ("branch3x3dbl_2", 96, 3, 3, 1), ("branch3x3dbl_3", 96, 3, 3, 1)],
    ]
    return Mixed(channels, chains, "mean", pooled)


def _to_17(channels: int) -> Mixed:
    chains = [
        [("branch3x3", 384, 3, 3, 2)],
        [("branch3x3dbl_1", 64, 1, 1, 1), ("branch3x3dbl_2", 96, 3, 3, 1), ("branch3x3dbl_3", 96, 3, 3, 2)],
    ]
    return Mixed(channels, chains, "shrink")


def _at_17(width: int) -> Mixed:
    chains = [
        [("branch1x1", 192, 1, 1, 1)],
        [("branch7x7_1", width, 1, 1, 1), ("branch7x7_2", width, 1, 7, 1), ("branch7x7_3", 192, 7, 1, 1)],
        [
            ("branch7x7dbl_1", width, 1, 1, 1),
            ("branch7x7dbl_2", width, 7, 1, 1),
            ("branch7x7dbl_3", width, 1, 7, 1),
            ("branch7x7dbl_4", width, 7, 1, 1),
            ("branch7x7dbl_5", 192, 1, 7, 1),
        ],
    ]
    return Mixed(768, chains, "mean", 192)


def _to_8(channels: int) -> Mixed:
    chains = [
        [("branch3x3_1", 192, 1, 1, 1), ("branch3x3_2", 320, 3, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1, 1, 1),
            ("branch7x7x3_2", 192, 1, 7, 1),
            ("branch7x7x3_3", 192, 7, 1, 1),
            ("branch7x7x3_4", 192, 3, 3, 2),
        ],
    ]
    return Mixed(channels, chains, "shrink")


def _at_8(channels: int, pool: str) -> Mixed:
    chains = [
        [("branch1x1", 320, 1, 1, 1)],
        [("branch3x3_1", 384, 1, 1, 1), [("branch3x3_2a", 384, 1, 3, 1), ("branch3x3_2b", 384, 3, 1, 1)]],
        [
            ("branch3x3dbl_1", 448, 1, 1, 1),
            ("branch3x3dbl_2", 384, 3, 3, 1),
            [("branch3x3dbl_3a", 384, 1, 3, 1), ("branch3x3dbl_3b", 384, 3, 1, 1)],
        ],
    ]
    return Mixed(channels, chains, pool, 192)


class InceptionV3(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = ConvolutionUnit(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = ConvolutionUnit(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = ConvolutionUnit(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = ConvolutionUnit(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = ConvolutionUnit(80, 192, (3, 3))
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _at_35(192, 32), _at_35(256, 64), _at_35(288, 64)
        self.Mixed_6a = _to_17(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_at_17, (128, 160, 160, 192))
        self.Mixed_7a = _to_8(768)
        self.Mixed_7b, self.Mixed_7c = _at_8(1280, "mean"), _at_8(2048, "max")
        self.fc = nn.Linear(2048, 1008)  # in the file; the features are what it would see

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """(N, 3, 299, 299) in -1..1 to (N, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x_NCHW)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))
