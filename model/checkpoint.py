"""Models from folders of ours, of diffusers and of the official release, read strictly; and written."""

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import WanTransformer3DModel
from torch import nn

from infra import commits, schema
from infra.commits import Commit
from infra.errors import SteadyDancerError
from model.initialise import init_from_base, init_patch_embeddings, new_parts, random_base
from model.kinds import BASE, STEADYDANCER, compare
from model.official import folder_for, from_official
from model.shards import Stored, WrongCheckpoint, opened, short, stored_tensors, weight_files
from model.transformer import NEW_PARTS, SteadyDancerTransformer, kept_in_fp32, model_config
from model.weights import HUB_ID, WeightsNotFound, locate

log = logging.getLogger(__name__)
PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}
_CONFIG_KEYS = frozenset(model_config("tiny"))
_SIZE_KEYS = ("num_attention_heads", "attention_head_dim", "num_layers", "ffn_dim", "freq_dim", "text_dim", "image_dim")
_KINDS = ("checkpoint", "export")


class Found(NamedTuple):
    """A model that has been found and not been read yet."""

    path: Path
    """its folder or file"""
    config: dict
    """arguments of the transformer"""
    commit: Commit | None
    """where it is one of ours"""


class Opened(NamedTuple):
    """A model and where it comes from."""

    model: SteadyDancerTransformer
    id: str
    """The commit's id, or ``sha256:`` and the hash of config and weight files."""
    trained: dict | None
    """The config that it was trained with, where it is a commit of ours."""


def find_model(source: str | Path) -> Found:
    """A committed folder of ours, a diffusers or an official folder, a .safetensors file or a hub id.

    Reads no values, but downloads those of a hub id. Raises WrongCheckpoint as :func:`load_model`, WeightsNotFound,
    CorruptArtifact, and SteadyDancerError for a commit that holds no model.
    """
    path, commit = Path(source).expanduser(), None
    if (path / commits.COMMIT_FILE).is_file():
        commit = commits.read(path)
        if commit.kind not in _KINDS:
            raise SteadyDancerError(f"{source} is a {commit.kind}, not a checkpoint.", "Give a stage's folder.")
        path = commit.path / "model"
        if not path.is_dir():
            raise SteadyDancerError(f"{source} holds no model.", "If it is an exported LoRA, give it with --lora.")
    elif not path.is_file():
        path = _folder(path, str(source))
    if commit is None:
        _stored(_empty(SteadyDancerTransformer, path), path)
    return Found(path, read_config(path), commit)


