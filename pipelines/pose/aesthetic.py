"""LAION's aesthetic score: a small head on CLIP ViT-L/14's image features (github.com/LAION-AI/aesthetic-predictor and
christophschuhmann/improved-aesthetic-predictor), fitted to people's ratings from 1 to 10.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infra.errors import SteadyDancerError
from model.weights import WeightsNotFound, locate

if TYPE_CHECKING:
    import torch

WIDTHS = ((), (1024, 128, 64, 16))
"""Between CLIP's features and the score: of `vit_l_14_linear`, and of `sac+logos+ava1-l14-linearMSE`, whose layers have
nothing but dropout between them.
"""


def read_head(path: Path) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
    """The (weight, bias) of each layer, float32, from a .safetensors file; layers in the order of the numbers in their
    names, such as layers.0, layers.2. Raises SteadyDancerError naming the shapes for any other head than LAION's two.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SteadyDancerError(f"curate.aesthetic: {path} is no .safetensors file ({error}).", HOW_TO_GET) from None
    weights = sorted(name for name in tensors if name.endswith("weight"))
    weights.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    layers = [(tensors[name], tensors.get(name.removesuffix("weight") + "bias")) for name in weights]
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    whole = 2 * len(layers) == len(tensors) and all(
        weight.ndim == 2 and bias is not None and bias.shape == weight.shape[:1] for weight, bias in layers
    )
    fits = whole and all(one[0].shape[0] == next_[0].shape[1] for one, next_ in zip(layers, layers[1:], strict=False))
    if not fits or tuple(weight.shape[0] for weight, _ in layers) not in [(*widths, 1) for widths in WIDTHS]:
        raise SteadyDancerError(f"curate.aesthetic: {path} holds no LAION head, but {shapes}.", HOW_TO_GET)
    return [(weight.float(), bias.float()) for weight, bias in layers]


HOW_TO_GET = (
    "Expected: linear layers 768-1024-128-64-16-1 (sac+logos+ava1-l14-linearMSE) or 768-1 (vit_l_14_linear). The "
    "published .pth files are pickles: convert one with torch.load(..., weights_only=True) and "
    "safetensors.torch.save_file."
)


class AestheticModel:
    """CLIP from ``clip`` (hub id or folder, safetensors) and the ``head`` on it, on the GPU where there is one.

    Raises WeightsNotFound or SteadyDancerError.
    """

    def __init__(self, head: Path, clip: str):
        import torch
        from transformers import CLIPVisionModelWithProjection

        folder = locate(clip, "curate.aesthetic_clip", "CLIP ViT-L/14", "")
        try:
            model, loading = CLIPVisionModelWithProjection.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise WeightsNotFound(f"curate.aesthetic_clip: {folder} is no CLIP ({error}).", NAME_CLIP) from error
        if missing := sorted(loading["missing_keys"]):  # transformers would go on with random numbers
            raise WeightsNotFound(
                f"curate.aesthetic_clip: {folder} lacks {len(missing)} weights of a CLIP, {missing[0]} first.",
                NAME_CLIP,
            )
        self._layers = read_head(head)
        if (have := model.config.projection_dim) != (wanted := self._layers[0][0].shape[1]):
            raise SteadyDancerError(
                f"curate.aesthetic: {head} is for features of {wanted}, {folder} gives {have}.", NAME_CLIP
            )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layers = [(weight.to(self._device), bias.to(self._device)) for weight, bias in self._layers]
        self._model = model.float().to(self._device).eval().requires_grad_(False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 RGB -> (T,) scores."""
        import torch
        from torch.nn import functional as F

        with torch.no_grad():
            pixels = _clip_pixels(images, self._model.config.image_size).to(self._device)
            features = F.normalize(self._model(pixel_values=pixels).image_embeds, dim=-1)
            for weight, bias in self._layers:
                features = F.linear(features, weight, bias)
        return features[:, 0].cpu().numpy()


NAME_CLIP = "Set curate.aesthetic_clip to openai/clip-vit-large-patch14 or a folder that holds it."


def _clip_pixels(images: np.ndarray, side: int) -> "torch.Tensor":
    """As CLIP was shown pictures: the shorter side at ``side``, bicubic and antialiased, and its middle square."""
    import torch
    from torch.nn import functional as F

    from model.pretrained_encoders import CLIP_MEAN, CLIP_STD

    height, width = images.shape[1:3]
    size = height * side // min(height, width), width * side // min(height, width)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (pixels[..., top : top + side, left : left + side] - mean) / std
