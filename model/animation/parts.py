"""The model, its encoders, and the config sections that decide how they are used."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from infra.errors import SteadyDancerError
from infra.schema import Clip, Config, Encode, Model
from model.animation.placement import place
from model.animation.request import Lora
from model.checkpoint import PRECISION, find_model, open_model
from model.encoders import Encoders, build_encoders
from model.lora import load_lora
from model.transformer import SteadyDancerTransformer, model_config

SECTIONS = ("clip", "encode", "model")
WEIGHTS = ("codec_weights", "image_weights", "text_weights")


class Parts(NamedTuple):
    model: SteadyDancerTransformer
    encoders: Encoders
    device: torch.device
    """where they work"""
    clip: Clip
    encode: Encode
    id: str
    """of the model's weights"""
    notes: list[str]
    """what to tell the user"""


def open_parts(config: Config, source: str, loras: Sequence[Lora], device: torch.device) -> Parts:
    """The model in ``source`` with ``loras`` merged into it, and the encoders that it was trained with.

    What a checkpoint of ours was trained with decides, whatever ``config`` says; of the encoders only the place of
    their weights and the tiling are taken from it. For other models the config decides. They are on ``device``, or
    wait on the CPU where ``animate.offload`` says so. Raises SteadyDancerError for weights that are not there or do not
    fit each other.
    """
    offload = config.animate.offload
    found = find_model(source)
    trained = found.commit.config if found.commit else {}
    clip, encode, base, notes = config.clip, config.encode, config.model, []
    if {*SECTIONS} <= trained.keys():
        clip, base = Clip(**trained["clip"]), Model(**trained["model"])
        said = {key: given for key in WEIGHTS if (given := getattr(config.encode, key)) is not None}
        encode = Encode(**trained["encode"] | said | {"codec_tiling": config.encode.codec_tiling})
    else:
        _refuse_another_width(source, found.config, base)
        if embedded := [key for key in ("codec", "image", "text") if getattr(encode, key) == "embedded"]:
            keys = ", ".join(f"encode.{key}" for key in embedded)
            notes.append(
                f"{source} does not say what it was trained with, and {keys} of this config are the embedded "
                "stand-ins: right for models trained on them only. --config paper names the real ones."
            )
    try:
        # The encoders first: what is wrong with them is told before a model of 66 GB is read.
        encoders = build_encoders(encode, base, device, offload)
        opened = open_model(
            found, dtype=PRECISION[config.animate.precision], device=device if offload == "none" else "cpu"
        )
        for path, scale in loras:
            load_lora(opened.model, path, scale)
        place(opened.model, device, offload)
    except torch.OutOfMemoryError as error:
        raise SteadyDancerError(
            f"{source} and its encoders do not fit into the memory of {device} ({str(error).splitlines()[0]})",
            "Use animate.precision=bf16, or animate.offload=parts or blocks.",
        ) from error
    return Parts(opened.model, encoders, device, clip, encode, opened.id, notes)


def _refuse_another_width(source: str, found: dict, base: Model) -> None:
    widths = {key: (found.get(key), model_config(base.size)[key]) for key in ("text_dim", "image_dim")}
    if any(read != given for read, given in widths.values()):
        told = " and ".join(f"{key} {read} (not {given})" for key, (read, given) in widths.items())
        raise SteadyDancerError(
            f"{source} is not of model.size={base.size}: it has {told}.",
            "It does not say what it was trained with, so the config must: --config paper for the released weights "
            "(model.size, clip, encode), with encode.codec_weights, encode.image_weights and encode.text_weights.",
        )
