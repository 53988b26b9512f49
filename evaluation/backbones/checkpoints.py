"""Reading published weight files, and refusing those of another network."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from infra.errors import SteadyDancerError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .npz or PyTorch file by name. Pickles are opened as weights only, npz without.

    Tensors that lie in a dictionary under ``state_dict`` are taken out of it. Raises SteadyDancerError for what is no
    such file, is damaged, or holds other objects than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: torch.from_numpy(file[name]) for name in file.files if file[name].dtype.kind == "f"}
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise SteadyDancerError(
            f"{path} cannot be read as weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "Expected is a .safetensors file, a .npz, or a .pth that holds nothing but tensors; download it again.",
        ) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> nn.Module:
    """``network`` with exactly these tensors, ready to measure. Raises SteadyDancerError naming those that differ."""
    refuse_another(network.state_dict(), tensors, path, what)
    network.load_state_dict(dict(tensors))
    return frozen(network)


def refuse_another(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Raises SteadyDancerError unless names and shapes are the same."""
    problems = [f"lacks {name} {tuple(wanted[name].shape)}" for name in wanted if name not in found]
    problems += [f"has {name}, which that network has not" for name in found if name not in wanted]
    problems += [
        f"has {name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SteadyDancerError(f"{path} is not {what}: it {'; it '.join(problems[:3])}{more}.", "Name another file.")


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with the random weights of a seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return frozen(build())


def frozen(network: nn.Module) -> nn.Module:
    return network.float().eval().requires_grad_(False)
