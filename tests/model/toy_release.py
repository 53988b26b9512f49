"""A folder like the official release's, made by plain code after the specification and by none of ours.

Shapes: C channels, T frames or latent frames, H W height and width (pixels or latent).
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from PIL import Image
from plain_forward import DIM, FREQ, HEADS, LAYERS, faau, ssae, tmcm, wan_forward
from safetensors.torch import save_file
from torch.nn import functional as F

FFN, TEXT, IMAGE = 16, 6, 20
CONFIG = {"model_type": "i2v", "patch_size": [1, 2, 2], "text_len": 512, "in_dim": 36, "in_dim_c": 16, "dim": DIM}
CONFIG |= {"ffn_dim": FFN, "freq_dim": FREQ, "text_dim": TEXT, "out_dim": 16, "num_heads": HEADS, "num_layers": LAYERS}
CONFIG |= {"qk_norm": True, "cross_attn_norm": True, "eps": 1e-6, "image_dim": IMAGE}


def make(folder: Path) -> Path:
    g = torch.Generator().manual_seed(5)
    weights = make_weights(g)
    store(folder / "dit_tiny_weights.safetensors", {n: w.half() for n, w in weights.items()}, {"config": CONFIG})
    clip = {f"clip_fea_{which}": torch.randn(1, 257, IMAGE, generator=g).half() for which in "xc"}
    store(folder / "dit_clip_inputs.safetensors", clip, {})
    for name, thw, tokens, t in (("m", (2, 4, 6), 5, 637), ("n", (5, 6, 4), 512, 14)):
        inputs = make_inputs(g, thw, tokens, t)
        with torch.no_grad():
            results = wan_forward(weights, inputs, *(feature.float() for feature in clip.values()))
        tensors = {f"in.{n}": x for n, x in inputs.items()} | results
        meta = dict(zip("THW", thw, strict=True)) | {"text_tokens": tokens, "t": t}
        store(folder / f"dit_case_{name}.safetensors", tensors, meta)
    make_modules(folder, weights, g)
    make_schedules(folder, g)
    make_sizes(folder)
    make_pixels(folder, g)
    make_pipeline(folder, g)
    return folder


def store(path: Path, tensors: dict[str, torch.Tensor], meta: dict) -> None:
    save_file({name: x.clone().contiguous() for name, x in tensors.items()}, path, {"meta": json.dumps(meta)})


def make_weights(g: torch.Generator) -> dict[str, torch.Tensor]:
    """By official names (specification 2), representable in fp16."""
    linears = {"time_embedding.0": (DIM, FREQ), "time_embedding.2": (DIM, DIM), "time_projection.1": (6 * DIM, DIM)}
    linears |= {"text_embedding.0": (DIM, TEXT), "text_embedding.2": (DIM, DIM), "head.head": (64, DIM)}
    linears |= {"img_emb.proj.1": (IMAGE, IMAGE), "img_emb.proj.3": (DIM, IMAGE)}
    vectors = {"img_emb.proj.0": (IMAGE, True), "img_emb.proj.4": (DIM, True)}
    shapes = {"head.modulation": (1, 2, DIM)}
    for part, channels in (("", 36), ("_fuse", 68), ("_ref_c", 16)):
        linears[f"patch_embedding{part}"] = (DIM, channels, 1, 2, 2)
    for n in range(LAYERS):
        block = f"blocks.{n}"
        shapes[f"{block}.modulation"] = (1, 6, DIM)
        linears |= {f"{block}.ffn.0": (FFN, DIM), f"{block}.ffn.2": (DIM, FFN)}
        names = [f"{block}.{kind}_attn.{part}" for kind in ("self", "cross") for part in "qkvo"]
        names += [f"{block}.cross_attn.{part}" for part in ("k_img", "v_img")]
        linears |= dict.fromkeys(names, (DIM, DIM))
        vectors |= {f"{block}.{kind}_attn.norm_{part}": (DIM, False) for kind in ("self", "cross") for part in "qk"}
        vectors |= {f"{block}.cross_attn.norm_k_img": (DIM, False), f"{block}.norm3": (DIM, True)}
    ssae, tmcm, faau = (f"condition_embedding_{part}" for part in ("spatial", "temporal", "align"))
    shapes |= {f"{ssae}.conv.weight": (16, 16, 1, 1), f"{ssae}.conv_q.weight": (4, 16, 1, 1)}
    shapes |= {f"{ssae}.fc.0.weight": (4, 16), f"{ssae}.fc.1.fc.0.weight": (4, 4), f"{ssae}.fc_phi.weight": (16, 4)}
    shapes |= {f"{ssae}.fc_scale.weight": (16, 4), f"{ssae}.conv_p.weight": (16, 4, 1, 1)}
    vectors |= {f"{ssae}.bn1": (4, True), f"{ssae}.bn2": (4, True)}
    for stage in (0, 2, 4):
        shapes[f"{tmcm}.{stage}.spatial.weight"] = (16, 1, 1, 3, 3)
        linears[f"{tmcm}.{stage}.temporal"] = (16, 16, 3, 1, 1)
    linears |= {f"{faau}.{part}": (128, 16, 1, 1) for part in ("proj_p", "proj_r")}
    linears |= {f"{faau}.ffn_pose.{part}": (128, 128, 1, 1) for part in (0, 2)}
    linears |= {f"{faau}.proj_p_back": (16, 128, 1, 1), f"{faau}.cross_attn.out_proj": (128, 128)}
    shapes |= {f"{faau}.cross_attn.in_proj_weight": (384, 128), f"{faau}.cross_attn.in_proj_bias": (384,)}
    shapes |= {f"{faau}.{norm}.{leaf}": (1, 128, 1, 1) for norm in ("norm1", "norm2") for leaf in ("weight", "bias")}
    for name, (width, affine) in vectors.items():
        shapes |= {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if affine else {})
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    def value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        spread, of_norm = max(np.prod(shape[1:]), 4) ** -0.5, len(shape) == 1 and name.endswith(".weight")
        return (torch.randn(shape, generator=g) * spread + of_norm).half().float()

    return {name: value(name, shape) for name, shape in shapes.items()}


def make_inputs(g: torch.Generator, thw: tuple[int, int, int], tokens: int, t: int) -> dict[str, torch.Tensor]:
    _, h, w = thw
    shapes = {"x": (16, *thw), "y": (20, *thw), "condition": (16, *thw), "ref_x": (36, 1, h, w), "ref_c": (36, 1, h, w)}
    inputs = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    return inputs | {"context": torch.randn(tokens, TEXT, generator=g), "t": torch.tensor([t])}


def make_modules(folder: Path, weights: dict, g: torch.Generator) -> None:
    tensors = {}
    for short, part in (("ssae", "spatial"), ("tmcm", "temporal"), ("faau", "align")):
        prefix = f"condition_embedding_{part}."
        tensors |= {f"{short}.w.{n.removeprefix(prefix)}": x for n, x in weights.items() if n.startswith(prefix)}
    frames, clip, pose, latent = (
        torch.randn(shape, generator=g) for shape in ((3, 16, 6, 5), (16, 4, 5, 3), (16, 3, 2, 3), (16, 3, 2, 3))
    )
    moved = pose.clone()
    moved[:, 0, 0, 0] += 1
    y = faau(weights, pose, latent)
    tensors |= {"ssae.x": frames, "ssae.y": ssae(weights, frames), "tmcm.x": clip[None]}
    tensors |= {"tmcm.y": tmcm(weights, clip)[None], "faau.pose": pose[None], "faau.ref": latent[None]}
    tensors |= {"faau.y": y[None], "faau.influence_of_pose_t0h0w0": (faau(weights, moved, latent) - y).abs().amax(0)}
    store(folder / "modules.safetensors", tensors, {})


# Sampling (specification 3.3, 3.4).


def scheduler(solver: str, steps: int, shift: float):
    """The scheduler, its timesteps and noise levels."""
    first = float(np.float32(0.999)) if solver == "unipc" else 1.0
    levels = [shift * s / (1 + (shift - 1) * s) for s in np.linspace(first, 0, steps + 1)[:-1]]
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
    if solver == "unipc":
        out = UniPCMultistepScheduler(**flow)
        out.set_timesteps(sigmas=np.array(levels))
    else:
        out = DPMSolverMultistepScheduler(**flow, algorithm_type="dpmsolver++", solver_order=2)
        out.set_timesteps(steps)
        out.sigmas = torch.tensor([*levels, 0.0], dtype=torch.float32)
        out.timesteps = torch.tensor([int(1000 * level) for level in levels])
    return out, out.timesteps.clone(), out.sigmas.clone()


def make_schedules(folder: Path, g: torch.Generator) -> None:
    tensors, keys = {"x_start": torch.randn(1, 2, 3, 4, 4, generator=g)}, []
    for solver, steps, shift in (("unipc", 6, 5.0), ("dpm++", 5, 3.0)):
        walk, timesteps, sigmas = scheduler(solver, steps, shift)
        x = tensors["x_start"]
        for timestep in timesteps:
            t = timestep.item() / 1000
            x = walk.step(torch.tanh(0.8 * x) * (0.5 + t) + 0.3 * torch.cos(3 * x + t), timestep, x).prev_sample
        keys.append(f"{solver}.{steps}.{shift}")
        ours = {"timesteps": timesteps, "sigmas": sigmas, "x_end": x}
        tensors |= {f"{keys[-1]}.{name}": value for name, value in ours.items()}
    store(folder / "schedulers.safetensors", tensors, {"keys": keys})


def make_sizes(folder: Path) -> None:
    entries = []
    for area, (w, h) in (((1024, 576), (864, 1184)), ((480, 832), (1000, 400)), ((1024, 576), (333, 777))):
        height, width = (int((area[0] * area[1] * ratio) ** 0.5 // 16 * 16) for ratio in (h / w, w / h))
        tokens = height // 16 * (width // 16)
        entry = {"area": f"{area[0]}*{area[1]}", "src_wh": [w, h], "out_wh": [width, height]}
        entry |= {"latent_thw": [21, height // 8, width // 8], "tokens_main": 21 * tokens}
        entries.append(entry | {"tokens_with_refs": 23 * tokens})
    assert entries[0]["out_wh"] == [656, 896]
    (folder / "resolutions.json").write_text(json.dumps(entries))


def make_pixels(folder: Path, g: torch.Generator) -> None:
    image = torch.randint(256, (3, 40, 30), generator=g, dtype=torch.uint8)
    small = F.interpolate((image.float() / 127.5 - 1)[None], (224, 224), mode="bicubic")[0] / 2 + 0.5
    mean, std = torch.tensor([[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]])[
        ..., None, None
    ]
    pixels = (small - mean) / std
    tensors = {"image_u8_chw": image, "pixel_values_strided9": pixels[:, ::9, ::9]}
    tensors["mean_std"] = torch.stack([pixels.mean(), pixels.std()])
    store(folder / "clip_preprocess.safetensors", tensors, {"out_size": 224, "stride": 9})


# The whole generation (specification 3.2 to 3.4).

RUNS = {"unipc9": (9, "unipc", 5.0, 1.0), "dpm10": (10, "dpm++", 3.0, 1.5)}
FRAMES, AREA, SEED, GUIDANCE, INTERVAL = 13, 3072, 106060, 5.0, (0.1, 0.4)


def make_pipeline(folder: Path, g: torch.Generator) -> None:
    rng = np.random.default_rng(9)
    base = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image, projection = rng.integers(0, 256, (90, 70, 3), dtype=np.uint8), torch.randn(16, 3, generator=g)

    def picture(step: int) -> np.ndarray:
        rolled = np.roll(base[::-1], step, axis=0)
        return np.array(Image.fromarray(rolled).resize((70, 90), Image.Resampling.BICUBIC))

    def signed(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 * 2 - 1

    def small(pixels: np.ndarray) -> torch.Tensor:
        return F.interpolate(signed(pixels)[None], (48, 48), mode="bicubic")[0]

    def encoded(frames: list[torch.Tensor]) -> torch.Tensor:
        cells = torch.stack([frame.reshape(3, 6, 8, 6, 8).mean((2, 4)) for frame in frames])
        groups = [cells[:1], *(cells[1:].split(4) if len(cells) > 1 else ())]
        return torch.stack([projection @ group.mean(0).flatten(1) for group in groups], dim=1).unflatten(2, (6, 6))

    def features(pixels: np.ndarray) -> torch.Tensor:
        return F.adaptive_avg_pool2d(signed(pixels), (4, 4)).reshape(1, 1, 48)

    def reference(latent: torch.Tensor, mask: int) -> torch.Tensor:
        return torch.cat([latent, torch.full((4, 1, 6, 6), float(mask)), latent])

    image_latent = encoded([small(image), *[torch.zeros(3, 48, 48)] * (FRAMES - 1)])
    mask = torch.zeros(4, image_latent.shape[1], 6, 6)
    mask[:, 0] = 1
    positive, negative = (encoded([small(picture(rows * i)) for i in range(FRAMES)]) for rows in (1, 2))
    shared = {"y": torch.cat([mask, image_latent]), "ref_x": reference(encoded([small(image)]), 1)}
    shared["ref_c"] = reference(encoded([small(picture(0))]), 0)

    def velocity(x: torch.Tensor, t: int, text: float, pose: torch.Tensor) -> torch.Tensor:
        out = torch.tanh(0.8 * x) * (0.5 + t / 1000) + 0.2 * text + 0.3 * pose + 0.1 * shared["y"][4:]
        return out + 0.05 * shared["ref_x"][:16] + 0.02 * shared["ref_c"][:16]

    tensors = {"image": torch.tensor(image), "base": torch.tensor(base), "toy.proj": projection}
    tensors |= dict.fromkeys(("pos0", "neg0"), torch.tensor(picture(0)))
    tensors |= {f"args.pos.{name}": x for name, x in shared.items()} | {"args.pos.condition": positive}
    tensors |= {"args.pos.clip_fea_x": features(image), "args.pos.clip_fea_c": features(picture(0))}
    tensors |= {"args.pos.context": torch.ones(3, 8), "args.negtext.context": torch.full((3, 8), -0.5)}
    tensors["args.negpose.condition"] = negative
    told, names = {}, ["clip_fea_c", "clip_fea_x", "y", "ref_c", "ref_x"]
    for run, (steps, solver, shift, pose_guidance) in RUNS.items():
        walk, timesteps, _ = scheduler(solver, steps, shift)
        x = noise = torch.randn(16, image_latent.shape[1], 6, 6, generator=torch.Generator().manual_seed(SEED))
        calls, guided = 0, []
        for i, timestep in enumerate(timesteps):
            t = int(timestep)
            right, wordless = velocity(x, t, 1.0, positive), velocity(x, t, -0.5, positive)
            v, calls = wordless + GUIDANCE * (right - wordless), calls + 2
            if INTERVAL[0] < i / steps < INTERVAL[1]:
                v, calls = v + pose_guidance * (right - velocity(x, t, 1.0, negative)), calls + 1
                guided.append(i)
            x = walk.step(v[None], timestep, x[None]).prev_sample[0]
        told[run] = {"sampling_steps": steps, "sample_solver": solver, "shift": shift, "forward_calls": calls}
        told[run] |= {"condition_guide_scale": pose_guidance, "steps_with_negative_pose": guided}
        told[run] |= {"seq_len_argument": 9 * image_latent.shape[1], "prompts_encoded": ["POS", "NEG"]}
        told[run]["vae_encode_shapes"] = [[3, n, 48, 48] for n in (FRAMES, 1, 1, FRAMES, FRAMES)]
        tensors |= {f"{run}.noise": noise, f"{run}.final_latent": x}
    told["unipc9"]["negpose_pass_shares_with_positive"] = [*names, "context"]
    told["unipc9"]["negtext_pass_shares_with_positive"] = [*names, "condition"]
    meta = {"max_area": AREA, "frame_num": FRAMES, "guide_scale": GUIDANCE, "seed": SEED, "interval": INTERVAL}
    store(folder / "pipeline_toy.safetensors", tensors, meta | {"runs": told})
