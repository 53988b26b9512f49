"""What a stage will take before anything is started: memory, FLOPs, time, data, disk and cost; and whether it fits."""

import math
from dataclasses import dataclass

from infra.errors import UsageError
from infra.schema import Config
from training.planning.hardware import GIB, Gpu

MFU = 0.178
"""Share of its peak that a GPU is taken to reach, by model FLOPs: Wan 2.1 14B at 37,440 tokens on 8 H100 with FSDP,
175.9 TFLOP/s each (NVIDIA NeMo DFM, docs/performance-summary.md). The best published is 0.33, on 128 H100."""
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Plan:
    """The numbers of one stage. Bytes, FLOPs, seconds."""

    config: Config
    number: int
    world: int
    gpu: Gpu
    mfu: float
    price: float | None
    latent_THW: tuple[int, int, int]
    """of the largest bucket"""
    tokens: int
    parameters: dict[str, int]
    """``all``, and by role what is trained"""
    moment: str
    """at which a worker holds most"""
    memory: dict[str, int]
    """of a worker then, by part"""
    room: int
    """what a worker has"""
    host: dict[str, int]
    """of a node, by part"""
    host_room: int
    model_flops: int
    """of an optimizer step, as the mathematics asks; executed with what is computed anew"""
    executed_flops: int
    traffic: int
    """bytes that a worker receives in an optimizer step"""
    step_seconds: float | None
    """None: the peak is not known"""
    idle: int
    """places of a global batch that no clip takes"""
    clip_bytes: int
    clips: int | None
    checkpoint_bytes: int
    disk: dict[str, int]
    disk_room: int

    @property
    def steps(self) -> int:
        return self.config.train.stages[self.number - 1].steps

    @property
    def seconds(self) -> float | None:
        """Of the whole stage."""
        return None if self.step_seconds is None else self.steps * self.step_seconds

    @property
    def gpu_hours(self) -> float | None:
        return None if self.seconds is None else self.world * self.seconds / 3600

    @property
    def cost(self) -> float | None:
        return None if self.gpu_hours is None or self.price is None else self.gpu_hours * self.price


def make_plan(
    config: Config,
    number: int,
    world: int,
    gpu: Gpu,
    *,
    mfu: float = MFU,
    price: float | None = None,
    clips: int | None = None,
    disk: int | None = None,
) -> Plan:
    """The plan of stage ``number`` (1 to 3) on ``world`` workers with a ``gpu`` each.

    ``mfu``: 0..1, the share of its peak that a GPU reaches by model FLOPs; ``price`` of a GPU for an hour, in any
    money; ``clips`` of the encoded dataset, None: not known; ``disk``: bytes that the work folder may take, None:
    ``resources.disk_gb``. Allocates no weights. Raises UsageError for numbers that cannot be.
    """
    from model.memory import HEADROOM
    from model.transformer import model_config
    from training.planning import flops, memory

    _check_numbers(config, number, world, mfu, price)
    train, stage = config.train, config.train.stages[number - 1]
    latent = largest_latent(config)
    setting = memory.Setting(
        model_config(config.model.size), latent, train, stage, config.encode, world, not gpu.is_cpu
    )
    moment = max(memory.moments(setting), key=lambda one: one.total)
    beside = memory.beside_training(setting)
    per_node = min(world, gpu.per_node) if not gpu.is_cpu else world
    parts = {**moment.parts, **(beside if gpu.is_cpu else {})}
    parts["headroom"] = math.ceil((HEADROOM - 1) * sum(parts.values()))
    sample = flops.step(setting.model, latent, stage, train.recompute)
    micro_steps = math.ceil(train.batch / (train.micro_batch * world))
    slots = micro_steps * train.micro_batch
    roles = memory.roles(setting.model, stage)
    parameters = {"all": sum(role.numel for role in roles)}
    for name in ("adapters", "new", "base"):
        parameters[name] = sum(role.numel for role in roles if role.trained and role.name == name)
    trained = sum(parameters.values()) - parameters["all"]
    model_bytes = memory.FP32 * memory.without_adapters(roles)
    checkpoint = 3 * memory.FP32 * trained
    clip = encoded_clip_bytes(config)
    own_clips = 0 if train.encoded or train.data == "raw" or clips is None else clips * clip
    return Plan(
        config=config,
        number=number,
        world=world,
        gpu=gpu,
        mfu=mfu,
        price=price,
        latent_THW=latent,
        tokens=setting.tokens // train.micro_batch,
        parameters=parameters,
        moment=moment.name,
        memory=parts,
        room=gpu.memory // (per_node if gpu.is_cpu else 1),
        host=_host(config, beside, per_node, model_bytes, trained),
        host_room=gpu.memory if gpu.is_cpu else int(config.resources.memory_gb * GIB),
        model_flops=train.batch * sample.model,
        executed_flops=train.batch * sample.executed,
        traffic=memory.traffic(setting),
        step_seconds=None if gpu.tflops is None else slots * sample.model / (mfu * gpu.tflops * 1e12),
        idle=slots * world - train.batch,
        clip_bytes=clip,
        clips=clips,
        checkpoint_bytes=checkpoint,
        disk={
            "encoded clips": own_clips,
            "stages before it": (number - 1) * model_bytes,
            f"{train.keep_checkpoints} + 1 checkpoints": (train.keep_checkpoints + 1) * checkpoint,
            "stage commit": model_bytes + (memory.FP32 * trained if stage.trainable == "lora" else 0),
        },
        disk_room=int(config.resources.disk_gb * GIB) if disk is None else disk,
    )


