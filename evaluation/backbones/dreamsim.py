"""DreamSim, the ensemble of three ViT-B/16: embeddings whose cosine is its similarity of pictures.

Its release spreads over three base models and three low-rank updates of them. Here it is one .safetensors file in
which the updates are merged, made once by :func:`convert`. Agreement with the published demo values has not been
checked, for lack of the weights.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.backbones.backbone import Backbone, Weights
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import fill, read_tensors, seeded
from evaluation.backbones.dino import in_dino_layout
from evaluation.backbones.pictures import CLIP, IMAGENET, normalised, pixels, resized, resized_by_pillow
from evaluation.backbones.vision_transformer import Shape, VisionTransformer
from infra.errors import SteadyDancerError

KEY = "dreamsim"
_CLIP = Shape(norm_eps=1e-5, norm_first=True, projection=512)
SHAPES = {"dino": Shape(norm_last=False), "clip": replace(_CLIP, quick_gelu=True), "open_clip": _CLIP}
"""The members, in the order in which their embeddings are joined. DINO's is CLS before the final norm."""
_UPDATE = re.compile(r"blocks\.(\d+)\.attn\.qkv\.lora_([AB])\b")


class DreamSim(nn.Module):
    """(B, 3, 224, 224) pixels in 0..1 -> (B, 1792) of length 1; the distance of two pictures is 1 - their product.

    The members' embeddings are joined, divided by their length, and the mean over their entries is taken off.
    """

    def __init__(self, shapes: Mapping[str, Shape]):
        super().__init__()
        self.members = nn.ModuleDict({name: VisionTransformer(shape) for name, shape in shapes.items()})

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        shown = {"dino": normalised(pixels_BCHW, IMAGENET)}
        shown["clip"] = shown["open_clip"] = normalised(pixels_BCHW, CLIP)
        joined = F.normalize(torch.cat([member(shown[name]) for name, member in self.members.items()], dim=1), dim=1)
        return F.normalize(joined - joined.mean(1, keepdim=True), dim=1)


def load(files: Mapping[str, Path], shapes: Mapping[str, Shape] = SHAPES) -> DreamSim:
    """From a file of :func:`convert`: names are ``members.<dino|clip|open_clip>.`` and those of DINO's ViT; ``proj`` is
    (768, 512). Raises SteadyDancerError for another.
    """
    path = files[KEY]
    return fill(DreamSim(shapes), read_tensors(path), path, "a merged DreamSim ensemble (dreamsim.convert makes one)")


def random(seed: int, shapes: Mapping[str, Shape] = SHAPES) -> DreamSim:
    return seeded(lambda: DreamSim(shapes), seed)


def convert(release: Path, dino: Path, target: Path, shapes: Mapping[str, Shape] = SHAPES) -> None:
    """Writes ``target`` (.safetensors) out of the unpacked dreamsim_checkpoint.zip and DINO ViT-B/16.

    The release's folder holds ``clip_vitb16_pretrain.pth.tar``, ``open_clip_vitb16_pretrain.pth.tar`` and the folders
    ``<dino|clip|open_clip>_vitb16_lora``; ``dino`` is the file that :mod:`evaluation.backbones.dino` reads. Raises
    SteadyDancerError where one of them is missing or of another network.
    """
    from safetensors.torch import save_file

    bases = {name: release / f"{name}_vitb16_pretrain.pth.tar" for name in ("clip", "open_clip")} | {"dino": dino}
    merged = DreamSim(shapes)
    for name, member in merged.members.items():
        tensors = in_dino_layout(read_tensors(bases[name]))
        tensors = _updated(tensors, release / f"{name}_vitb16_lora")
        fill(member, tensors, bases[name], f"the base of DreamSim's {name} member")
    save_file(merged.state_dict(), target)


def _updated(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """W + alpha / r B A for the joined query, key and value of every block that the folder has an update of."""
    try:
        about = json.loads((folder / "adapter_config.json").read_text())
        strength = about["lora_alpha"] / about["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SteadyDancerError(f"{folder} is no low-rank update ({error!r}).", "Unpack DreamSim's release.") from error
    files = [folder / name for name in ("adapter_model.safetensors", "adapter_model.bin")]
    file = next((file for file in files if file.is_file()), files[0])
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(file).items():
        found = _UPDATE.search(name)
        if found is None:
            raise SteadyDancerError(f"{file} updates {name}; only blocks.N.attn.qkv was expected.")
        parts.setdefault(int(found[1]), {})[found[2]] = tensor.float()
    if not parts or any(len(pair) != 2 for pair in parts.values()):
        raise SteadyDancerError(f"{file} does not hold a pair of factors A and B for each block it updates.")
    names = {f"blocks.{block}.attn.qkv.weight": pair for block, pair in parts.items()}
    if missing := [name for name in names if name not in tensors]:
        raise SteadyDancerError(f"{file} updates {missing[0]}, which its base has not.")
    changed = {name: tensors[name].float() + strength * pair["B"] @ pair["A"] for name, pair in names.items()}
    return tensors | changed


def squashed(pictures: np.ndarray) -> Tensor:
    """To 224 x 224 whatever the aspect, in 0..1 but for what bicubic overshoots."""
    return resized(pixels(pictures), (224, 224), "bicubic") / 255


def squashed_by_pillow(pictures: np.ndarray) -> Tensor:
    return resized_by_pillow(pictures, (224, 224)) / 255


def _backbone(name: str, preprocessing: str, prepare) -> Backbone:
    return Backbone(
        name=name,
        version=1,
        preprocessing=preprocessing,
        network="dreamsim",
        weights=(
            Weights(
                KEY,
                licence="MIT; bases Apache-2.0 (DINO), MIT (CLIP, OpenCLIP)",
                source="dreamsim_checkpoint.zip of https://github.com/ssundaram21/dreamsim v0.1.0, "
                "merged by evaluation.backbones.dreamsim.convert",
            ),
        ),
        load=load,
        random=random,
        embed=lambda network, pictures, _: in_batches(network, prepare, pictures),
    )


DREAMSIM = _backbone("dreamsim", "squash224-bicubic-aa0", squashed)
DREAMSIM_PIL = _backbone("dreamsim_pil", "squash224-bicubic-pillow", squashed_by_pillow)
