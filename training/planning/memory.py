"""Memory of a worker while it trains, by part and moment, and of a node's host.

Counted are the tensors that live at once, as measured by watching the allocations of real steps (tests/benchmarks/
training_memory.py: within a tenth). Beside them a GPU holds its context, the buffers of NCCL, workspaces and gaps, for
which :data:`model.memory.HEADROOM` stands; attention is taken to be one that never writes out its matrix.

Shapes: T H W latent frames, height and width.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from infra import schema
from model.conditions import IMAGE_TOKENS
from training.planning.activations import FP32, Activations, Setting

BUCKET = 500_000_000
"""Elements of a communication bucket of DeepSpeed at most (:data:`training.engine.LARGEST_BUCKET`)."""
SUB_GROUP, LIVE, PERSISTENT = 10**9, 10**9, 10**5
"""ZeRO-3 by default: elements that a step of the optimizer works on; that are gathered at once; of a parameter that is
not divided."""
PROCESS = 800 * 2**20
"""Bytes of a process with torch, DeepSpeed, Ray and PEFT loaded, before it has a tensor."""


class Role(NamedTuple):
    """Parameters that are alike to the optimizer."""

    name: str
    """base, new or adapters"""
    trained: bool
    matrices: bool
    numel: int
    persistent: int
    """of these in tensors too small for ZeRO-3 to divide"""


class Moment(NamedTuple):
    """What a worker holds at a moment of a step."""

    name: str
    parts: dict[str, int]
    """bytes"""

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def roles(model: Mapping[str, Any], stage: schema.Stage) -> list[Role]:
    """The parameters of a stage's model with its adapters, as :mod:`training.adapters` groups them."""
    values = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in model.items())
    return list(_roles(values, stage.trainable == "full", stage.patch_embedding, stage.lora_rank))


@lru_cache(maxsize=32)
def _roles(model: tuple, full: bool, patch_embedding: bool, rank: int) -> tuple[Role, ...]:
    import re

    from training.adapters import TARGETS, is_new

    counts: dict[tuple[str, bool, bool], list[int]] = {}

    def add(name: str, trained: bool, shape: tuple[int, ...], times: int) -> None:
        numel = math.prod(shape)
        count = counts.setdefault((name, trained, len(shape) > 1), [0, 0])
        count[0] += times * numel
        count[1] += times * numel * (numel <= PERSISTENT)

    for name, shape in _shapes(model):
        times = dict(model)["num_layers"] if name.startswith("blocks.") else 1
        new = is_new(name)
        trained = full or new or (patch_embedding and name.startswith("patch_embedding."))
        add("new" if new else "base", trained, shape, times)
        if not full and name.endswith(".weight") and re.fullmatch(TARGETS, name.removesuffix(".weight")):
            add("adapters", True, (rank, shape[1]), times)
            add("adapters", True, (shape[0], rank), times)
    return tuple(Role(*key, *count) for key, count in counts.items())