def _host(config: Config, beside: dict[str, int], workers: int, model_bytes: int, trained: int) -> dict[str, int]:
    """Of a node: while it trains, or, if that is more, when the driver merges and writes the stage's model."""
    from training.planning import memory

    training = {part: workers * size for part, size in beside.items()}
    training["object store"] = int(config.resources.object_store_gb * GIB)
    writing = {"model to be written": model_bytes, "what was trained": memory.FP32 * trained}
    return {
        part: size for part, size in max((training, writing), key=lambda parts: sum(parts.values())).items() if size
    }


def largest_latent(config: Config) -> tuple[int, int, int]:
    """(T, H, W) of the bucket with most tokens; without ``clip.aspects`` of a square, than which none is larger."""
    from model.resolution import latent_shape, output_size

    ratios = [tuple(map(int, aspect.split(":"))) for aspect in config.clip.aspects] or [(1, 1)]
    shapes = [latent_shape(config.clip.frames, *output_size(config.clip.area, h, w)) for w, h in ratios]
    return max(shapes, key=math.prod)


def encoded_clip_bytes(config: Config) -> int:
    """Of a clip of the largest bucket in an encoded dataset, with the longest caption."""
    from model.conditions import IMAGE_TOKENS, TEXT_TOKENS
    from model.transformer import model_config

    model = model_config(config.model.size)
    latents = 3 * 16 * math.prod(largest_latent(config))
    features = 2 * IMAGE_TOKENS * model["image_dim"] + TEXT_TOKENS * model["text_dim"]
    return 4 * (latents + features + config.clip.frames * 133 * 3)


def as_dict(plan: Plan) -> dict[str, int | float | str]:
    """The plan's numbers under short names, for MLflow's parameters."""
    values = {
        "gpu": plan.gpu.name,
        "workers": plan.world,
        "tokens": plan.tokens,
        "parameters": plan.parameters["all"],
        "trained_parameters": sum(plan.parameters.values()) - plan.parameters["all"],
        "memory_gib": round(sum(plan.memory.values()) / GIB, 3),
        "host_memory_gib": round(sum(plan.host.values()) / GIB, 3),
        "disk_gib": round(sum(plan.disk.values()) / GIB, 3),
        "checkpoint_gib": round(plan.checkpoint_bytes / GIB, 3),
        "model_flops_per_step": plan.model_flops,
        "executed_flops_per_step": plan.executed_flops,
    }
    timed = {"mfu": plan.mfu, "step_seconds": plan.step_seconds, "gpu_hours": plan.gpu_hours, "cost": plan.cost}
    return {f"plan_{key}": value for key, value in (values | timed).items() if value is not None}


def _check_numbers(config: Config, number: int, world: int, mfu: float, price: float | None) -> None:
    if not 1 <= number <= len(config.train.stages):
        raise UsageError(f"stage={number}: there are stages 1 to {len(config.train.stages)}.")
    if not 1 <= world <= MOST_WORKERS:
        raise UsageError(f"world={world} is no number of workers.", f"Give 1 to {MOST_WORKERS}.")
    if not 0 < mfu <= 1:
        raise UsageError(f"mfu={mfu} is no share of a peak.", "Give more than 0, at most 1; published: 0.18 to 0.33.")
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise UsageError(f"price={price} is no price.", "Give what a GPU costs for an hour, such as 2.5.")


def readable(size: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, scale in (("TiB", 2**40), ("GiB", GIB), ("MiB", 2**20)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1024:.1f} KiB"
