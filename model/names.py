"""Official SteadyDancer and Wan tensor names against those of diffusers (specification 2)."""

import re

_TOP = [
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("head.modulation", "scale_shift_table"),
    ("head.head", "proj_out"),
]
_ATTENTION = [
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("o", "to_out.0"),
    ("norm_q", "norm_q"),
    ("norm_k", "norm_k"),
]
_BLOCK = [
    ("modulation", "scale_shift_table"),
    *((f"self_attn.{a}", f"attn1.{b}") for a, b in _ATTENTION),
    *((f"cross_attn.{a}", f"attn2.{b}") for a, b in _ATTENTION),
    ("cross_attn.k_img", "attn2.add_k_proj"),
    ("cross_attn.v_img", "attn2.add_v_proj"),
    ("cross_attn.norm_k_img", "attn2.norm_added_k"),
    # The affine norm before cross-attention; diffusers' own norm3 has no tensors.
    ("norm3", "norm2"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
]
_PARTS = re.compile(r"^(?:blocks\.(?P<number>\d+)\.)?(?P<rest>.+?)(?P<leaf>\.weight|\.bias)?$")


def _rename(name: str, top: dict[str, str], block: dict[str, str]) -> str:
    parts = _PARTS.match(name)
    number, rest, leaf = parts["number"], parts["rest"], parts["leaf"] or ""
    if number is not None:
        return f"blocks.{number}.{block.get(rest, rest)}{leaf}"
    return top.get(rest, rest) + leaf


def to_diffusers(name: str) -> str:
    """The diffusers name of an official tensor. The added parts have the same name in both."""
    return _rename(name, dict(_TOP), dict(_BLOCK))


def to_official(name: str) -> str:
    """The official name of a diffusers tensor."""
    return _rename(name, {b: a for a, b in _TOP}, {b: a for a, b in _BLOCK})


def is_official(names) -> bool:
    """Whether these tensor names are the official release's rather than diffusers'."""
    return any(name.startswith(("head.", "time_embedding.", "time_projection.")) for name in names)
