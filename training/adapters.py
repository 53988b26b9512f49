"""Which parameters a stage trains: LoRA on the Wan blocks with the new parts trained fully, or everything."""

import re

import torch
from peft import LoraConfig
from torch import Tensor

from infra.errors import SteadyDancerError
from infra.schema import Stage
from model.shards import short
from model.transformer import LORA_TARGETS, NEW_PARTS, SteadyDancerTransformer

TARGETS = rf"blocks\.\d+\.(attn1\.|attn2\.)?({'|'.join(map(re.escape, LORA_TARGETS))})"
"""Self- and cross-attention and feed-forward of every block (specification 6.2), matched whole: neither the image's own
keys and values (``add_k_proj``, ``add_v_proj``) nor the feed-forward of the image embedder."""


def make_trainable(model: SteadyDancerTransformer, stage: Stage, seed: int) -> None:
    """Adds the stage's adapters (initialised from ``seed``) and marks what is trained."""
    if stage.trainable == "full":
        model.requires_grad_(True)
        return
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(LoraConfig(r=stage.lora_rank, lora_alpha=stage.lora_alpha, target_modules=TARGETS))
    for name, parameter in model.named_parameters():
        if is_new(name) or (stage.patch_embedding and name.split(".")[0] == "patch_embedding"):
            parameter.requires_grad_(True)


def is_new(name: str) -> bool:
    """Whether a tensor is one of the 42 that SteadyDancer adds to Wan."""
    return name.split(".")[0] in NEW_PARTS


def parameter_groups(model: SteadyDancerTransformer, stage: Stage) -> list[dict]:
    """Optimizer groups: new parts, adapters and base apart, and in each matrices (with weight decay) and vectors.

    ``role`` is ``new``, ``adapters`` or ``base``; new parts have ``new_lr`` where the stage gives one.
    """
    groups: dict[tuple[str, bool], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            role = "new" if is_new(name) else "adapters" if ".lora_" in name else "base"
            groups.setdefault((role, parameter.ndim > 1), []).append(parameter)
    rates = {"new": stage.new_lr or stage.lr}
    return [
        {
            "params": params,
            "role": role,
            "lr": rates.get(role, stage.lr),
            "weight_decay": stage.weight_decay if decays else 0.0,
        }
        for (role, decays), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def merge(model: SteadyDancerTransformer, trained: dict[str, Tensor], stage: Stage) -> None:
    """Puts the trained tensors into ``model``, the stage's parent, and folds its adapters into the weights.

    Raises SteadyDancerError listing trained tensors that are missing, unknown or of another shape; the model's values
    are the parent's then, but it has the stage's adapters.
    """
    make_trainable(model, stage, seed=0)
    wanted = {name: parameter.shape for name, parameter in model.named_parameters() if parameter.requires_grad}
    listed = {
        "missing": sorted(wanted.keys() - trained.keys()),
        "unknown": sorted(trained.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(trained[name].shape)} (not {tuple(shape)})"
            for name, shape in sorted(wanted.items())
            if name in trained and trained[name].shape != shape
        ],
    }
    if any(listed.values()):
        faults = "".join(f"\n{len(names)} {what}: {short(names)}" for what, names in listed.items() if names)
        raise SteadyDancerError(
            f"The trained tensors are not those of a stage with trainable: {stage.trainable} of this model.{faults}",
            "Give the parent and the settings of the stage that they were trained in.",
        )
    model.load_state_dict(trained, strict=False)
    if stage.trainable == "lora":
        model.fuse_lora()
        model.unload_lora()
