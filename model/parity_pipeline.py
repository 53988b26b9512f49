"""The whole generation with toy encoders and a toy model, against the official one's record of the same.

pipeline_toy.safetensors tells in ``meta`` what the toys are: pictures rolled row by row, a codec of block means, image
features of 4x4 means, constant text features, and a model that is one formula. Generation itself is the product's
(:func:`model.animate.generate`), with the toys in place of encoders and model.

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent), L D tokens and width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from infra import schema
from model.animate import generate
from model.codec import SPACE, TIME
from model.conditions import Conditions
from model.encoders import Encoders
from model.inputs import Motion
from model.parity_values import tensor
from model.pose.comparison import EXACT, Numbers, Ours, Unusable, Value

CONDITIONS, LATENT = 2e-6, 1e-5
"""Bounds. The order of the toys' own sums, which the file does not tell, moves a final latent by up to 2.6e-6."""

TOKENS, WIDTH = 3, 8
"""of the toy text features"""

READINGS = {
    "from below": lambda base: base[::-1],
    "as it is": lambda base: base,
    "from the right": lambda base: base[:, ::-1],
}
"""How the picture that is rolled may lie in the file; the first is what the file says."""


class Rolled(Sequence):
    """Condition pictures: ``base``, small, rolled down ``rows`` a frame and enlarged to ``size`` (height, width)."""

    def __init__(self, base: np.ndarray, rows: int, frames: int, size: tuple[int, int]):
        self.base, self.rows, self.frames, self.size = base, rows, frames, size

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < len(self):
            raise IndexError(t)
        rolled = Image.fromarray(np.ascontiguousarray(np.roll(self.base, self.rows * t, axis=0)))
        return np.asarray(rolled.resize(self.size[::-1], Image.Resampling.BICUBIC))


class BlockMeans:
    """Codec: means of 8x8 pixels of frame 0 and of each four that follow, the three colours projected to 16 channels.

    Of latents it makes black frames, and keeps them.
    """

    id = "toy"

    def __init__(self, projection: Tensor):
        self.projection, self.encoded, self.decoded = projection, [], []

    def encode(self, video_BCTHW: Tensor) -> Tensor:
        self.encoded.append([*video_BCTHW.shape[1:]])
        means = video_BCTHW.unflatten(4, (-1, SPACE)).unflatten(3, (-1, SPACE)).mean((4, 6))
        groups = torch.cat([means[:, :, :1], means[:, :, 1:].unflatten(2, (-1, TIME)).mean(3)], dim=2)
        return torch.einsum("kc,bcthw->bkthw", self.projection, groups)

    def decode(self, latent_BCTHW: Tensor) -> Tensor:
        self.decoded.append(latent_BCTHW)
        b, _, t, h, w = latent_BCTHW.shape
        return latent_BCTHW.new_full((b, 3, TIME * (t - 1) + 1, SPACE * h, SPACE * w), -1)


class CoarseMeans:
    id, dim = "toy", 48

    def __call__(self, image_BCHW: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(image_BCHW, 4).flatten(1)[:, None]


class Constants:
    """1 for the prompt, -0.5 for the negative one, which is whatever is asked for after it."""

    id, dim = "toy", WIDTH

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, prompts: list[str]) -> list[Tensor]:
        self.prompts += prompts
        return [torch.full((TOKENS, WIDTH), 1.0 if text == self.prompts[0] else -0.5) for text in prompts]


class Call(NamedTuple):
    latent_BCTHW: Tensor
    conditions: Conditions


