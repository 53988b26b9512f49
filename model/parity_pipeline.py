"""The whole generation with toy encoders and a toy model, against the official one's record of the same.

pipeline_toy.safetensors tells in ``meta`` what the toys are: pictures rolled row by row, a codec of block means, image
features of 4x4 means, constant text features, and a model that is one formula. Generation itself is the product's
(:func:`model.animate.generate`), with the toys in place of encoders and model.

Shapes: B = 1, C channels, T frames or latent frames, H W height and width (pixels or latent), L D tokens and width.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from infra import schema
from model.animate import generate
from model.conditions import Conditions
from model.encoders import Encoders
from model.inputs import Motion, pose_latent
from model.parity_values import tensor
from model.pose.comparison import EXACT, Numbers, Ours, Unusable, Value, difference
from model.resolution import SPACE, TIME, output_size

CONDITIONS, LATENT = 2e-6, 5e-6
"""Bounds. The order of the toys' own sums, which the file does not tell, moves a final latent by up to 2.6e-6."""

TOKENS, WIDTH = 3, 8
"""of the toy text features"""


class Reading(NamedTuple):
    """One way to make the condition pictures from ``base``; the first of :data:`READINGS` is what the file says."""

    turned: str = "from below"
    down: bool = True
    """rolled down rather than up"""
    enlarged_first: bool = False
    jpeg: tuple[tuple[str, int], ...] | None = None
    """options of Pillow's JPEG, by which the pictures went; None: not at all"""


TURNS = {
    "from below": lambda base: base[::-1],
    "as it is": lambda base: base,
    "from the right": lambda base: base[:, ::-1],
}
JPEGS = [None, (), (("quality", 95),), (("quality", 100),)]
JPEGS += [(("quality", quality), ("subsampling", 0)) for quality in (75, 95, 100)]
READINGS = [
    Reading(turned, down, enlarged_first, jpeg)
    for jpeg in JPEGS
    for enlarged_first in (False, True)
    for turned in TURNS
    for down in (True, False)
]


class Rolled(Sequence):
    """Condition pictures: ``base``, small, rolled by ``rows`` a frame and enlarged to ``size`` (height, width)."""

    def __init__(self, base: np.ndarray, rows: int, frames: int, size: tuple[int, int], reading: Reading):
        self.base, self.rows, self.frames = TURNS[reading.turned](base), rows if reading.down else -rows, frames
        self.size, self.reading = size, reading

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < len(self):
            raise IndexError(t)
        picture = self.lossless(t)
        if self.reading.jpeg is None:
            return picture
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "JPEG", **dict(self.reading.jpeg))
        return np.asarray(Image.open(data))

    def lossless(self, t: int) -> np.ndarray:
        by = self.rows * t
        if self.reading.enlarged_first:
            return np.roll(self._enlarged(self.base), by, axis=0)
        return self._enlarged(np.roll(self.base, by, axis=0))

    def _enlarged(self, picture: np.ndarray) -> np.ndarray:
        small = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(small.resize(self.size[::-1], Image.Resampling.BICUBIC))


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
    image, motion = numbers["image"], []
    for rows, name, kind in ((1, "pos0", "pos"), (2, "neg0", "negpose")):
        reading, pictures, first = read(numbers, rows, numbers[name], numbers[f"args.{kind}.condition"])
        yield Value(name, first, EXACT, reading)
        motion.append([*pictures])
    runs = {*numbers["runs"], *numbers.cases(".final_latent")}
    if not runs:
        raise Unusable("tells of no run")
    for run in sorted(runs):
        yield from generation(numbers, run, numbers["runs"][run], image, Motion(*motion))


def read(numbers: Numbers, rows: int, first: np.ndarray, condition: np.ndarray) -> tuple[str, Rolled, np.ndarray]:
    """How the pictures were made, the pictures, and the first as it may stand in the file.

    The file tells it in words, which leave some ways open. Taken is the first one that gives the file's first picture
    and latents; failing that, the one that gives the picture and comes nearest; failing that, what the words say.
    """
    encoders = Encoders(BlockMeans(tensor(numbers["toy.proj"])), CoarseMeans(), Constants())
    size, best = output_size(numbers["max_area"], *first.shape[:2]), (np.inf, None)
    for reading in READINGS:
        pictures = Rolled(numbers["base"], rows, numbers["frame_num"], first.shape[:2], reading)
        shown = [each for each in (pictures[0], pictures.lossless(0)) if np.array_equal(each, first)]
        if not shown:
            continue
        apart = difference(pose_latent(encoders, pictures, size)[0], condition)
        best = min(best, (apart, (_told(reading), pictures, shown[0])), key=lambda one: one[0])
        if apart <= CONDITIONS:
            break
    if best[1] is not None:
        return best[1]
    pictures = Rolled(numbers["base"], rows, numbers["frame_num"], first.shape[:2], Reading())
    return "(no reading of base gives it)", pictures, pictures[0]


def _told(reading: Reading) -> str:
    order = ", enlarged before" if reading.enlarged_first else ""
    jpeg = "" if reading.jpeg is None else f", as JPEG {dict(reading.jpeg)}"
    return f"(base {reading.turned}, rolled {'down' if reading.down else 'up'}{order}{jpeg})"


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
