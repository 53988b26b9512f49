"""Model folders: safetensors beside a config.json, read strictly and one file at a time."""

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import WanTransformer3DModel
from safetensors import SafetensorError, safe_open
from torch import nn

from infra import schema
from infra.errors import SteadyDancerError
from model.initialise import init_from_base, random_base
from model.names import to_diffusers
from model.transformer import BASE_CHANNELS, NEW_PARTS, SteadyDancerTransformer, model_config
from model.weights import locate

log = logging.getLogger(__name__)
_CONFIG_KEYS = frozenset(model_config("tiny"))
_SHOWN = 8


class WrongCheckpoint(SteadyDancerError):
    """A folder whose tensors are not those of the model that was expected."""


def save_model(model: nn.Module, folder: Path | str) -> Path:
    """Writes config.json and safetensors (in shards of at most 10 GB) in diffusers' layout and names."""
    model.save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def load_model(
    folder: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> SteadyDancerTransformer:
    """SteadyDancer from a folder of ours, of diffusers or of the official release, in eval mode.

    One tensor at a time is read and cast. Raises WrongCheckpoint listing missing, extra and mis-shaped tensors.
    """
    folder = Path(folder)
    model = _empty(SteadyDancerTransformer, read_config(folder))
    _fill(model, folder, dtype, device)
    return model


def load_base(folder: Path | str, dtype: torch.dtype = torch.float32) -> WanTransformer3DModel:
    """Plain Wan 2.1 I2V. Raises as :func:`load_model`."""
    folder = Path(folder)
    model = _empty(WanTransformer3DModel, read_config(folder))
    _fill(model, folder, dtype, "cpu")
    return model


def build_model(settings: schema.Model, seed: int) -> SteadyDancerTransformer:
    """The untrained model of a config: started from the base, unless ``settings.base`` holds SteadyDancer itself.

    Raises SteadyDancerError where the base is not found or has another size than ``settings.size``.
    """
    if settings.base:
        folder = _base_folder(settings)
        if any(name.startswith(NEW_PARTS) for name in stored_tensors(folder)):
            log.info("%s is a SteadyDancer checkpoint; it is taken as it is", folder)
            return load_model(folder)
    config = model_config(settings.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SteadyDancerTransformer(**config)
    log.info("the new parts of SteadyDancer are initialised from the base: %s", ", ".join(NEW_PARTS))
    return init_from_base(model, build_base(settings, seed)).eval()


def build_base(settings: schema.Model, seed: int) -> WanTransformer3DModel:
    """The base Wan I2V of a config: from ``settings.base``, or random from ``seed``. Frozen, in eval mode."""
    base = load_base(_base_folder(settings)) if settings.base else random_base(model_config(settings.size), seed)
    return base.eval().requires_grad_(False)


def read_config(folder: Path) -> dict:
    """Transformer arguments of a model folder, from a diffusers or an official Wan config.json."""
    try:
        raw = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise WrongCheckpoint(f"{folder} has no readable config.json ({error}).", "Give a model folder.") from error
    if "dim" in raw:
        heads, width = raw["num_heads"], raw["dim"]
        return model_config("wan-14b") | {
            "num_attention_heads": heads,
            "attention_head_dim": width // heads,
            "ffn_dim": raw["ffn_dim"],
            "freq_dim": raw["freq_dim"],
            "num_layers": raw["num_layers"],
            "text_dim": raw.get("text_dim", 4096),
            "image_dim": raw.get("image_dim", 1280),
            "added_kv_proj_dim": width,
        }
    return {key: value for key, value in raw.items() if key in _CONFIG_KEYS}


class Stored(NamedTuple):
    """A tensor on disk."""

    file: Path
    name: str
    shape: tuple[int, ...]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """The tensors of a model folder by their diffusers names, in the order of the files. Reads no values."""
    stored: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with _opened(path) as tensors:
            for name in tensors.offset_keys():
                stored[to_diffusers(name)] = Stored(path, name, tuple(tensors.get_slice(name).get_shape()))
    if not stored:
        raise WrongCheckpoint(f"{folder} holds no safetensors.", "Give a folder with config.json and *.safetensors.")
    return stored


def model_sha(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _base_folder(settings: schema.Model) -> Path:
    folder = locate(settings.base, "model.base", "a Wan 2.1 I2V transformer", "transformer")
    found, wanted = read_config(folder), model_config(settings.size)
    keys = ("num_attention_heads", "attention_head_dim", "num_layers", "ffn_dim")
    if differing := [f"{key} {found.get(key)} (not {wanted[key]})" for key in keys if found.get(key) != wanted[key]]:
        raise SteadyDancerError(
            f"model.base={settings.base} is not of model.size={settings.size}: {', '.join(differing)}.",
            "Set model.size to the size of these weights.",
        )
    return folder


def _empty(kind: type, config: dict) -> nn.Module:
    """A model without memory for its weights; the RoPE tables, which no checkpoint holds, are made."""
    with torch.device("meta"):
        model = kind(**config)
    with torch.device("cpu"):
        model.rope = type(model.rope)(model.rope.attention_head_dim, model.rope.patch_size, model.rope.max_seq_len)
    return model


def _fill(model: nn.Module, folder: Path, dtype: torch.dtype, device: torch.device | str) -> None:
    stored = stored_tensors(folder)
    _compare(folder, model, {name: tensor.shape for name, tensor in stored.items()})

    def kept(name: str) -> torch.dtype:
        return torch.float32 if any(part in name for part in model._keep_in_fp32_modules) else dtype

    for path, group in itertools.groupby(stored.items(), key=lambda item: item[1].file):
        with _opened(path) as tensors:
            state = {ours: tensors.get_tensor(t.name).to(device, kept(ours), copy=True) for ours, t in group}
        model.load_state_dict(state, strict=False, assign=True)
    model.to(device).eval()


def _compare(folder: Path, model: nn.Module, found: dict[str, tuple[int, ...]]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    steadydancer = isinstance(model, SteadyDancerTransformer)
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [
        f"{n} {found[n]} (not {expected[n]})" for n in sorted(expected.keys() & found.keys()) if found[n] != expected[n]
    ]
    if not (missing or extra or shapes):
        return
    kinds = (("missing", missing), ("extra", extra), ("of another shape", shapes))
    listed = "\n".join(f"{len(names)} {kind}: {_short(names)}" for kind, names in kinds if names)
    base = steadydancer and all(name.startswith(NEW_PARTS) for name in missing) and not extra and missing
    raise WrongCheckpoint(
        f"{folder} does not hold the tensors of {'SteadyDancer' if steadydancer else 'Wan 2.1 I2V'}.\n{listed}",
        "This is a base Wan 2.1 I2V checkpoint, without SteadyDancer's parts. To train from it set model.base."
        if base
        else f"Give a checkpoint of the same size, with {BASE_CHANNELS} input channels.",
    )


def _short(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _opened(path: Path):
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise WrongCheckpoint(f"{path} is no safetensors file or is cut short ({error}).", "Fetch it again.") from error
