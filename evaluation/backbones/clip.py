"""CLIP image embeddings (ViT-B/32), and the aesthetic score that LAION fitted to those of ViT-L/14."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import fill, frozen, read_tensors, refuse_another, seeded
from evaluation.backbones.pictures import CLIP, centre_crop, normalised, pixels, resized, shorter_side

B32 = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
B32 |= {"patch_size": 32, "image_size": 224, "projection_dim": 512, "hidden_act": "quick_gelu"}
L14 = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
L14 |= {"patch_size": 14, "image_size": 224, "projection_dim": 768, "hidden_act": "quick_gelu"}

B32_KEY, L14_KEY, HEAD_KEY = "clip_vitb32", "clip_vitl14", "laion_aesthetic_head"
_LICENCE = "MIT code; OpenAI's model card advises against deployment"


class ClipImage(nn.Module):
    """(B, 3, 224, 224) normalised pixels -> (B, D): CLIP's projected image embedding, not normalised, in fp32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.model(pixel_values=pixels_BCHW).image_embeds


class Aesthetic(nn.Module):
    """(B, 3, 224, 224) normalised pixels -> (B,): a linear map of the embedding of length 1, nominally 0..10."""

    def __init__(self, clip: nn.Module, width: int):
        super().__init__()
        self.clip, self.head = clip, nn.Linear(width, 1)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.rate(self.clip(pixels_BCHW))

    def rate(self, embeddings_BD: Tensor) -> Tensor:
        return self.head(F.normalize(embeddings_BD, dim=1))[:, 0]


def build_clip(sizes: Mapping[str, Any]) -> ClipImage:
    """With random weights out of torch's generator."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return ClipImage(CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)))


def load_clip(path: Path, sizes: Mapping[str, Any], what: str) -> ClipImage:
    """From the file of the whole CLIP as the hub has it, text tower and all, or of its image tower.

    Raises SteadyDancerError for a file of another network.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tensors = {
        name: tensor.float()
        for name, tensor in read_tensors(path).items()
        if name.startswith(("vision_model.", "visual_projection.")) and not name.endswith("position_ids")
    }
    model, loading = CLIPVisionModelWithProjection.from_pretrained(
        None,
        config=CLIPVisionConfig(**sizes),
        state_dict=tensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    # The library knows the names of its own versions; what it could not place is what differs.
    differing = {name: torch.empty(shape, device="meta") for name, shape, _ in loading["mismatched_keys"]}
    missing = {name: model.state_dict()[name] for name in {*loading["missing_keys"], *differing}}
    unplaced = dict.fromkeys(loading["unexpected_keys"], torch.empty(0))
    refuse_another(missing, unplaced | differing, path, what)
    return frozen(ClipImage(model))


def _load_b32(files: Mapping[str, Path]) -> ClipImage:
    return load_clip(files[B32_KEY], B32, "CLIP ViT-B/32")


def load_aesthetic(files: Mapping[str, Path], sizes: Mapping[str, Any] = L14) -> Aesthetic:
    """CLIP and the head. Raises SteadyDancerError where either file is of another network."""
    network = Aesthetic(load_clip(files[L14_KEY], sizes, "CLIP ViT-L/14"), sizes["projection_dim"])
    head = files[HEAD_KEY]
    fill(network.head, read_tensors(head), head, "LAION's linear head of CLIP ViT-L/14")
    return frozen(network)


def random_clip(seed: int, sizes: Mapping[str, Any] = B32) -> ClipImage:
    return seeded(lambda: build_clip(sizes), seed)


def random_aesthetic(seed: int, sizes: Mapping[str, Any] = L14) -> Aesthetic:
    return seeded(lambda: Aesthetic(build_clip(sizes), sizes["projection_dim"]), seed)


def prepared(pictures: np.ndarray) -> Tensor:
    """Shorter side 224, the middle 224 x 224."""
    small = resized(pixels(pictures), shorter_side(*pictures.shape[1:3], 224), "bicubic")
    return normalised(centre_crop(small, 224) / 255, CLIP)


CLIP_VITB32 = Backbone(
    name="clip_vitb32",
    version=1,
    preprocessing="short224-bicubic-aa0-crop224-clip",
    network="clip_vitb32",
    weights=(Weights(B32_KEY, licence=_LICENCE, source="openai/clip-vit-base-patch32/model.safetensors"),),
    load=_load_b32,
    random=random_clip,
    embed=lambda network, pictures, _: in_batches(network, prepared, pictures),
)
LAION_AESTHETIC = Backbone(
    name="laion_aesthetic",
    version=1,
    preprocessing="short224-bicubic-aa0-crop224-clip",
    network="laion_aesthetic",
    weights=(
        Weights(L14_KEY, licence=_LICENCE, source="openai/clip-vit-large-patch14/model.safetensors"),
        Weights(
            HEAD_KEY,
            licence="MIT",
            source="https://github.com/LAION-AI/aesthetic-predictor, sa_0_4_vit_l_14_linear.pth",
            sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
        ),
    ),
    load=load_aesthetic,
    random=random_aesthetic,
    embed=lambda network, pictures, _: in_batches(network, prepared, pictures),
)
