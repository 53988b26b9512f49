"""The layout of the official release: its config.json, and shards of official tensor names."""

import json
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from torch import nn

from infra.errors import SteadyDancerError
from model.names import to_official
from model.transformer import model_config

SHARD = "10GB"


def from_official(raw: dict) -> dict:
    """Transformer arguments from the content of an official config.json.

    It does not state the widths of text and image features where they are Wan's. Raises KeyError, TypeError,
    ValueError or ZeroDivisionError for a content that is none.
    """
    heads, width = raw["num_heads"], raw["dim"]
    if width % heads:
        raise ValueError(f"dim {width} is no multiple of num_heads {heads}")
    return model_config("wan-14b") | {
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "ffn_dim": raw["ffn_dim"],
        "freq_dim": raw["freq_dim"],
        "num_layers": raw["num_layers"],
        "text_dim": raw.get("text_dim", 4096),
        "image_dim": raw.get("image_dim", 1280),
        "added_kv_proj_dim": width,
        "eps": raw.get("eps", 1e-6),
    }


def official_config(config: dict) -> dict:
    """The content of an official config.json from transformer arguments: the inverse of :func:`from_official`."""
    return {
        "_class_name": "WanModel",
        "model_type": "i2v",
        "dim": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "num_layers": config["num_layers"],
        "ffn_dim": config["ffn_dim"],
        "freq_dim": config["freq_dim"],
        "in_dim": config["in_channels"],
        "out_dim": config["out_channels"],
        "text_dim": config["text_dim"],
        "text_len": 512,
        "image_dim": config["image_dim"],
        "eps": config["eps"],
    }


def save_official(model: nn.Module, folder: Path | str, max_shard: str | int = SHARD) -> Path:
    """Writes config.json and safetensors under official names, in shards of at most ``max_shard`` with their index.

    Shards are named as the release's are; earlier ones in the folder are replaced. The tensors keep their types, and
    those read from an official fp32 checkpoint are written back byte for byte.
    """
    folder = folder_for(folder)
    state = {to_official(name): tensor for name, tensor in model.state_dict().items()}
    save_torch_state_dict(
        state, folder, filename_pattern="diffusion_pytorch_model{suffix}.safetensors", max_shard_size=max_shard
    )
    (folder / "config.json").write_text(json.dumps(official_config(model.config), indent=2) + "\n")
    return folder


def folder_for(folder: Path | str) -> Path:
    """``folder``, made where it is not there. Raises SteadyDancerError where a file has its name."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SteadyDancerError(f"{folder} cannot be a folder: {error.strerror}.", "Name another.") from error
    return folder
