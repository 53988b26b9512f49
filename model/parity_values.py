"""What our model makes of the inputs in the official release's files, name by name as the files have the results.

Shapes: B = 1, C channels, T latent frames, H W latent height and width, h w token grid (H/2, W/2), L tokens, N D
tokens and width. :mod:`model.parity` compares.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.checkpoint import load_model
from model.conditions import IMAGE_TOKENS, assemble
from model.names import to_diffusers
from model.pose.comparison import EXACT, Numbers, Ours, Value
from model.pose_modules import FAAU, SSAE, TMCM
from model.pretrained_encoders import squash
from model.resolution import TIME, latent_shape, output_size
from model.sampling import Sampler
from model.transformer import SteadyDancerTransformer

MODULES, FORWARD, SCHEDULER, PIXELS = 1e-5, 2e-5, 2e-6, 1e-6
"""Bounds. In the forward sums of several hundred terms follow each other in another order."""

POSE_MODULES = {"ssae": SSAE, "tmcm": TMCM, "faau": FAAU}
CONTEXT_ROWS = (0, 1, 255, 256, 257, 258, 767, 768)
"""Of the 257 image and 512 text tokens, those that stand in the files."""


def tensor(array: Any) -> Tensor:
    """fp32, whatever it is stored as."""
    return torch.tensor(np.asarray(array, np.float32))


def modules(numbers: Numbers, name: str) -> Ours:
    """SSAE, TMCM or FAAU on its own, and where a pose moves FAAU's output (specification 1.3 to 1.5)."""
    module = POSE_MODULES[name]().eval()
    module.load_state_dict({key: tensor(weight) for key, weight in numbers.part(f"{name}.w.").items()})
    with torch.no_grad():
        if name != "faau":
            yield Value(f"{name}.y", module(tensor(numbers[f"{name}.x"])), MODULES)
            return
        pose, latent = tensor(numbers["faau.pose"]), tensor(numbers["faau.ref"])
        aligned = module(pose, latent)
        yield Value("faau.y", aligned, MODULES)
        pose[:, :, 0, 0, 0] += 1
        moved = (module(pose, latent) - aligned).abs().amax((0, 1))
        yield Value("faau.influence_of_pose_t0h0w0", moved, MODULES)


