"""DINO ViT-B/16: the CLS token, of whole frames and of centre crops."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import fill, read_tensors, seeded
from evaluation.backbones.pictures import (
    IMAGENET,
    centre_crop,
    normalised,
    pixels,
    resized,
    resized_by_pillow,
    shorter_side,
)
from evaluation.backbones.vision_transformer import Shape, VisionTransformer

KEY = "dino_vitb16"
WEIGHTS = Weights(
    KEY,
    licence="Apache-2.0",
    source="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth, "
    "or facebook/dino-vitb16/model.safetensors",
)
_HUB_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
)
_HUB_QUERY = re.compile(r"^encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)$")


def load(files: Mapping[str, Path], shape: Shape | None = None) -> VisionTransformer:
    """From DINO's own file or the hub's. Raises SteadyDancerError for a file of another network."""
    path = files[KEY]
    return fill(VisionTransformer(shape or Shape()), in_dino_layout(read_tensors(path)), path, "DINO ViT-B/16")


def in_dino_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The hub's tensors under DINO's names, query, key and value in one; DINO's own as they are."""
    if "embeddings.cls_token" not in tensors:
        return dict(tensors)
    renamed = {}
    for name, tensor in tensors.items():
        if found := _HUB_QUERY.match(name):
            parts = [tensors.get(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
            joined = torch.cat([part for part in parts if part is not None])
            renamed[f"blocks.{found[1]}.attn.qkv.{found[2]}"] = joined
        elif not re.search(r"\.attention\.attention\.(key|value)\.|^pooler\.", name):
            for pattern, replacement in _HUB_NAMES:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
    return renamed


def random(seed: int, shape: Shape | None = None) -> VisionTransformer:
    return seeded(lambda: VisionTransformer(shape or Shape()), seed)


def whole(pictures: np.ndarray) -> Tensor:
    """Shorter side 224, nothing cut off."""
    small = resized(pixels(pictures), shorter_side(*pictures.shape[1:3], 224), "bilinear")
    return normalised(small / 255, IMAGENET)


def cropped(pictures: np.ndarray) -> Tensor:
    """Shorter side 256, the middle 224 x 224."""
    small = resized(pixels(pictures), shorter_side(*pictures.shape[1:3], 256), "bicubic")
    return normalised(centre_crop(small, 224) / 255, IMAGENET)


def cropped_by_pillow(pictures: np.ndarray) -> Tensor:
    """As :func:`cropped`, with Pillow's antialiased resize."""
    small = resized_by_pillow(pictures, shorter_side(*pictures.shape[1:3], 256))
    return normalised(centre_crop(small, 224) / 255, IMAGENET)


def _backbone(name: str, preprocessing: str, prepare) -> Backbone:
    return Backbone(
        name=name,
        version=1,
        preprocessing=preprocessing,
        network="dino_vitb16",
        weights=(WEIGHTS,),
        load=load,
        random=random,
        embed=lambda network, pictures, _: in_batches(network, prepare, pictures),
    )


DINO_VITB16_SHORT224 = _backbone("dino_vitb16_short224", "short224-bilinear-aa0-imagenet", whole)
DINO_VITB16_CROP224 = _backbone("dino_vitb16_crop224", "short256-bicubic-aa0-crop224-imagenet", cropped)
DINO_VITB16_CROP224_PIL = _backbone(
    "dino_vitb16_crop224_pil", "short256-bicubic-pillow-crop224-imagenet", cropped_by_pillow
)
