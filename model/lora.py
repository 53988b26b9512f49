"""LoRA files: low-rank changes of Wan's weights, and the parts of SteadyDancer that were trained beside them.

Two namings are written, and these and their relatives are read:

- ``peft``: a folder of adapter_config.json and adapter_model.safetensors, as peft.PeftModel reads it, with diffusers
  names. Fully trained parts are PEFT's ``modules_to_save``.
- ``comfyui``: one file of official names, ``diffusion_model.<name>.lora_down.weight``, ``lora_up.weight`` and
  ``alpha``. Fully trained parts are ``<name>.set_weight``.

In both a fully trained part is stored by its values, not by its difference to the parent. The added parts begin as
something that no public checkpoint holds, so that a difference would give the trained part on one parent alone; the
values give it on every model that has the part. A strength other than 1 does not weaken ``set_weight`` in ComfyUI;
:func:`load_lora` takes that fraction of the way from the model's values to the stored ones.

Shapes: r rank, O and I outputs and inputs of a layer. A ("down") is (r, I), B ("up") is (O, r).
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from infra.errors import SteadyDancerError, UsageError
from model.names import to_official
from model.official import folder_for
from model.transformer import NEW_PARTS

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ADAPTER = re.compile(r"^(?P<layer>.+)\.lora_(?P<side>[AB])\.(?:default\.)?weight$")
_PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "lora_unet_")
_KINDS = {
    ".lora_A.weight": "A",
    ".lora_A.default.weight": "A",
    ".lora_down.weight": "A",
    ".lora_B.weight": "B",
    ".lora_B.default.weight": "B",
    ".lora_up.weight": "B",
    ".alpha": "alpha",
    ".diff": "difference",
    ".diff_b": "bias difference",
    ".set_weight": "value",
}
_SHOWN = 20
_PATCHES = "patch_embedding."
"""Wan's own, which a LoRA stage may train in full as it does the new parts."""


class WrongLora(SteadyDancerError):
    """A LoRA file that cannot be read, or whose tensors do not fit the model."""


def save_lora(
    trained: nn.Module | Mapping[str, Tensor],
    path: Path | str,
    *,
    naming: Literal["peft", "comfyui"] = "peft",
    alpha: float | None = None,
) -> Path:
    """Writes adapters and fully trained parts as a LoRA: a folder for ``peft``, a .safetensors for ``comfyui``.

    ``trained`` is a model with the adapter that a LoRA stage gives it, or the trained tensors by that model's names;
    these need the stage's ``alpha``. Tensors keep their types. Raises SteadyDancerError for tensors of the base, which
    a LoRA does not hold, and where there is no adapter or half of one.
    """
    path = Path(path)
    if isinstance(trained, nn.Module):
        if alpha is None and "default" in getattr(trained, "peft_config", {}):
            alpha = trained.peft_config["default"].lora_alpha
        trained = {
            n: p
            for n, p in trained.named_parameters()
            if _ADAPTER.match(n) or n.startswith(NEW_PARTS) or (p.requires_grad and n.startswith(_PATCHES))
        }
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    values, strangers = {}, []
    for name, tensor in trained.items():
        tensor = tensor.detach().cpu().contiguous()
        if match := _ADAPTER.match(name):
            layers[match["layer"]][match["side"]] = tensor
        elif name.startswith((*NEW_PARTS, _PATCHES)):
            values[name] = tensor
        else:
            strangers.append(f"{name}: neither of an adapter nor of a part trained in full")
    strangers += [f"{name}: half of an adapter" for name, sides in layers.items() if len(sides) < 2]
    if strangers or not layers:
        raise SteadyDancerError(
            f"These tensors make no LoRA:\n{_listed(strangers) or 'there is no adapter.'}",
            "Give what a stage with trainable: lora has trained, or save the whole model.",
        )
    if alpha is None:
        raise SteadyDancerError("The alpha of the adapters is not known.", "Give alpha, the stage's lora_alpha.")
    return {"peft": _save_peft, "comfyui": _save_comfyui}[naming](layers, values, path, alpha)


