"""SteadyDancer on diffusers' Wan 2.1 I2V transformer (specification 1).

Shapes: B batch, C channels, T latent frames, H W latent height and width (even), h w token grid (H/2, W/2),
L tokens, D width. The sequence holds T+2 frames: the video, the image reference, the pose reference.
"""

import torch
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from model.conditions import Conditions
from model.pose_modules import FAAU, SSAE, TMCM, clips, frames

BASE_CHANNELS = 36
FUSE_CHANNELS = 68
NEW_PARTS = (
    "patch_embedding_fuse",
    "patch_embedding_ref_c",
    "condition_embedding_spatial",
    "condition_embedding_temporal",
    "condition_embedding_align",
)
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")

_SIZES = {
    "tiny": {"heads": 2, "head_dim": 48, "ffn_dim": 384, "layers": 2, "freq_dim": 64, "text_dim": 32, "image_dim": 48},
    "small": {
        "heads": 8,
        "head_dim": 96,
        "ffn_dim": 3072,
        "layers": 9,
        "freq_dim": 256,
        "text_dim": 512,
        "image_dim": 512,
    },
    "wan-14b": {
        "heads": 40,
        "head_dim": 128,
        "ffn_dim": 13824,
        "layers": 40,
        "freq_dim": 256,
        "text_dim": 4096,
        "image_dim": 1280,
    },
}


def model_config(size: str) -> dict:
    """Arguments of SteadyDancerTransformer for ``tiny``, ``small`` (about 100 M parameters) or ``wan-14b``."""
    s = _SIZES[size]
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": s["heads"],
        "attention_head_dim": s["head_dim"],
        "in_channels": BASE_CHANNELS,
        "out_channels": 16,
        "text_dim": s["text_dim"],
        "freq_dim": s["freq_dim"],
        "ffn_dim": s["ffn_dim"],
        "num_layers": s["layers"],
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "image_dim": s["image_dim"],
        "added_kv_proj_dim": s["heads"] * s["head_dim"],
        "rope_max_seq_len": 1024,
        "pos_embed_seq_len": None,
    }


class SteadyDancerTransformer(WanTransformer3DModel):
    """Wan 2.1 I2V with the five added parts under their official names."""

    _keep_in_fp32_modules = [*WanTransformer3DModel._keep_in_fp32_modules, "condition_embedding"]

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = BASE_CHANNELS,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = 1280,
        added_kv_proj_dim: int | None = 5120,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=num_layers,
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            image_dim=image_dim,
            added_kv_proj_dim=added_kv_proj_dim,
            rope_max_seq_len=rope_max_seq_len,
            pos_embed_seq_len=pos_embed_seq_len,
        )
        dim = num_attention_heads * attention_head_dim
        self.patch_embedding_fuse = nn.Conv3d(FUSE_CHANNELS, dim, patch_size, stride=patch_size)
        self.patch_embedding_ref_c = nn.Conv3d(out_channels, dim, patch_size, stride=patch_size)
        self.condition_embedding_spatial = SSAE(out_channels)
        self.condition_embedding_temporal = TMCM(out_channels)
        self.condition_embedding_align = FAAU(out_channels)

    def forward(self, latent_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B, 16, T, H, W) in fp32 for a noisy latent of that shape.

        ``timestep_B`` is (B,), 0..1000, integer or fp32; it is never cast to a half precision, which would merge
        timesteps. Everything else is cast to the precision of the part that reads it.
        """
        b, _, t, h, w = latent_BCTHW.shape
        if h % 2 or w % 2:
            raise ValueError(f"latent height and width must be even, not {h}x{w}")
        dtype = self.dtype
        fused, aligned = self.read_pose(latent_BCTHW, conditions.condition_BCTHW)
        tokens_BDTHW = torch.cat(
            [
                self.patch_embedding_fuse(
                    torch.cat([x.to(dtype) for x in (latent_BCTHW, conditions.y_BCTHW, fused, aligned)], dim=1)
                ),
                self.patch_embedding(conditions.ref_x_BCTHW.to(dtype)),
                self.patch_embedding_ref_c(conditions.ref_c_BCTHW.to(dtype)),
            ],
            dim=2,
        )
        tokens_BLD = tokens_BDTHW.flatten(2).transpose(1, 2).contiguous()
        rotary = self.rope(latent_BCTHW[:, :, :1].expand(-1, -1, t + 2, -1, -1))

        temb, modulation, text_BLD, clip_BND = self.condition_embedder(
            timestep_B.float(),
            conditions.text_BLD.to(dtype),
            torch.cat([conditions.clip_x_BND, conditions.clip_c_BND]).to(dtype),
        )
        clip_x, clip_c = clip_BND.chunk(2)
        image_BND = clip_x + clip_c * conditions.clip_c_used_B.to(dtype)[:, None, None]
        context_BLD = torch.cat([image_BND, text_BLD], dim=1)
        modulation = modulation.unflatten(1, (6, -1))

        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                tokens_BLD = self._gradient_checkpointing_func(block, tokens_BLD, context_BLD, modulation, rotary)
            else:
                tokens_BLD = block(tokens_BLD, context_BLD, modulation, rotary)

        video_BLD = tokens_BLD[:, : t * (h // 2) * (w // 2)]
        shift, scale = (self.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
        out_BLC = self.proj_out((self.norm_out(video_BLD.float()) * (1 + scale) + shift).type_as(video_BLD))
        out = out_BLC.reshape(b, t, h // 2, w // 2, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return out.reshape(b, -1, t, h, w).float()

    def read_pose(self, latent_BCTHW: Tensor, condition_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """(fused, aligned), both (B, 16, T, H, W): the pose with motion and structure, and aligned to the latent."""
        dtype = self.condition_embedding_align.proj_p.weight.dtype
        pose = condition_BCTHW.to(dtype)
        fused = (
            pose
            + self.condition_embedding_temporal(pose)
            + clips(self.condition_embedding_spatial(frames(pose)), len(pose))
        )
        return fused, self.condition_embedding_align(fused, latent_BCTHW.to(dtype))