@lru_cache(maxsize=8)
def _shapes(model: tuple) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Of the tensors of one block and of all that is no block."""
    import torch

    from model.transformer import SteadyDancerTransformer

    with torch.device("meta"):
        empty = SteadyDancerTransformer(**(dict(model) | {"num_layers": 1}))
    return tuple((name, tuple(parameter.shape)) for name, parameter in empty.named_parameters())


def moments(setting: Setting) -> list[Moment]:
    """What a worker holds when a backward pass begins, when it ends, and in the optimizer's step; and while it is set
    up, where ZeRO-3 first has models whole. Without headroom."""
    static, activations = _static(setting), Activations(setting)
    kept, outside, work = activations.kept, activations.outside, activations.work
    gathered = _gathered(setting)
    unreduced, reduced = _gradients(setting)
    again = {"gradients": static.get("gradients", 0) + unreduced} if setting.accumulates else {}
    begins = {"activations kept": kept + outside, "block at work": work, **gathered, **again}
    ends = {
        "activations kept": outside,
        "block at work": work if setting.train.recompute != "none" else 0,
        "gradients": static.get("gradients", 0) + unreduced,
        **gathered,
    }
    step = {
        "gradients": static.get("gradients", 0) + reduced,
        "optimizer at work": _optimizer_at_work(setting),
    }
    named = {"backward begins": begins, "backward ends": ends, "optimizer step": step}
    found = [Moment(name, {part: n for part, n in (static | parts).items() if n}) for name, parts in named.items()]
    return [*found, *_setting_up(setting, static)]


def _setting_up(setting: Setting, static: dict[str, int]) -> list[Moment]:
    """Every worker reads the student whole before it is divided, and beside the divided student the teacher."""
    if setting.weight_shares == 1:
        return []
    found = roles(setting.model, setting.stage)
    student = setting.size * sum(role.numel for role in found) + _tables(setting.model)
    held = [{"whole student": student}]
    if setting.distils:
        teacher = setting.size * sum(role.numel for role in found if role.name == "base") + _tables(setting.model)
        divided = {part: n for part, n in static.items() if n and part != "teacher"}
        held.append({**divided, "whole teacher": teacher})
    return [Moment("setting up", parts) for parts in held]


def beside_training(setting: Setting) -> dict[str, int]:
    """Bytes of host memory that a worker takes, by part; on a CPU beside what :func:`moments` has."""
    train = setting.train
    found = roles(setting.model, setting.stage)
    trained = sum(role.numel for role in found if role.trained)
    t, h, w = setting.latent_THW
    clip = FP32 * (5 * 16 * t * h * w + 2 * IMAGE_TOKENS * setting.model["image_dim"])
    samples = -(-train.batch // setting.world)
    parts = {
        "process": PROCESS,
        # Values and moments are copied while training waits, and written while it goes on.
        "checkpoint snapshot": 3 * FP32 * trained // setting.world,
        "clips read ahead": (train.prefetch + 1) * samples * clip,
    }
    if setting.cuda and train.offload != "none":
        parts["offloaded optimizer"] = (4 * FP32 + setting.size) * trained // setting.world
    if setting.cuda and train.offload == "parameters" and train.zero == 3:
        parts["offloaded weights"] = setting.size * sum(role.numel for role in found) // setting.world
    return parts


def traffic(setting: Setting) -> int:
    """Bytes that a worker receives in an optimizer step: parts of gradients, and weights.

    ZeRO-3 gathers the weights for each forward and each backward pass of a micro-step, the teacher's for its forward,
    and sums the gradients of each backward pass. ZeRO-2 sums as often, ZeRO-1 once, both with DeepSpeed's all-reduce,
    which is twice as much; and they gather the new weights once.
    """
    found, train = roles(setting.model, setting.stage), setting.train
    total, trained = sum(role.numel for role in found), sum(role.numel for role in found if role.trained)
    micro_steps = -(-train.batch // (train.micro_batch * setting.world))
    passes = micro_steps * setting.passes
    if train.zero == 3:
        teacher = sum(role.numel for role in found if role.name == "base") if setting.distils else 0
        moved = passes * (2 * total + trained) + micro_steps * teacher
    else:
        moved = 2 * trained * (passes if train.zero == 2 else 1) + trained
    return setting.size * moved * (setting.world - 1) // setting.world


def without_adapters(found: list[Role]) -> int:
    """Parameters of the model that a stage writes, its adapters merged."""
    return sum(role.numel for role in found if role.name != "adapters")


def _static(setting: Setting) -> dict[str, int]:
    """What is there all the time."""
    found, size, train = roles(setting.model, setting.stage), setting.size, setting.train
    total, trained = sum(role.numel for role in found), sum(role.numel for role in found if role.trained)
    host_optimizer = setting.cuda and train.offload != "none"
    host_weights = setting.cuda and train.offload == "parameters" and train.zero == 3
    parts = {
        "weights": 0 if host_weights else size * total // setting.weight_shares,
        "fp32 masters": 0 if host_optimizer else FP32 * trained // setting.world,
        "Adam moments": 0 if host_optimizer else 2 * FP32 * trained // setting.world,
        "communication buckets": size * min(trained, BUCKET) * (2 if setting.cuda and train.zero < 3 else 1),
    }
    parts["weights"] += _tables(setting.model)
    if train.zero == 3:
        parts["gradients"] = 0 if host_optimizer else size * trained // setting.world
    if setting.distils:
        base = [role for role in found if role.name == "base"]
        numel = sum(role.numel for role in base)
        parts["teacher"] = size * numel // setting.weight_shares + _tables(setting.model)
        if setting.weight_shares > 1:
            parts["teacher"] += size * sum(role.persistent for role in base)
    if setting.stage.pose_simulation:
        parts["pose simulation"] = _codec(setting)
    return parts


def _gradients(setting: Setting) -> tuple[int, int]:
    """Bytes beside the static ones when the backward pass ends, and after what is still to be summed has been."""
    size, train = setting.size, setting.train
    trained = sum(role.numel for role in roles(setting.model, setting.stage) if role.trained)
    if train.zero == 3:
        return size * min(trained, 2 * _largest(setting)), 0
    share = 0 if setting.cuda and train.offload != "none" else size * trained // setting.world
    if train.zero == 1 and setting.accumulates:
        return size * trained + share, size * trained + share
    return share + size * min(trained, BUCKET) * (setting.world - 1) // setting.world, share


def _largest(setting: Setting) -> int:
    """Elements of the largest tensor."""
    return setting.width * max(setting.model["ffn_dim"], 6 * setting.width)


def _gathered(setting: Setting) -> dict[str, int]:
    """What ZeRO-3 has whole for a while: some blocks' weights, and always the small tensors."""
    if setting.weight_shares == 1:
        return {}
    total = sum(role.numel for role in roles(setting.model, setting.stage))
    return {"gathered parameters": setting.size * min(total, LIVE)}