def load_lora(model: nn.Module, path: Path | str, scale: float = 1.0) -> None:
    """Merges a LoRA into the weights of ``model``, computed in fp32 and cast back.

    ``path`` is a .safetensors file or a folder with one, in either naming of :func:`save_lora`, in diffusers' own, in
    official names without a prefix or in those of ``lora_unet_``. W + scale * alpha / r * B A; without an alpha in the
    file, in adapter_config.json beside it or in diffusers' metadata it is r. Nothing is merged unless all fits:
    raises WrongLora listing tensors that are unknown, stored twice, without their other half, of another shape or not
    finite.
    """
    if not math.isfinite(scale):
        raise UsageError(f"A LoRA cannot be merged with a scale of {scale}.", "Give a number, such as 1.")
    path = Path(path).expanduser()
    parameters = dict(model.named_parameters())
    tensors, config = _read(path)
    entries, faults = _sorted(tensors, parameters)
    for target, kinds in entries.items():
        faults += [f"{target}: {fault}" for fault in _faults(kinds, parameters[target])]
    fix = "Give a LoRA of Wan 2.1 I2V or SteadyDancer, and a model of its size."
    if faults:
        raise WrongLora(f"{path} does not fit the model, in {len(faults)} points:\n{_listed(faults)}", fix)
    if all("value" in kinds for kinds in entries.values()):
        raise WrongLora(f"{path} changes no weight: it holds whole tensors or none, as a checkpoint does.", fix)
    with torch.no_grad():
        for target, kinds in entries.items():
            parameter = parameters[target]
            on_device = {kind: tensor.to(parameter.device, torch.float32) for kind, tensor in kinds.items()}
            parameter.copy_(_merged(parameter.float(), on_device, scale, _alpha(target, config)))