def load_weights(path: Path, config: dict[str, Any]) -> SteadyDancerTransformer:
    """A file of official names, by the way on which the released checkpoint is loaded."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        shutil.copyfile(path, Path(folder) / "diffusion_pytorch_model.safetensors")
        return load_model(folder)


def weights(numbers: Numbers, model: SteadyDancerTransformer) -> Ours:
    """Whether what was loaded is what the file has."""
    state = model.state_dict()
    for name in sorted(numbers.part("")):
        yield Value(name, state[to_diffusers(name)], EXACT, theirs=tensor(numbers[name]).numpy())


def features(numbers: Numbers, model: SteadyDancerTransformer) -> Ours:
    """Whether the model can read them."""
    for name in ("clip_fea_x", "clip_fea_c"):
        yield Value(name, (1, IMAGE_TOKENS, model.config.image_dim), EXACT, "shape", numbers[name].shape)


def forward(case: Numbers, clip: Numbers, model: SteadyDancerTransformer) -> Ours:
    """One forward, all at once and with what no timestep changes prepared before (specification 1.2)."""
    told = (*case["in.x"].shape[1:], len(case["in.context"]), case["in.t"].item())
    for name, ours in zip(("T", "H", "W", "text_tokens", "t"), told, strict=True):
        yield Value(name, ours, EXACT)
    given = {name: tensor(case[f"in.{name}"])[None] for name in ("x", "y", "condition", "ref_x", "ref_c")}
    features = (tensor(clip[f"clip_fea_{which}"]) for which in "xc")
    conditions = assemble(given["y"][:, 4:], given["condition"], *features, [tensor(case["in.context"])])
    conditions = conditions._replace(y_BCTHW=given["y"], ref_x_BCTHW=given["ref_x"], ref_c_BCTHW=given["ref_c"][:, :16])
    timestep = torch.tensor(case["in.t"])
    for how, prepare in (("", lambda x: x), ("(prepared)", model.prepare)):
        with torch.no_grad():
            seen, velocity = observed(model, lambda p=prepare: model(given["x"], timestep, p(conditions)))
        yield Value("out", velocity[0], FORWARD, how)
        frames = [seen[name].shape[2:] for name in ("tok_fuse", "tok_ref_x", "tok_ref_c")]
        grid = [[sum(t for t, _, _ in frames), *frames[0][1:]]]
        yield Value("mid.grid_sizes", grid, EXACT, how)
        # The references' outputs, which the official head computes too, are dropped.
        heads = case["mid.head_out"]
        if heads.shape[1] == grid[0][0] * grid[0][1] * grid[0][2]:
            heads = heads[:, : seen["head_out"].shape[1]]
        yield Value("mid.head_out", seen.pop("head_out"), FORWARD, how, heads)
        for name, ours in seen.items():
            yield Value(f"mid.{name}", ours, FORWARD, how)


def observed(model: SteadyDancerTransformer, run: Callable[[], Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """What passes through the model by the names of the release's files, and the result of ``run``."""
    seen: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.update({name: output})

    def before_blocks(module: nn.Module, inputs: tuple) -> None:
        seen["block0_in"], context, *_ = inputs
        if isinstance(context, Tensor):
            seen["context_first_last"] = context[:, CONTEXT_ROWS]

    outputs = {
        "cond_temporal": model.condition_embedding_temporal,
        "cond_spatial_bt_chw": model.condition_embedding_spatial,
        "cond_aligned": model.condition_embedding_align,
        "tok_fuse": model.patch_embedding_fuse,
        "tok_ref_x": model.patch_embedding,
        "tok_ref_c": model.patch_embedding_ref_c,
        "time_proj": model.condition_embedder.time_proj,
        "head_out": model.proj_out,
    }
    outputs |= {f"block{i}_out": block for i, block in enumerate(model.blocks)}
    hooks = [module.register_forward_hook(kept(name)) for name, module in outputs.items()]
    hooks.append(model.blocks[0].register_forward_pre_hook(before_blocks))
    hooks.append(
        model.condition_embedding_align.register_forward_pre_hook(lambda _, inputs: seen.update(cond_fused=inputs[0]))
    )
    try:
        return seen, run()
    finally:
        for hook in hooks:
            hook.remove()


def schedule(numbers: Numbers, key: str) -> Ours:
    """The walk that ``key``, SOLVER.STEPS.SHIFT, names, on the velocity that the file describes (specification 3.3)."""
    solver, steps, shift = key.split(".", 2)
    sampler, latent = Sampler(solver, int(steps), float(shift)), tensor(numbers["x_start"])
    yield Value(f"{key}.timesteps", sampler.timesteps, EXACT)
    yield Value(f"{key}.sigmas", sampler.sigmas, SCHEDULER)
    for timestep in sampler.timesteps:
        t = float(timestep) / 1000
        velocity = torch.tanh(0.8 * latent) * (0.5 + t) + 0.3 * torch.cos(3 * latent + t)
        latent = sampler.step(velocity, timestep, latent)
    yield Value(f"{key}.x_end", latent, SCHEDULER)


def sizes(entries: Iterable[dict[str, Any]]) -> Ours:
    """Output, latents and tokens for an area and a picture (specification 3.2.3)."""
    for entry in entries:
        one, other = entry["area"].split("*")
        width, height = entry["src_wh"]
        size = output_size(int(one) * int(other), height, width)
        shape = latent_shape(TIME * (entry["latent_thw"][0] - 1) + 1, *size)
        tokens = shape[1] * shape[2] // 4
        ours = {"out_wh": size[::-1], "latent_thw": shape}
        ours |= {"tokens_main": shape[0] * tokens, "tokens_with_refs": (shape[0] + 2) * tokens}
        for name, value in ours.items():
            yield Value(name, value, EXACT, f"of {entry['area']} for {width}x{height}", entry[name])


def clip_pixels(numbers: Numbers) -> Ours:
    """What CLIP sees of a picture, every n-th pixel of it, and the mean and deviation of all (specification 3.2.6)."""
    pixels = squash(tensor(numbers["image_u8_chw"])[None] / 127.5 - 1, numbers["out_size"])[0]
    stride = numbers["stride"]
    yield Value(f"pixel_values_strided{stride}", pixels[:, ::stride, ::stride], PIXELS)
    yield Value("mean_std", [pixels.mean(), pixels.std()], PIXELS)
