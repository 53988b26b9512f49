"""CLIP and umT5 from transformers, used as Wan 2.1 I2V uses them (specification 3.2.6, 3.2.7).

Shapes: B batch, C channels, H W pixels, N tokens of an image, L tokens of a text, D width.
"""

import html

import ftfy
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPVisionModel, UMT5EncoderModel

from model.conditions import TEXT_TOKENS
from model.weights import WeightsNotFound, fingerprint, locate

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def squash(image_BCHW: Tensor, size: int = 224) -> Tensor:
    """CLIP's pixels for an image in [-1, 1]: bicubic to a square whatever its aspect, no antialiasing, no crop."""
    small = F.interpolate(image_BCHW.float(), size=(size, size), mode="bicubic", align_corners=False)
    mean, std = (small.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (small * 0.5 + 0.5 - mean) / std


class ClipImageEncoder:
    """CLIP ViT: the output of the last block but one, without the final norm."""

    def __init__(self, source: str | None, device: torch.device | str = "cpu"):
        folder = locate(
            source, "encode.image_weights", "a CLIP vision model (ViT-H/14 of Wan 2.1 I2V)", "image_encoder"
        )
        try:
            model = CLIPVisionModel.from_pretrained(folder, dtype="auto")
        except (OSError, ValueError) as error:
            raise WeightsNotFound(
                f"{folder} is no CLIP vision model ({error}).", "Give Wan's `image_encoder`."
            ) from error
        self.id = f"clip-{fingerprint(folder)}"
        self.dim = model.config.hidden_size
        self._model, self._device = model.to(device).eval().requires_grad_(False), torch.device(device)

    @torch.no_grad()
    def __call__(self, image_BCHW: Tensor) -> Tensor:
        pixels = squash(image_BCHW, self._model.config.image_size).to(self._device, self._model.dtype)
        return self._model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2].float()


def clean(prompt: str) -> str:
    """A prompt as Wan's text encoder was shown it: mended unicode, no HTML entities, single spaces."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


class Umt5TextEncoder:
    """umT5: the last hidden states of at most 512 tokens, without padding."""

    def __init__(self, source: str | None, device: torch.device | str = "cpu"):
        key, what = "encode.text_weights", "umT5 (umT5-XXL of Wan 2.1) and its tokenizer"
        folder = locate(source, key, what, "text_encoder", ("tokenizer",))
        words = folder.parent / "tokenizer"
        words = words if words.is_dir() else folder
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(words)
            model = UMT5EncoderModel.from_pretrained(folder, dtype="auto")
        except (OSError, ValueError) as error:
            raise WeightsNotFound(f"{folder} is no {what} ({error}).", "Give Wan's folder with both in it.") from error
        self.id = f"umt5-{fingerprint(*dict.fromkeys((folder, words)))}"
        self.dim = model.config.d_model
        self._model, self._device = model.to(device).eval().requires_grad_(False), torch.device(device)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> list[Tensor]:
        return [self._encode(clean(prompt)) for prompt in prompts]

    def _encode(self, prompt: str) -> Tensor:
        tokens = self._tokenizer(prompt, truncation=True, max_length=TEXT_TOKENS, return_tensors="pt").to(self._device)
        hidden = self._model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return hidden[0].float()
