"""The state of training by parameter, whatever ZeRO stage, number of workers and offload divide it: fp32 values and
Adam's moments under the names of the model.

DeepSpeed's own checkpoints bind a run to its number of workers; its universal ones lose the groups' settings and share
the step counters under ZeRO-3. What is read and put back here is whole tensors, so that a run may go on divided
otherwise. Everything here is called by all ranks together.
"""

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


def trainable(engine) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters in the order of the model, equal on all ranks."""
    return [(name, p) for name, p in engine.module.named_parameters() if p.requires_grad]


def optimizer_steps(engine) -> int:
    """How many steps Adam has taken."""
    states = _adam(engine).state.values()
    return next((int(state["step"]) for state in states if "step" in state), 0)


def gathered(engine) -> Iterator[tuple[int, str, Tensor]]:
    """(number of the parameter, name, whole fp32 tensor) of every value, and of its moments once there are some.

    A moment's name is ``exp_avg/`` or ``exp_avg_sq/`` and the parameter's. Tensors are to be copied before the next.
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    moments = MOMENTS if optimizer_steps(engine) else ()
    _link_moments(engine)
    for number, (name, parameter) in enumerate(trainable(engine)):
        yield number, name, safe_get_full_fp32_param(parameter)
        for moment in moments:
            yield number, f"{moment}/{name}", safe_get_full_optimizer_state(parameter, moment)


def restore(engine, steps: int, read: Callable[[str], Tensor]) -> None:
    """Puts back what :func:`gathered` gave, after ``steps`` steps of Adam; ``read(name)`` is called on one rank each.

    The weights that the forward uses are made of the values again, as after a step.
    """
    optimizer = engine.optimizer
    if _is_stage_3(engine):
        optimizer.checkpoint_event_prologue()
    _begin(engine, steps)
    for number, (name, parameter) in enumerate(trainable(engine)):
        for moment in (None, *(MOMENTS if steps else ())):
            stored = name if moment is None else f"{moment}/{name}"
            _put(engine, parameter, _from(number % dist.get_world_size(), stored, read, engine, parameter), moment)
    if _is_stage_3(engine):
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        optimizer.checkpoint_event_epilogue()
    else:
        optimizer.update_lp_params()


def _is_stage_3(engine) -> bool:
    return engine.zero_optimization_stage() == 3


def _adam(engine) -> torch.optim.Optimizer:
    return engine.optimizer.optimizer


def _flat_groups(engine) -> list[Tensor]:
    optimizer = engine.optimizer
    name = "fp32_partitioned_groups_flat" if _is_stage_3(engine) else "single_partition_of_fp32_groups"
    return list(getattr(optimizer, name))


def _begin(engine, steps: int) -> None:
    """Adam's state as it is after ``steps`` steps, its moments still zero; each group with a counter of its own."""
    adam = _adam(engine)
    adam.state.clear()
    if not steps:
        return
    for flat in _flat_groups(engine):
        adam.state[flat] = {
            "step": torch.tensor(float(steps)),
            **{moment: torch.zeros_like(flat) for moment in MOMENTS},
        }
    _link_moments(engine)


def _link_moments(engine) -> None:
    """Tells parameters where their moments are: DeepSpeed does once the first group has some, when others have none."""
    if not _is_stage_3(engine) and optimizer_steps(engine):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _shape(parameter: nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)


def _from(rank: int, name: str, read: Callable[[str], Tensor], engine, parameter: nn.Parameter) -> Tensor:
    """What ``rank`` reads, on every rank."""
    value = torch.empty(_shape(parameter), dtype=torch.float32, device=engine.device)
    if dist.get_rank() == rank:
        value.copy_(read(name))
    dist.broadcast(value, src=rank)
    return value


def _put(engine, parameter: nn.Parameter, value: Tensor, moment: str | None) -> None:
    from deepspeed.utils import (
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    if _is_stage_3(engine):
        # By its part: the call for whole tensors reaches behind the end of one that the ranks do not divide evenly.
        part = _part(value.flatten(), parameter.ds_tensor.numel())
        if moment is None:
            safe_set_local_fp32_param(parameter, part)
        else:
            safe_set_local_optimizer_state(parameter, part, moment)
    elif moment is None:
        safe_set_full_fp32_param(parameter, value)
    else:
        safe_set_full_optimizer_state(parameter, value, moment)


def _part(flat: Tensor, numel: int) -> Tensor:
    """This rank's share of a tensor that is padded with zeros to equal shares."""
    share = flat.new_zeros(numel)
    mine = flat[dist.get_rank() * numel :][:numel]
    share[: len(mine)] = mine
    return share
