"""Where the transformer lies while it samples (``animate.offload``); encoders are moved by who uses them."""

from typing import Literal

import torch

from model.transformer import SteadyDancerTransformer


def place(
    model: SteadyDancerTransformer, device: torch.device | str, offload: Literal["none", "parts", "blocks"]
) -> None:
    """Puts the transformer where ``offload`` wants it before sampling; doing it again changes nothing.

    ``none``: on the device. ``parts``: on the CPU, to be lent to the device. ``blocks``: on the CPU, from where hooks
    on the forward of every layer (diffusers' group offloading) bring its weights; for CUDA while the layer before
    computes, and all of them are pinned in host memory, which has to hold them without swapping. The order is learned
    from the model's first ``forward``, which has to be the whole of it: with ``blocks``, sample with Conditions and not
    with what ``prepare`` makes, which calls layers out of that order.
    """
    device = torch.device(device)
    if offload != "blocks":
        model.to(device if offload == "none" else "cpu")
    elif not any(hasattr(block, "_diffusers_hook") for block in model.blocks):
        model.to("cpu").enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=device.type == "cuda",
        )