def open_model(
    source: str | Path | Found, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Opened:
    """SteadyDancer from what :func:`find_model` finds.

    Every file is hashed, and those of a commit checked. That the weights are finite is not looked at. Raises
    WrongCheckpoint as :func:`load_model`, CorruptArtifact, and as :func:`find_model`.
    """
    path, _, commit = source if isinstance(source, Found) else find_model(source)
    if commit is not None:
        commits.verify(commit)
    model = load_model(path, dtype, device)
    if commit is not None:
        return Opened(model, commit.id, commit.config)
    return Opened(model, f"sha256:{_files_hash(path)}", None)


def save_model(model: nn.Module, folder: Path | str) -> Path:
    """Writes config.json and safetensors (in shards of at most 10 GB) in diffusers' layout and names."""
    folder = folder_for(folder)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def load_model(
    source: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> SteadyDancerTransformer:
    """SteadyDancer from a folder of ours, of diffusers or of the official release, or a file, in eval mode.

    One shard at a time is read and cast; norms, modulation tables and pose modules stay in fp32. A file without a
    config.json beside it is taken for a ``wan-14b``. Raises WrongCheckpoint for another kind of model, listing
    missing, extra and mis-shaped tensors, and for files as :func:`model.shards.stored_tensors` does.
    """
    source = Path(source)
    model = _empty(SteadyDancerTransformer, source)
    _fill(model, source, dtype, device)
    return model.to(device).eval()


def load_base(
    folder: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> WanTransformer3DModel:
    """Plain Wan 2.1 I2V, read and raising as :func:`load_model`."""
    folder = Path(folder)
    model = _empty(WanTransformer3DModel, folder)
    _fill(model, folder, dtype, device)
    return model.to(device).eval()


def build_model(
    settings: schema.Model, seed: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> SteadyDancerTransformer:
    """The untrained model of a config: started from the base, unless ``settings.base`` holds SteadyDancer itself.

    Raises SteadyDancerError where the base is not found or has another size than ``settings.size``.
    """
    config = model_config(settings.size)
    if not settings.base:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SteadyDancerTransformer(**config)
        model = cast(init_from_base(model, build_base(settings, seed)), dtype)
    else:
        folder = _base_folder(settings)
        if any(name.startswith(NEW_PARTS) for name in stored_tensors(folder)):
            log.info("%s is a SteadyDancer checkpoint; it is taken as it is", folder)
            return load_model(folder, dtype, device)
        # Straight into place: a model of its own for the base would be another 66 GB of a 14B.
        model = _empty(SteadyDancerTransformer, folder)
        for part, module in new_parts(config, seed).items():
            setattr(model, part, module)
        _fill(model, folder, dtype, device, kind=BASE)
        init_patch_embeddings(cast(model.to(device), dtype))
    log.info("the new parts of SteadyDancer are initialised from the base: %s", ", ".join(NEW_PARTS))
    return model.to(device).eval()


def build_base(
    settings: schema.Model, seed: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> WanTransformer3DModel:
    """The base Wan I2V of a config: from ``settings.base``, or random from ``seed``. Frozen, in eval mode."""
    if settings.base:
        base = load_base(_base_folder(settings), dtype, device)
    else:
        base = cast(random_base(model_config(settings.size), seed), dtype).to(device)
    return base.eval().requires_grad_(False)


def read_config(source: Path) -> dict:
    """Transformer arguments from the diffusers or official Wan config.json of a model folder, or beside a file."""
    path = (source.parent if source.is_file() else source) / "config.json"
    if source.is_file() and not path.exists():
        return model_config("wan-14b")
    try:
        raw = json.loads(path.read_text())
        return from_official(raw) if "dim" in raw else {key: raw[key] for key in _CONFIG_KEYS & raw.keys()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise WrongCheckpoint(f"{path} is no readable model config ({error!r}).", "Give a model folder.") from error


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``model`` in ``dtype``, but for the parts that are to stay in fp32: norms, modulation tables, pose modules."""
    for name, parameter in model.named_parameters():
        if not kept_in_fp32(model, name):
            parameter.data = parameter.data.to(dtype)
    return model


def model_sha(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _folder(path: Path, source: str) -> Path:
    """A folder with weights but without config.json goes on, to be told what it holds instead."""
    if not path.exists() and not HUB_ID.match(source):
        raise WeightsNotFound(
            f"--checkpoint {source} does not exist.",
            "Give a stage's folder, a diffusers folder, the official release's, or a hub id (owner/name@REVISION).",
        )
    if stages := sorted(each.parent.name for each in path.glob(f"stage*/{commits.COMMIT_FILE}")):
        raise WrongCheckpoint(f"{source} is a work folder.", f"Give the folder of a stage: {', '.join(stages)}.")
    if path.is_dir() and not any((path / part / "config.json").is_file() for part in (".", "transformer")):
        weight_files(path)
    return locate(source, "--checkpoint", "a SteadyDancer transformer", "transformer")


def _files_hash(source: Path) -> str:
    digest, config = hashlib.sha256(), (source.parent if source.is_file() else source) / "config.json"
    for path in [*([config] if config.exists() else []), *weight_files(source)]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _base_folder(settings: schema.Model) -> Path:
    folder = locate(settings.base, "model.base", "a Wan 2.1 I2V transformer", "transformer")
    found, wanted = read_config(folder), model_config(settings.size)
    # A model without image_dim is of another kind, which is told better once its tensors are seen.
    keys = [key for key in _SIZE_KEYS if found.get(key) not in (None, wanted[key])]
    if differing := [f"{key} {found[key]} (not {wanted[key]})" for key in keys]:
        raise SteadyDancerError(
            f"model.base={settings.base} is not of model.size={settings.size}: {', '.join(differing)}.",
            "Set model.size to the size of these weights.",
        )
    return folder


def _empty(kind: type, source: Path) -> nn.Module:
    """A model without memory for its weights; the RoPE tables, which no checkpoint holds, are made."""
    config = read_config(source)
    try:
        with torch.device("meta"):
            model = kind(**config)
        with torch.device("cpu"):
            model.rope = type(model.rope)(model.rope.attention_head_dim, model.rope.patch_size, model.rope.max_seq_len)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WrongCheckpoint(f"The config.json of {source} makes no model ({error}).", "Fetch it again.") from error
    return model


def _stored(model: nn.Module, source: Path, kind: str | None = None) -> dict[str, Stored]:
    """The tensors on disk, which are the model's: all of them, or of a ``kind`` that is a part of it."""
    stored = stored_tensors(source)
    # Published diffusers folders hold some that nothing reads.
    if unread := [name for name in stored if any(part in name for part in model._keys_to_ignore_on_load_unexpected)]:
        log.info("%s: %d tensors that Wan does not read are left out: %s", source, len(unread), short(unread, 2))
        stored = {name: tensor for name, tensor in stored.items() if name not in unread}
    kind = kind or (STEADYDANCER if isinstance(model, SteadyDancerTransformer) else BASE)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if kind == BASE:
        expected = {name: shape for name, shape in expected.items() if not name.startswith(NEW_PARTS)}
    compare(source, kind, expected, {name: tensor.shape for name, tensor in stored.items()})
    return stored


def _fill(
    model: nn.Module, source: Path, dtype: torch.dtype, device: torch.device | str, kind: str | None = None
) -> None:
    """Puts the stored tensors in place of the model's."""
    stored = _stored(model, source, kind)

    def kept(name: str) -> torch.dtype:
        return torch.float32 if kept_in_fp32(model, name) else dtype

    for path, group in itertools.groupby(stored.items(), key=lambda item: item[1].file):
        with opened(path) as tensors:
            state = {ours: tensors.get_tensor(t.name).to(device, kept(ours), copy=True) for ours, t in group}
        model.load_state_dict(state, strict=False, assign=True)
