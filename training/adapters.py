"""Which parameters a stage trains: LoRA on the Wan blocks with the new parts trained fully, or everything."""

import re

import torch
from peft import LoraConfig

from infra.schema import Stage
from model.transformer import LORA_TARGETS, NEW_PARTS, SteadyDancerTransformer

TARGETS = rf"blocks\.\d+\.(attn1\.|attn2\.)?({'|'.join(map(re.escape, LORA_TARGETS))})"
"""Self- and cross-attention and feed-forward of every block (specification 6.2)."""


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
        if is_new(name):
            parameter.requires_grad_(True)


def is_new(name: str) -> bool:
    """Whether a tensor is one of the 42 that SteadyDancer adds to Wan."""
    return name.split(".")[0] in NEW_PARTS


def parameter_groups(model: SteadyDancerTransformer, stage: Stage) -> list[dict]:
    """Optimizer groups: new parts, adapters and base apart, and in each matrices (with weight decay) and vectors."""
    groups: dict[tuple[str, bool], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            role = "new" if is_new(name) else "adapters" if ".lora_" in name else "base"
            groups.setdefault((role, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": params, "role": role, "lr": stage.lr, "weight_decay": stage.weight_decay if decays else 0.0}
        for (role, decays), params in sorted(groups.items(), key=lambda item: item[0])
    ]


def merge(model: SteadyDancerTransformer, trained: dict[str, torch.Tensor], stage: Stage) -> None:
    """Puts the trained tensors into ``model``, the stage's parent, and folds its adapters into the weights.

    Raises RuntimeError if a trained tensor is missing, unknown or of another shape.
    """
    make_trainable(model, stage, seed=0)
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wanted != set(trained):
        differing = sorted(wanted ^ set(trained))
        raise RuntimeError(f"the trained state does not fit the model: {len(differing)} tensors, first {differing[:3]}")
    model.load_state_dict(trained, strict=False)
    if stage.trainable == "lora":
        model.fuse_lora()
        model.unload_lora()
