"""What a forward reads beside latent and timestep, and what of it is computed once per video.

Shapes: B batch, C channels, T latent frames, H W latent height and width, L tokens, N heads, K channels of a head,
D width.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor


class KeysValues(NamedTuple):
    """What the queries of one block's cross-attention meet; both (B, L, N, K)."""

    keys_BLNK: Tensor
    values_BLNK: Tensor


class BlockContext(NamedTuple):
    """Image and text of one block, which are attended to apart and summed."""

    image: KeysValues
    text: KeysValues


class Prepared(NamedTuple):
    """The conditions of a batch with everything done to them that no timestep changes.

    Image and text are embedded tokens (B, L, D) while training, where each block makes its own keys and values, or the
    keys and values of every block.
    """

    y_BCTHW: Tensor
    fused_BCTHW: Tensor
    """(B, 16, T, H, W): the pose with its motion and structure."""
    references_BLD: Tensor
    """(B, 2hw, D): tokens of the image reference, then of the pose reference."""
    image: Tensor | tuple[KeysValues, ...]
    text: Tensor | tuple[KeysValues, ...]

    def contexts(self, blocks: int) -> Iterator[Tensor | BlockContext]:
        """What each of the ``blocks`` in turn attends to."""
        if isinstance(self.text, Tensor):
            return repeat(torch.cat([self.image, self.text], dim=1), blocks)
        return map(BlockContext, self.image, self.text)


class CrossAttention(WanAttnProcessor):
    """Wan's attention, which also takes keys and values that are there already."""

    def __call__(
        self, attn: WanAttention, hidden_states: Tensor, encoder_hidden_states: Tensor | BlockContext, *others, **named
    ) -> Tensor:
        if not isinstance(encoder_hidden_states, BlockContext):
            return super().__call__(attn, hidden_states, encoder_hidden_states, *others, **named)
        queries_BLNK = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        image, text = (
            dispatch_attention_fn(queries_BLNK, *part, backend=self._attention_backend).flatten(2)
            for part in encoder_hidden_states
        )
        projection, dropout = attn.to_out
        return dropout(projection(text + image))


def text_keys_values(attn: WanAttention, tokens_BLD: Tensor) -> KeysValues:
    """Of text tokens in a block's cross-attention."""
    return _by_head(attn, attn.norm_k(attn.to_k(tokens_BLD)), attn.to_v(tokens_BLD))


def image_keys_values(attn: WanAttention, tokens_BLD: Tensor) -> KeysValues:
    """Of CLIP tokens in a block's cross-attention."""
    return _by_head(attn, attn.norm_added_k(attn.add_k_proj(tokens_BLD)), attn.add_v_proj(tokens_BLD))


def _by_head(attn: WanAttention, *tensors_BLD: Tensor) -> KeysValues:
    return KeysValues(*(tensor.unflatten(2, (attn.heads, -1)) for tensor in tensors_BLD))
