"""DeepSpeed: the student's engine, the frozen teacher, and every setting DeepSpeed would otherwise choose by itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from infra.schema import Config, Train
from model.checkpoint import PRECISION, build_base
from model.conditions import Conditions
from model.initialise import base_forward
from model.transformer import SteadyDancerTransformer
from training.adapters import parameter_groups
from training.objectives import Velocity

BETAS, EPSILON = (0.9, 0.999), 1e-8
LARGEST_BUCKET = 500_000_000


def start() -> None:
    """Hands Ray's process group to DeepSpeed. Must come before anything of ZeRO is built."""
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(verbose=False)


def student_engine(model: SteadyDancerTransformer, config: Config, number: int, device: torch.device):
    """A DeepSpeed engine with torch AdamW over the model's trainable parameters.

    The schedule is not DeepSpeed's: :func:`set_learning_rate` is called before every step.
    """
    import deepspeed

    stage = config.train.stages[number - 1]
    optimizer = torch.optim.AdamW(parameter_groups(model, stage), lr=stage.lr, betas=BETAS, eps=EPSILON)
    if config.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    with _float_buffers_kept(model):
        engine, *_ = deepspeed.initialize(
            model=model.to(device), optimizer=optimizer, config=deepspeed_config(config.train, model, config.train.zero)
        )
    for group in engine.optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    engine.train()  # a loaded model is in eval mode, without the dropout of FAAU
    return engine


def deepspeed_config(train: Train, model: nn.Module, zero: int) -> dict:
    """DeepSpeed's settings; what it changed the default of between releases is written out."""
    numel = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": train.accumulation,
        "gradient_clipping": train.clip_norm,
        "bf16": {"enabled": train.precision == "bf16"},
        "zero_optimization": {
            "stage": zero,
            "reduce_bucket_size": min(numel, LARGEST_BUCKET),
            "allgather_bucket_size": min(numel, LARGEST_BUCKET),
            "overlap_comm": torch.cuda.is_available(),
        },
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def set_learning_rate(engine, train: Train, step: int) -> float:
    """Linear warm-up, then constant: a function of the step, so that nothing has to be restored. Returns the rate."""
    factor = min(1.0, (step + 1) / train.warmup_steps) if train.warmup_steps else 1.0
    for group in engine.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return engine.optimizer.param_groups[0]["lr"]


def frozen_teacher(config: Config, device: torch.device) -> Velocity:
    """The frozen base Wan I2V as a velocity of (noisy latent, timestep, conditions), of which it reads image and text.

    Under ZeRO-3 it is sharded as an engine of its own, beside the student and never inside its module.
    """
    teacher = build_base(config.model, config.seed, PRECISION[config.train.precision], device)
    if config.train.zero == 3:
        import deepspeed

        with _float_buffers_kept(teacher):
            teacher, *_ = deepspeed.initialize(model=teacher, config=deepspeed_config(config.train, teacher, zero=3))
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
