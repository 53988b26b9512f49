"""DeepSpeed: the student's engine, the frozen teacher, and every setting DeepSpeed would otherwise choose by itself."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from infra.schema import Config, Stage, Train
from model.checkpoint import PRECISION, build_base
from model.conditions import Conditions
from model.initialise import base_forward
from model.transformer import SteadyDancerTransformer
from training import recompute
from training.adapters import parameter_groups
from training.objectives import Velocity, passes

EPSILON = 1e-8
LARGEST_BUCKET = 500_000_000


def start() -> None:
    """Hands Ray's process group to DeepSpeed. Must come before anything of ZeRO is built."""
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(verbose=False)


def micro_steps(train: Train, world: int) -> int:
    """How many times each of ``world`` workers goes forward and backward in an optimizer step."""
    return math.ceil(train.batch / train.micro_batch / world)


def student_engine(
    model: SteadyDancerTransformer,
    config: Config,
    number: int,
    device: torch.device,
    world: int = 1,
):
    """A DeepSpeed engine with torch AdamW over the model's trainable parameters.

    It steps after as many backward passes as the objective has in all micro-steps. The schedule is not DeepSpeed's:
    :func:`set_learning_rate` is called before every step.
    """
    import deepspeed

    train, stage = config.train, config.train.stages[number - 1]
    accumulation = micro_steps(train, world) * passes(stage)
    fused = train.offload != "none"  # on a CPU many times as fast as one tensor after the other
    optimizer = torch.optim.AdamW(
        parameter_groups(model, stage), lr=stage.lr, betas=train.betas, eps=EPSILON, fused=fused or None
    )
    recompute.apply(model, train.recompute)
    with _float_buffers_kept(model):
        engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=optimizer,
            config=deepspeed_config(train, model, train.zero, accumulation),
        )
    for group in engine.optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    engine.train()  # a loaded model is in eval mode, without the dropout of FAAU
    return engine


def deepspeed_config(train: Train, model: nn.Module, zero: int, accumulation: int = 1) -> dict:
    """DeepSpeed's settings; what it changed the default of between releases is written out."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    bucket = min(trained, LARGEST_BUCKET) or LARGEST_BUCKET
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    offload = {
        "none": {},
        "optimizer": {"offload_optimizer": host},
        "parameters": {"offload_optimizer": host, "offload_param": host},
    }[train.offload]
    return {
        "train_micro_batch_size_per_gpu": train.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": train.clip_norm,
        # A step whose gradient is no number is not taken; the trainer counts them.
        "bf16": {"enabled": train.precision == "bf16", "check_grad_overflow": True},
        "zero_optimization": {
            "stage": zero,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "overlap_comm": torch.cuda.is_available(),
            **offload,
        },
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def set_learning_rate(engine, stage: Stage, step: int) -> dict[str, float]:
    """The rates of the step after ``step`` others: a function of the step, so that nothing has to be restored.

    Linear warm-up, then constant, or half a cosine down to nothing at the stage's last step. Returns them by role.
    """
    factor = schedule(stage, step)
    for group in engine.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return {group["role"]: group["lr"] for group in engine.optimizer.param_groups}


def schedule(stage: Stage, step: int) -> float:
    """The factor on the learning rates, 0..1."""
    if step < stage.warmup_steps:
        return (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps))


def frozen_teacher(config: Config, device: torch.device) -> Velocity:
    """The frozen base Wan I2V as a velocity of (noisy latent, timestep, conditions), of which it reads image and text.

    Under ZeRO-3 it is sharded as an engine of its own, beside the student and never inside its module.
    """
    teacher = build_base(config.model, config.seed, PRECISION[config.train.precision], device)
    if config.train.zero == 3:
        import deepspeed

        # No optimizer: what of the settings concerns one does not concern it.
        train = config.train.model_copy(update={"offload": "none"})
        with _float_buffers_kept(teacher):
            teacher, *_ = deepspeed.initialize(model=teacher, config=deepspeed_config(train, teacher, zero=3))
        teacher.eval()

    def velocity(noisy_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        with torch.no_grad():
            return base_forward(teacher, noisy_BCTHW, timestep_B, conditions)

    return velocity


@contextmanager
def _float_buffers_kept(model: nn.Module) -> Iterator[None]:
    """Buffers keep their precision through a cast of the model: bf16 rotary tables would merge positions."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers() if buffer.is_floating_point()}
    yield
    for name, buffer in model.named_buffers():
        if name in kept:
            buffer.data = kept[name].to(buffer.device)
