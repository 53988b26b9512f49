"""SteadyDancer on diffusers' Wan 2.1 I2V transformer (specification 1).

Shapes: B batch, C channels, T latent frames, H W latent height and width (even), h w token grid (H/2, W/2),
L tokens, D width. The sequence holds T+2 frames: the video, the image reference, the pose reference.
"""

import torch
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from model.conditions import TEXT_TOKENS, Conditions
from model.pose_modules import FAAU, SSAE, TMCM, clips, frames
from model.prepared import CrossAttention, KeysValues, Prepared, image_keys_values, text_keys_values

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
        for block in self.blocks:
            block.attn2.set_processor(CrossAttention())

    def forward(self, latent_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions | Prepared) -> Tensor:
        """Velocity (B, 16, T, H, W) in fp32 for a noisy latent of that shape.

        ``timestep_B`` is (B,), 0..1000, integer or fp32; it is never cast to a half precision, which would merge
        timesteps. Everything else is cast to the precision of the part that reads it. ``conditions`` may have been
        through :meth:`prepare` once for all timesteps.
        """
        b, _, t, h, w = latent_BCTHW.shape
        if h % 2 or w % 2:
            raise ValueError(f"latent height and width must be even, not {h}x{w}")
        y = tuple(conditions.y_BCTHW.shape)
        if y != (b, 20, t, h, w) or timestep_B.shape != (b,):
            raise ValueError(
                f"a latent of {tuple(latent_BCTHW.shape)} has {b} timesteps and a y of {(b, 20, t, h, w)}, not "
                f"timesteps of {tuple(timestep_B.shape)} and a y of {y}"
            )
        prepared = conditions if isinstance(conditions, Prepared) else self._embedded(conditions)
        aligned = self.condition_embedding_align(prepared.fused_BCTHW, latent_BCTHW.to(prepared.fused_BCTHW.dtype))
        channels = latent_BCTHW, prepared.y_BCTHW, prepared.fused_BCTHW, aligned
        fused = self.patch_embedding_fuse(torch.cat([x.to(self.precision) for x in channels], dim=1))
        tokens_BLD = torch.cat([tokens(fused), prepared.references_BLD], dim=1)
        del channels, aligned, fused  # not to be kept through all blocks
        rotary = self.rope(latent_BCTHW[:, :, :1].expand(-1, -1, t + 2, -1, -1))
        temb, modulation = self.read_time(timestep_B)

        for block, context in zip(self.blocks, prepared.contexts(len(self.blocks)), strict=True):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                tokens_BLD = self._gradient_checkpointing_func(block, tokens_BLD, context, modulation, rotary)
            else:
                tokens_BLD = block(tokens_BLD, context, modulation, rotary)

        video_BLD = tokens_BLD[:, : t * (h // 2) * (w // 2)]
        shift, scale = (self.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
        out_BLC = self.proj_out((self.norm_out(video_BLD.float()) * (1 + scale) + shift).type_as(video_BLD))
        out = out_BLC.reshape(b, t, h // 2, w // 2, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return out.reshape(b, -1, t, h, w).float()

    @property
    def precision(self) -> torch.dtype:
        """Of all but the parts kept in fp32; ``dtype`` says the same after walking over every parameter."""
        return self.patch_embedding.weight.dtype

    def prepare(self, conditions: Conditions) -> Prepared:
        """Everything of a forward that no timestep changes, for sampling: :meth:`forward` takes it as conditions."""
        embedded = self._embedded(conditions)
        return embedded._replace(
            image=tuple(image_keys_values(block.attn2, embedded.image) for block in self.blocks),
            text=tuple(text_keys_values(block.attn2, embedded.text) for block in self.blocks),
        )

    def read_pose(self, condition_BCTHW: Tensor) -> Tensor:
        """(B, 16, T, H, W): the pose latent with its motion and structure added."""
        pose = condition_BCTHW.to(self.condition_embedding_align.proj_p.weight.dtype)
        motion = self.condition_embedding_temporal(pose)
        return pose + motion + clips(self.condition_embedding_spatial(frames(pose)), len(pose))

    def read_references(self, ref_x_BCTHW: Tensor, ref_c_BCTHW: Tensor) -> Tensor:
        """(B, 2hw, D): tokens of the two one-frame references."""
        image = self.patch_embedding(ref_x_BCTHW.to(self.precision))
        return torch.cat([tokens(image), tokens(self.patch_embedding_ref_c(ref_c_BCTHW.to(self.precision)))], dim=1)

    def read_images(self, clip_x_BND: Tensor, clip_c_BND: Tensor, clip_c_used_B: Tensor) -> Tensor:
        """(B, 257, D): the embeddings of picture and first pose, summed."""
        both = self.condition_embedder.image_embedder(torch.cat([clip_x_BND, clip_c_BND]).to(self.precision))
        clip_x, clip_c = both.chunk(2)
        return clip_x + clip_c * clip_c_used_B.to(both.dtype)[:, None, None]

    def read_text(self, text_BLD: Tensor) -> tuple[KeysValues, ...]:
        """Keys and values of every block."""
        embedded = self.condition_embedder.text_embedder(text_BLD.to(self.precision))
        return tuple(text_keys_values(block.attn2, embedded) for block in self.blocks)

    def read_time(self, timestep_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, 6, D), both in the blocks' precision; the sinusoid and its first layers in fp32."""
        embedder = self.condition_embedder
        sinusoid = embedder.timesteps_proj(timestep_B.float())
        temb = embedder.time_embedder(sinusoid.to(embedder.time_embedder.linear_1.weight.dtype)).to(self.precision)
        return temb, embedder.time_proj(embedder.act_fn(temb)).unflatten(1, (6, -1))

    def _embedded(self, conditions: Conditions) -> Prepared:
        if conditions.text_BLD.shape[1] != TEXT_TOKENS:  # by whose number Wan tells them from the image's
            raise ValueError(
                f"{TEXT_TOKENS} text tokens are expected, padded with zeros, not {conditions.text_BLD.shape[1]}"
            )
        return Prepared(
            y_BCTHW=conditions.y_BCTHW,
            fused_BCTHW=self.read_pose(conditions.condition_BCTHW),
            references_BLD=self.read_references(conditions.ref_x_BCTHW, conditions.ref_c_BCTHW),
            image=self.read_images(conditions.clip_x_BND, conditions.clip_c_BND, conditions.clip_c_used_B),
            text=self.condition_embedder.text_embedder(conditions.text_BLD.to(self.precision)),
        )


def kept_in_fp32(model: nn.Module, name: str) -> bool:
    """Whether a tensor of the model is fp32 whatever the model's precision is."""
    return any(part in name for part in model._keep_in_fp32_modules)


def tokens(embedded_BDTHW: Tensor) -> Tensor:
    """(B, D, T, h, w) to (B, Thw, D), time-major."""
    return embedded_BDTHW.flatten(2).transpose(1, 2)
