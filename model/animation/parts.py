"""The model, its encoders, and the config sections that decide how they are used."""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch

from infra.errors import SteadyDancerError
from infra.schema import Clip, Config, Encode, Model
from model.animation.placement import place
from model.animation.request import Lora
from model.checkpoint import PRECISION, Found, find_model, open_model
from model.encoders import Encoders, build_encoders
from model.lora import load_lora
from model.transformer import SteadyDancerTransformer, model_config

SECTIONS = ("clip", "encode", "model")
WEIGHTS = ("codec_weights", "image_weights", "text_weights")
WIDTHS = ("text_dim", "image_dim")


class Chosen(NamedTuple):
    """A model that has been found and not been read, and how it is used."""

    found: Found
    """its config whole"""
    clip: Clip
    encode: Encode
    base: Model
    notes: list[str]
    """what to tell the user"""


class Parts(NamedTuple):
    model: SteadyDancerTransformer
    encoders: Encoders
    device: torch.device
    """where they work"""
    clip: Clip
    id: str
    """of the model's weights"""


def choose(config: Config, source: str) -> Chosen:
    """The model in ``source`` and the encoders that it was trained with; no weights are read.

    What a checkpoint of ours was trained with decides, whatever ``config`` says; of the encoders only the place of
    their weights and the tiling are taken from it. For other models the config decides. Raises SteadyDancerError for a
    model that is not there, and one of other widths than the config's.
    """
    found = find_model(source)
    config_of_model = model_config("wan-14b") | found.config  # what a config.json leaves out is Wan's
    found = found._replace(config=config_of_model | {"patch_size": tuple(config_of_model["patch_size"])})
    trained = found.commit.config if found.commit else {}
    encode = config.encode
    if {*SECTIONS} <= trained.keys():
        said = {key: given for key in WEIGHTS if (given := getattr(encode, key)) is not None}
        encode = Encode(**trained["encode"] | said | {"codec_tiling": encode.codec_tiling})
        return Chosen(found, Clip(**trained["clip"]), encode, Model(**trained["model"]), [])
    _refuse_another_width(source, found.config, config.model)
    notes = []
    if embedded := [key for key in ("codec", "image", "text") if getattr(encode, key) == "embedded"]:
        keys = ", ".join(f"encode.{key}" for key in embedded)
        notes.append(
            f"{source} does not say what it was trained with, and {keys} of this config are the embedded "
            "stand-ins: right for models trained on them only. --config paper names the real ones."
        )
    for key, kind in (("codec_weights", "codec"), ("image_weights", "image"), ("text_weights", "text")):
        if getattr(encode, kind) != "embedded" and getattr(encode, key) is None:
            raise SteadyDancerError(
                f"encode.{key} is not set, and encode.{kind}={getattr(encode, kind)} needs weights.",
                "Give a local folder or a hub id of Wan 2.1 I2V in diffusers' format.",
            )
    return Chosen(found, config.clip, encode, config.model, notes)


def open_parts(config: Config, chosen: Chosen, loras: Sequence[Lora], device: torch.device) -> Parts:
    """The weights of what was chosen, ``loras`` merged into the model.

    They are on ``device``, or wait on the CPU where ``animate.offload`` says so. Raises SteadyDancerError for weights
    that are not there or do not fit each other.
    """
    offload = config.animate.offload
    # The encoders first: what is wrong with them is told before a model of 66 GB is read.
    encoders = build_encoders(chosen.encode, chosen.base, device, offload)
    opened = open_model(
        chosen.found, dtype=PRECISION[config.animate.precision], device=device if offload == "none" else "cpu"
    )
    for path, scale in loras:
        load_lora(opened.model, path, scale)
    place(opened.model, device, offload)
    return Parts(opened.model, encoders, device, chosen.clip, opened.id)


def _refuse_another_width(source: str, found: dict, base: Model) -> None:
    def differing(size: str) -> list[str]:
        wanted = model_config(size)
        return [f"{key} {found.get(key)} (not {wanted[key]})" for key in WIDTHS if found.get(key) != wanted[key]]

    if not (told := differing(base.size)):
        return
    fitting = [size for size in get_args(Model.model_fields["size"].annotation) if not differing(size)]
    fix = f"Use model.size={fitting[0]}." if fitting else "There is no model.size of these widths."
    if "wan-14b" in fitting:
        fix = (
            "It does not say what it was trained with, so the config must: --config paper for the released weights "
            "(model.size, clip, encode), with encode.codec_weights, encode.image_weights and encode.text_weights."
        )
    raise SteadyDancerError(f"{source} is not of model.size={base.size}: it has {' and '.join(told)}.", fix)
