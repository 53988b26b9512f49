"""CLIP and umT5 from transformers, used as Wan 2.1 I2V uses them (specification 3.2.6, 3.2.7).

Shapes: B batch, C channels, H W pixels, N tokens of an image, L tokens of a text, D width.
"""

import html
import logging
from functools import cached_property
from pathlib import Path
from typing import Self

import ftfy
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPVisionModel, PreTrainedModel, UMT5EncoderModel

from model.conditions import TEXT_TOKENS
from model.weights import WeightsNotFound, check, check_complete, fingerprint, locate

log = logging.getLogger(__name__)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def squash(image_BCHW: Tensor, size: int = 224) -> Tensor:
    """CLIP's pixels for an image in [-1, 1]: bicubic to a square whatever its aspect, no antialiasing, no crop."""
    small = F.interpolate(image_BCHW.float(), size=(size, size), mode="bicubic", align_corners=False)
    mean, std = (small.new_tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (small * 0.5 + 0.5 - mean) / std


class ClipImageEncoder:
    """CLIP ViT: the output of the last block but one, without the final norm.

    The release runs it in fp16 on its GPU.
    """

    def __init__(self, source: str | None, dtype: torch.dtype = torch.float32):
        what = "a CLIP vision model (ViT-H/14 of Wan 2.1 I2V)"
        folder = locate(source, "encode.image_weights", what, "image_encoder")
        check(folder, ("clip_vision_model", "clip"), what)
        self._model = _load(CLIPVisionModel, folder, dtype, what)
        self.dim, self._folder = self._model.config.hidden_size, folder

    @cached_property
    def id(self) -> str:
        return f"clip-{fingerprint(self._folder)}"

    def to(self, device: torch.device | str) -> Self:
        self._model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, image_BCHW: Tensor) -> Tensor:
        # Squashed where the image lies: CPU and GPU interpolate to other last bits.
        pixels = squash(image_BCHW, self._model.config.image_size).to(self._model.device, self._model.dtype)
        return self._model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2].float()


def clean(prompt: str) -> str:
    """A prompt as Wan's text encoder was shown it: mended unicode, no HTML entities, single spaces."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


class Umt5TextEncoder:
    """umT5: the last hidden states of at most 512 tokens, without padding. The release runs it in bf16."""

    def __init__(self, source: str | None, dtype: torch.dtype = torch.float32):
        what = "umT5 (umT5-XXL of Wan 2.1) and its tokenizer"
        folder = locate(source, "encode.text_weights", what, "text_encoder", ("tokenizer",))
        check(folder, ("umt5",), what)
        words = folder.parent / "tokenizer"
        words = words if words.is_dir() else folder
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(words, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsNotFound(f"{words} holds no tokenizer ({error}).", "Give Wan's folder with both in it.") from (
                error
            )
        self._model = _load(UMT5EncoderModel, folder, dtype, what)
        self.dim, self._folders = self._model.config.d_model, tuple(dict.fromkeys((folder, words)))

    @cached_property
    def id(self) -> str:
        return f"umt5-{fingerprint(*self._folders)}"

    def to(self, device: torch.device | str) -> Self:
        self._model.to(device)
        return self

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> list[Tensor]:
        return [self._encode(clean(prompt)) for prompt in prompts]

    def _encode(self, prompt: str) -> Tensor:
        ids = self._tokenizer(prompt).input_ids
        if len(ids) > TEXT_TOKENS:
            log.warning(
                "a prompt of %d tokens is cut to the %d that the model reads: “%s…”", len(ids), TEXT_TOKENS, prompt[:60]
            )
            ids = self._tokenizer(prompt, truncation=True, max_length=TEXT_TOKENS).input_ids
        tokens = torch.tensor([ids], device=self._model.device)
        return self._model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0].float()


def _load(kind: type[PreTrainedModel], folder: Path, dtype: torch.dtype, what: str) -> PreTrainedModel:
    try:
        model, loading = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsNotFound(f"{folder} is not {what} ({error}).", "Give the folder of another model.") from error
    check_complete(folder, loading, what)
    return model.eval().requires_grad_(False)