def _optimizer_at_work(setting: Setting) -> int:
    """The gradients of a group in fp32, and AdamW's root of the second moment: once over, on a CPU twice."""
    if setting.cuda and setting.train.offload != "none":
        return 0
    groups: dict[tuple[str, bool], int] = {}
    for role in roles(setting.model, setting.stage):
        if role.trained:
            groups[role.name, role.matrices] = groups.get((role.name, role.matrices), 0) + role.numel
    largest = min(max(groups.values()), SUB_GROUP if setting.train.zero == 3 else math.inf)
    small = 0
    if setting.weight_shares > 1:
        small = setting.size * sum(role.persistent for role in roles(setting.model, setting.stage))
    return int(largest) * (FP32 + (FP32 if setting.cuda else 2 * FP32)) // setting.world + small


@lru_cache(maxsize=8)
def _rotary(head: int, positions: int) -> int:
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    return sum(buffer.nbytes for buffer in WanRotaryPosEmbed(head, (1, 2, 2), positions).buffers())


def _tables(model: Mapping[str, Any]) -> int:
    """Bytes of the rotary embedding's tables, which are no parameters."""
    return _rotary(model["attention_head_dim"], model["rope_max_seq_len"])


def _codec(setting: Setting) -> int:
    """Wan's VAE, which encodes a pose video beside the step; the embedded codec works on the CPU."""
    from model.memory import ENCODER_WEIGHTS, MATRIX, VAE_ENCODES
    from model.resolution import SPACE, TIME

    if setting.encode.codec == "embedded":
        return 0
    t, h, w = setting.latent_THW
    pixels = h * w * SPACE**2
    return ENCODER_WEIGHTS[setting.encode.codec] + VAE_ENCODES * pixels + pixels * (TIME * (t - 1) + 1) * MATRIX