class Formula(nn.Module):
    """A velocity in which every condition but CLIP has its part. It remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))
        self.calls: list[Call] = []

    def forward(self, latent_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        self.calls.append(Call(latent_BCTHW, conditions))
        return (
            torch.tanh(0.8 * latent_BCTHW) * (0.5 + timestep_B.double().view(-1, 1, 1, 1, 1) / 1000).float()
            # The official model is given the tokens without the padding.
            + 0.2 * conditions.text_BLD[:, :TOKENS].mean((1, 2)).view(-1, 1, 1, 1, 1)
            + 0.3 * conditions.condition_BCTHW
            + 0.1 * conditions.y_BCTHW[:, 4:]
            + 0.05 * conditions.ref_x_BCTHW[:, :16]
            + 0.02 * conditions.ref_c_BCTHW[:, :16]
        )


def arguments(conditions: Conditions) -> dict[str, Tensor]:
    """What the official forward is called with, by its names. Ours lacks what is not read of ref_c."""
    ref_c = conditions.ref_c_BCTHW[0]
    return {
        "y": conditions.y_BCTHW[0],
        "condition": conditions.condition_BCTHW[0],
        "ref_x": conditions.ref_x_BCTHW[0],
        "ref_c": torch.cat([ref_c, torch.zeros_like(ref_c[:4]), ref_c]),
        "clip_fea_x": conditions.clip_x_BND,
        "clip_fea_c": conditions.clip_c_BND,
        "context": conditions.text_BLD[0],
    }


def generations(numbers: Numbers) -> Ours:
    """Every run that the file tells of, from its pictures to its latent."""
    image, frames, motion = numbers["image"], numbers["frame_num"], []
    for rows, name in ((1, "pos0"), (2, "neg0")):
        reading, pictures = read(numbers["base"], rows, frames, numbers[name])
        yield Value(name, pictures[0], EXACT, f"(base {reading})")
        motion.append([*pictures])
    runs = {*numbers["runs"], *numbers.cases(".final_latent")}
    if not runs:
        raise Unusable("tells of no run")
    for run in sorted(runs):
        yield from generation(numbers, run, numbers["runs"][run], image, Motion(*motion))


def read(base: np.ndarray, rows: int, frames: int, first: np.ndarray) -> tuple[str, Rolled]:
    """The pictures whose first is that of the file; failing these, what the file says."""
    readings = {name: Rolled(turn(base), rows, frames, first.shape[:2]) for name, turn in READINGS.items()}
    for name, pictures in readings.items():
        if np.array_equal(pictures[0], first):
            return name, pictures
    stated = next(iter(readings))
    return f"{stated}; no other way gives it either", readings[stated]


def generation(numbers: Numbers, run: str, told: dict[str, Any], image: np.ndarray, motion: Motion) -> Ours:
    settings = schema.Animate(
        solver=told["sample_solver"],
        steps=told["sampling_steps"],
        shift=told["shift"],
        text_guidance=numbers["guide_scale"],
        pose_guidance=told["condition_guide_scale"],
        pose_interval=numbers["interval"],
        area=numbers["max_area"],
        negative_prompt=told["prompts_encoded"][1],
        cache=False,
    )
    encoders = Encoders(BlockMeans(tensor(numbers["toy.proj"])), CoarseMeans(), Constants())
    model, frames = Formula(), len(motion.positive)
    prompt = told["prompts_encoded"][0]
    generate(model, encoders, image, motion, prompt, settings, seed=numbers["seed"], window=frames)

    noise, positive = model.calls[0]
    passes = {"pos": arguments(positive)}
    step, guided = -1, []
    for _, conditions in model.calls:
        ours = arguments(conditions)
        if not torch.equal(ours["context"], passes["pos"]["context"]):
            passes["negtext"] = ours
        elif not torch.equal(ours["condition"], passes["pos"]["condition"]):
            passes["negpose"] = ours
            guided.append(step)
        else:
            step += 1
    yield Value(f"runs.{run}.forward_calls", len(model.calls), EXACT)
    yield Value(f"runs.{run}.steps_with_negative_pose", guided, EXACT)
    yield Value(f"runs.{run}.seq_len_argument", noise[0, 0].numel() // 4, EXACT)
    yield Value(f"runs.{run}.prompts_encoded", encoders.text.prompts, EXACT)
    videos = [shape for shape in told["vae_encode_shapes"] if shape[1] == frames]
    yield Value(f"runs.{run}.vae_encode_shapes", encoders.codec.encoded, EXACT, "of whole videos", videos)

    yield Value(f"{run}.noise", noise[0], CONDITIONS)
    for name, ours in passes["pos"].items():
        yield from argument("pos", name, ours, run)
    for kind, changed in (("negtext", "context"), ("negpose", "condition")):
        if kind not in passes:
            continue
        yield from argument(kind, changed, passes[kind][changed], run)
        shared = sorted(name for name, ours in passes["pos"].items() if torch.equal(ours, passes[kind][name]))
        if (entry := f"runs.{run}.{kind}_pass_shares_with_positive") in numbers:
            yield Value(entry, shared, EXACT, theirs=sorted(numbers[entry]))
    yield Value(f"{run}.final_latent", encoders.codec.decoded[-1][0], LATENT)


def argument(kind: str, name: str, ours: Tensor, run: str) -> Ours:
    """One argument of the model; the official one is given the text without padding."""
    entry, how = f"args.{kind}.{name}", f"({run})"
    if name == "context":
        padding = np.zeros((len(ours) - TOKENS, WIDTH), np.float32)
        yield Value(entry, ours[TOKENS:], EXACT, f"({run}, padding)", padding)
        ours = ours[:TOKENS]
    yield Value(entry, ours, CONDITIONS, how)