def _save_peft(layers: dict, values: dict[str, Tensor], path: Path, alpha: float) -> Path:
    ranks = {name: len(sides["A"]) for name, sides in layers.items()}
    rank = next(iter(ranks.values()))
    config = LoraConfig(
        r=rank,
        rank_pattern={f"^{re.escape(name)}": r for name, r in ranks.items() if r != rank},
        lora_alpha=alpha,
        target_modules=sorted(layers),
        modules_to_save=sorted({name.split(".")[0] for name in values}) or None,
        inference_mode=True,
    )
    path = folder_for(path)
    adapters = {
        f"{name}.lora_{side}.weight": tensor for name, sides in layers.items() for side, tensor in sides.items()
    }
    state = {f"base_model.model.{name}": tensor for name, tensor in (adapters | values).items()}
    save_file(state, path / PEFT_WEIGHTS, metadata={"format": "pt"})
    # In order, where save_pretrained writes a set as it comes: the same LoRA has the same bytes.
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    (path / PEFT_CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")
    return path


def _save_comfyui(layers: dict, values: dict[str, Tensor], path: Path, alpha: float) -> Path:
    if path.suffix != ".safetensors":
        raise SteadyDancerError(f"{path}: a LoRA in ComfyUI's naming is one file.", "End the name in .safetensors.")
    state = {}
    for name, sides in layers.items():
        official = f"diffusion_model.{to_official(name)}"
        state[f"{official}.lora_down.weight"], state[f"{official}.lora_up.weight"] = sides["A"], sides["B"]
        state[f"{official}.alpha"] = torch.tensor(float(alpha))
    for name, tensor in values.items():
        # The loader's name of a weight is that of its module; of anything else it is the full one.
        state[f"diffusion_model.{to_official(name).removesuffix('.weight')}.set_weight"] = tensor
    folder_for(path.parent)
    save_file(state, path, metadata={"format": "pt"})
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], LoraConfig | None]:
    """The tensors of a LoRA file or folder, and the PEFT config beside or in it."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        raise WrongLora(f"{path} holds {len(files)} safetensors files; a LoRA is one.", "Name the file.")
    try:
        with safe_open(files[0], "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WrongLora(f"{files[0]} is no safetensors file or is cut short ({error}).", "Fetch it again.") from error
    beside = files[0].with_name(PEFT_CONFIG)
    try:
        if files[0].name == PEFT_WEIGHTS and beside.exists():
            config = LoraConfig.from_pretrained(str(beside.parent))
        elif "lora_adapter_metadata" in metadata:
            raw = json.loads(metadata["lora_adapter_metadata"])
            config = LoraConfig(**{name.removeprefix("transformer."): value for name, value in raw.items()})
        else:
            config = None
    except (ValueError, TypeError, AttributeError) as error:
        raise WrongLora(f"The adapter config of {files[0]} cannot be read ({error}).", "Fetch it again.") from error
    return tensors, config


def _sorted(tensors: dict[str, Tensor], parameters: Mapping[str, Tensor]) -> tuple[dict[str, dict], list[str]]:
    """The tensors by the parameter that they change and how, and the faults of their names and numbers."""
    spelled = {}
    for name in parameters:
        layer = name.removesuffix(".weight")
        for spelling in (name, layer, to_official(name), to_official(layer)):
            spelled[spelling] = spelled[spelling.replace(".", "_")] = name
    entries: dict[str, dict[str, Tensor]] = defaultdict(dict)
    faults = []
    for name, tensor in tensors.items():
        bare = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
        ending = next((ending for ending in _KINDS if bare.endswith(ending)), "")
        kind, target = _KINDS.get(ending, "value"), spelled.get(bare.removesuffix(ending))
        if kind == "bias difference" and target:
            kind, target = "difference", target.removesuffix(".weight") + ".bias"
        if target not in parameters:
            faults.append(f"{name}: unknown")
        elif kind in entries[target]:
            faults.append(f"{name}: {target} has its {kind} already")
        elif not tensor.float().isfinite().all():
            faults.append(f"{name}: not finite numbers")
        else:
            entries[target][kind] = tensor
    return {target: kinds for target, kinds in entries.items() if kinds}, faults


def _faults(kinds: dict[str, Tensor], parameter: Tensor) -> list[str]:
    """What is wrong with the tensors that change one parameter."""
    faults = []
    shape = tuple(parameter.shape)
    if "A" in kinds and "B" in kinds:
        a, b = kinds["A"], kinds["B"]
        matrices = min(a.dim(), b.dim(), len(shape)) > 1 and a.numel() and b.numel()
        if not matrices or (len(b), b[0].numel(), a[0].numel()) != (shape[0], len(a), math.prod(shape[1:])):
            faults.append(f"A {tuple(a.shape)} and B {tuple(b.shape)} do not make {shape}")
    elif present := kinds.keys() & {"A", "B", "alpha"}:
        faults.append(f"{' and '.join(sorted(present))} without the rest of the adapter")
    for kind in kinds.keys() & {"difference", "value"}:
        if kinds[kind].shape != parameter.shape:
            faults.append(f"{kind} {tuple(kinds[kind].shape)} is not {shape}")
    if "value" in kinds and len(kinds) > 1:
        faults.append("a value and a change of it")
    if "alpha" in kinds and kinds["alpha"].numel() != 1:
        faults.append(f"alpha {tuple(kinds['alpha'].shape)} is not one number")
    return faults


def _alpha(target: str, config: LoraConfig | None) -> tuple[float, bool] | None:
    """The adapter config's alpha for a layer, and whether it is divided by the root of the rank."""
    if config is None:
        return None
    layer = target.removesuffix(".weight")
    return config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, layer), config.lora_alpha), config.use_rslora


def _merged(weight: Tensor, kinds: dict[str, Tensor], scale: float, configured: tuple[float, bool] | None) -> Tensor:
    if "value" in kinds:
        return torch.lerp(weight, kinds["value"], scale)
    if "difference" in kinds:
        weight = weight + scale * kinds["difference"]
    if "A" not in kinds:
        return weight
    rank = len(kinds["A"])
    alpha, rooted = configured or (rank, False)
    if "alpha" in kinds:
        alpha, rooted = kinds["alpha"].item(), False
    change = kinds["B"].flatten(1) @ kinds["A"].flatten(1)
    return weight + scale * alpha / (math.sqrt(rank) if rooted else rank) * change.view_as(weight)


def _listed(faults: list[str]) -> str:
    more = len(faults) - _SHOWN
    return "\n".join(sorted(faults)[:_SHOWN] + ([f"and {more} more"] if more > 0 else []))
