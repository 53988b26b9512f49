"""The three parts through which SteadyDancer reads a pose latent (specification 1.3 to 1.5), by their official names.

Shapes: B batch, C = 16 latent channels, T latent frames, H W latent height and width, D = 128 hidden channels of FAAU,
N heads, K channels of a head. Every parameter is read inside the forward of the module that owns it, so that ZeRO-3
gathers it in time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TemporalStage(nn.Module):
    """Depthwise 3x3 in space, then a full 3-tap convolution over time (zero padded, not causal)."""

    def __init__(self, channels: int):
        super().__init__()
        self.spatial = nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), groups=channels, bias=False)
        self.temporal = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.temporal(F.silu(self.spatial(x_BCTHW)))


class TMCM(nn.Sequential):
    """Temporal motion coherence module: three stages, each followed by SiLU. (B, C, T, H, W) to the same shape."""

    def __init__(self, channels: int = 16):
        super().__init__(*(part for _ in range(3) for part in (TemporalStage(channels), nn.SiLU())))


class Gate(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, channels, bias=False))

    def forward(self, g_BC: Tensor) -> Tensor:
        return g_BC * hard_sigmoid(self.fc(g_BC))


def hard_sigmoid(v: Tensor) -> Tensor:
    """0..2, not 0..1: the released weights divide by 3 (specification 1.4)."""
    return F.relu6(v + 3) / 3


class SSAE(nn.Module):
    """Spatial structure adaptive extractor: a dynamic convolution decomposition, one frame at a time."""

    def __init__(self, channels: int = 16, latent: int = 4, squeeze: int = 4):
        super().__init__()
        self.latent = latent
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv_q = nn.Conv2d(channels, latent, 1, bias=False)
        self.fc = nn.Sequential(nn.Linear(channels, squeeze, bias=False), Gate(squeeze))
        self.fc_phi = nn.Linear(squeeze, latent * latent, bias=False)
        self.fc_scale = nn.Linear(squeeze, channels, bias=False)
        self.conv_p = nn.Conv2d(latent, channels, 1, bias=False)
        self.bn1 = nn.GroupNorm(latent, latent)
        self.bn2 = nn.GroupNorm(latent, latent)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        g = self.fc(x_BCHW.mean(dim=(2, 3)))
        phi = self.fc_phi(g).unflatten(1, (self.latent, self.latent))
        scaled = self.conv(x_BCHW) * hard_sigmoid(self.fc_scale(g))[:, :, None, None]
        q = self.bn1(self.conv_q(x_BCHW))
        mixed = torch.bmm(phi, q.flatten(2)).view_as(q)
        return self.conv_p(self.bn2(mixed) + q) + scaled


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position, in fp32 whatever comes in."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW.float()
        centred = x - x.mean(dim=1, keepdim=True)
        normed = centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + self.eps)
        return (normed * self.weight + self.bias).to(x_BCHW.dtype)


class CrossAttention(nn.Module):
    """Multi-head attention under the tensor names of torch.nn.MultiheadAttention.

    Not that class itself: it reads its output projection's weight past that module's forward, which ZeRO-3 and LoRA
    cannot follow.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query_BLD: Tensor, memory_BLD: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query_BLD, memory_BLD, memory_BLD), weights, biases, strict=True)
        )
        mixed_BNLK = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(mixed_BNLK.transpose(1, 2).flatten(2))


class FAAU(nn.Module):
    """Frame-wise attention alignment unit: every latent position attends over time, from the noisy latent to the pose.

    The sequence is the T frames and the batch is B*H*W, so samples and positions never mix (specification 1.5).
    """

    def __init__(self, channels: int = 16, dim: int = 128, heads: int = 8, dropout: float = 0.1):
        super().__init__()
        self.proj_p = nn.Conv2d(channels, dim, 1)
        self.proj_r = nn.Conv2d(channels, dim, 1)
        self.cross_attn = CrossAttention(dim, heads, dropout)
        self.norm1 = ChannelNorm(dim)
        self.ffn_pose = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.SiLU(), nn.Conv2d(dim, dim, 1))
        self.norm2 = ChannelNorm(dim)
        self.proj_p_back = nn.Conv2d(dim, channels, 1)

    def forward(self, pose_BCTHW: Tensor, latent_BCTHW: Tensor) -> Tensor:
        b, _, t, h, w = pose_BCTHW.shape

        def sequences(x_BDHW: Tensor) -> Tensor:
            return x_BDHW.unflatten(0, (b, t)).permute(0, 3, 4, 1, 2).flatten(0, 2)

        pose = sequences(self.proj_p(frames(pose_BCTHW)))
        latent = sequences(self.proj_r(frames(latent_BCTHW)))
        attended = self.cross_attn(latent, pose).unflatten(0, (b, h, w)).permute(0, 3, 4, 1, 2).flatten(0, 1)
        normed = self.norm1(attended)
        return clips(self.proj_p_back(self.norm2(normed + self.ffn_pose(normed))), b)


def frames(x_BCTHW: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B*T, C, H, W)."""
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def clips(x_BCHW: Tensor, batch: int) -> Tensor:
    """(B*T, C, H, W) to (B, C, T, H, W)."""
    return x_BCHW.unflatten(0, (batch, -1)).transpose(1, 2)
