"""The safetensors files of a model: which there are, and what lies in them. No pickle is ever read."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from infra.errors import SteadyDancerError
from model.names import to_diffusers

INDEX = "diffusion_pytorch_model.safetensors.index.json"
_SCALE = re.compile(r"(^|[._])(scale_(weight|input)|weight_scale(_\d)?|input_scale|scaled_fp8|absmax|quant_map)$")
_UNREADABLE = {".gguf": "GGUF", ".bin": "pickled", ".pt": "pickled", ".pth": "pickled", ".ckpt": "pickled"}
_FIX = "Give a folder with config.json and *.safetensors, or a .safetensors file."


class WrongCheckpoint(SteadyDancerError):
    """Files whose tensors are not those of the model that was expected, or that cannot be read."""


class Stored(NamedTuple):
    """A tensor on disk."""

    file: Path
    name: str
    shape: tuple[int, ...]


def weight_files(source: Path) -> list[Path]:
    """The files of a model folder, or ``source`` itself where it is one.

    With an index json these are the shards that it names, else all *.safetensors. Raises WrongCheckpoint for an index
    that names a file outside of the folder or one that is missing, and where there are only other kinds of files.
    """
    if source.is_file():
        _refuse_unreadable(source, [source])
        return [source]
    if not source.is_dir():
        raise WrongCheckpoint(f"{source} does not exist.", _FIX)
    index = source / INDEX
    if not index.is_file():
        others = sorted(source.glob("*.safetensors.index.json"))
        if len(others) > 1:
            raise WrongCheckpoint(f"{source} holds {len(others)} index files and no {INDEX}.", "Leave one of them.")
        index = others[0] if others else None
    files = _indexed(index) if index else sorted(source.glob("*.safetensors"))
    if not files:
        _refuse_unreadable(source, sorted(source.iterdir()))
        raise WrongCheckpoint(f"{source} holds no safetensors.", _FIX)
    return files


def stored_tensors(source: Path) -> dict[str, Stored]:
    """The tensors of a model by their diffusers names, file by file. Reads no values.

    Raises WrongCheckpoint as :func:`weight_files`, for a file that is cut short, for a tensor that is stored twice and
    for quantised ones.
    """
    stored: dict[str, Stored] = {}
    quantised, twice = [], []
    for path in weight_files(source):
        with opened(path) as tensors:
            for name in tensors.offset_keys():
                entry = tensors.get_slice(name)
                if _SCALE.search(name) or not entry.get_dtype().startswith(("F", "BF")):
                    quantised.append(name)
                ours = to_diffusers(name)
                if ours in stored:
                    twice.append(f"{name} in {stored[ours].file.name} and {path.name}")
                stored[ours] = Stored(path, name, tuple(entry.get_shape()))
    if quantised:
        raise WrongCheckpoint(
            f"{source} holds quantised weights: {len(quantised)} scales or integers, such as {quantised[0]}.",
            "Give the checkpoint in fp32, fp16 or bf16; it is cast on loading.",
        )
    if twice:
        raise WrongCheckpoint(f"{source}: {len(twice)} tensors are stored twice: {short(twice)}", "Remove one of them.")
    return stored


def opened(path: Path):
    """The open safetensors file. Raises WrongCheckpoint where it is none or is cut short."""
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        if path.suffix != ".safetensors":
            raise WrongCheckpoint(f"{path} is no safetensors file.", _FIX) from error
        raise WrongCheckpoint(f"{path} is cut short or damaged ({error}).", "Fetch it again.") from error


def short(names: list[str], shown: int = 50) -> str:
    """The names in one line: all of SteadyDancer's 42 tensors, but not all of Wan's 1,303."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name or Path(name).suffix != ".safetensors"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongCheckpoint(f"{index} is no index of shards ({error!r}).", "Fetch it again.") from error
    if outside:
        raise WrongCheckpoint(
            f"{index} names {outside[0]!r}, which is no safetensors file of its own folder.", "Do not use these files."
        )
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise WrongCheckpoint(f"{index} names shards that are missing: {short(missing)}.", "Fetch them.")
    return [index.parent / name for name in names]


def _refuse_unreadable(source: Path, files: list[Path]) -> None:
    for path in files:
        if kind := _UNREADABLE.get(path.suffix):
            raise WrongCheckpoint(
                f"{source} holds only {kind} weights ({path.name}).",
                "Only safetensors are read: pickled files can run code, and GGUF is quantised. Convert them.",
            )
