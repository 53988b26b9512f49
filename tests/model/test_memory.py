import re

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.hooks.group_offloading import ModuleGroup
from live_memory import FlashAttention, LiveMemory

from infra import schema
from infra.errors import SteadyDancerError
from model.animation.out_of_memory import HEADROOM, Job, OutOfMemory, explained, remedies
from model.animation.placement import place
from model.codec import BlockDCT
from model.conditions import Conditions
from model.memory import estimate, moments, weights
from model.transformer import SteadyDancerTransformer, model_config
from model.wan_vae import tiles

REAL = schema.Encode(codec="wan-vae", image="clip", text="umt5")
EMBEDDED = schema.Encode()
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
GB = 10**9


def conditions(config: dict, latent_THW: tuple[int, int, int], batch: int, device: str) -> Conditions:
    t, h, w = latent_THW

    def empty(*shape: int) -> torch.Tensor:
        return torch.rand(batch, *shape, device=device)

    clip = (257, config["image_dim"])
    latents = empty(20, t, h, w), empty(16, t, h, w), empty(36, 1, h, w), empty(16, 1, h, w)
    return Conditions(*latents, empty(*clip), empty(*clip), empty(), empty(512, config["text_dim"]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("passes", ["single", "batched"])
@pytest.mark.parametrize(("size", "latent_THW"), [("small", (21, 36, 64)), ("wan-14b", (21, 128, 72))])
def test_a_forward_takes_what_is_estimated(size, latent_THW, passes, precision):
    config = model_config(size) | {"num_layers": 1}
    with torch.device("meta"):
        model = SteadyDancerTransformer(**config).eval().requires_grad_(False)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for name, parameter in model.named_parameters():
        if not any(part in name for part in model._keep_in_fp32_modules):
            parameter.data = parameter.to(dtype)
    assert sum(p.numel() * p.element_size() for p in model.parameters()) == sum(weights(config, precision))

    batch = 3 if passes == "batched" else 1
    with torch.no_grad(), FlashAttention():
        prepared = model.prepare(conditions(config, latent_THW, batch, "meta"))
        with LiveMemory() as live:
            model(torch.empty(batch, 16, *latent_THW, device="meta"), torch.empty(batch, device="meta"), prepared)
    settings = schema.Animate(passes=passes, precision=precision)
    [parts] = [one.parts for one in moments(config, latent_THW, settings, EMBEDDED) if one.moment == "denoising"]
    assert parts["activations"] == pytest.approx(live.peak, rel=0.1)
    if passes == "single":
        kept = sum(tensor.nbytes for part in (prepared.image, prepared.text, prepared.text) for tensor in part[0])
        assert parts["keys and values"] == kept


@pytest.mark.parametrize("tiling", [False, True])
def test_the_vae_takes_what_is_estimated(tiling):
    """Nine frames: from the third latent frame on all its caches are full."""
    with torch.device("meta"):
        vae = AutoencoderKLWan().eval().requires_grad_(False)
    frames, height, width = 9, 448, 192
    if tiling:
        (tall, down), (wide, across) = tiles(height), tiles(width)
        vae.enable_tiling(tall, wide, down, across)
    work = codec_work(REAL.model_copy(update={"codec_tiling": tiling}), (3, height // 8, width // 8))
    with torch.no_grad(), FlashAttention(), LiveMemory() as live:
        latent_BCTHW = vae.encode(torch.empty(1, 3, frames, height, width, device="meta")).latent_dist.mode()
    assert work["encoding"] == pytest.approx(live.peak, rel=0.1)
    with torch.no_grad(), FlashAttention(), LiveMemory() as live:
        vae.decode(latent_BCTHW)
    assert work["decoding"] == pytest.approx(live.peak, rel=0.1)


def test_the_embedded_codec_takes_what_is_estimated():
    latent_THW = 2, 56, 24
    with LiveMemory() as live:
        BlockDCT().decode(torch.zeros(1, 16, *latent_THW))
    assert codec_work(EMBEDDED, latent_THW)["decoding"] == pytest.approx(live.peak, rel=0.1)


def codec_work(encode: schema.Encode, latent_THW: tuple[int, int, int]) -> dict[str, int]:
    """Bytes beside its weights that the codec is said to take at each moment."""
    found = moments(model_config("tiny"), latent_THW, schema.Animate(), encode)
    return {one.moment: one.parts["VAE at work"] for one in found if "VAE at work" in one.parts}


def test_the_released_model():
    block, rest = weights(model_config("wan-14b"), "fp32")
    assert 40 * block + rest == 16_396_718_736 * 4
    needs = [
        estimate(model_config("wan-14b"), (21, 128, 72), schema.Animate(**settings), REAL).total / GB
        for settings in (
            {},
            {"precision": "bf16"},
            {"precision": "bf16", "offload": "parts"},
            {"precision": "bf16", "offload": "blocks"},
        )
    ]
    assert needs == sorted(needs, reverse=True)
    assert needs[2] == pytest.approx(43, rel=0.1), "the paper's figure for one GPU, offloaded"


def said(change: str) -> tuple[str, str | int | bool]:
    name, value = change.split("=")
    return name, {"true": True, "false": False}.get(value, int(value) if value.isdigit() else value)


@pytest.mark.parametrize("room", [4, 9, 13, 15, 20, 30, 50, 70])
@pytest.mark.parametrize("settings", [{}, {"passes": "batched"}, {"offload": "blocks", "precision": "bf16"}])
def test_what_is_said_to_fit_fits(settings, room):
    job = Job(model_config("wan-14b"), schema.Animate(**settings), REAL, (1024, 576), 81, 81)
    text = remedies(job, room * GB, CUDA)
    ways = re.findall(r"[\w.]+=[\w.=\- ]+", text)
    assert bool(ways) == (room > 12.5), "umT5 alone takes 12.5 GB"
    for way in ways:
        changes = dict(map(said, way.rstrip(".").split(" ")))
        frames = changes.pop("animate.frames", job.frames)
        assert job._replace(frames=frames).changed(*changes.items()).fits(room * GB)


def test_the_least_harmful_comes_first():
    job = Job(model_config("wan-14b"), schema.Animate(precision="bf16"), REAL, (1024, 576), 81, 81)
    assert job.fits(70 * GB)
    assert remedies(job, 50 * GB, CUDA) == "By estimate any of these fits: animate.offload=parts."
    assert remedies(job, 13 * GB, CUDA) == (
        "By estimate any of these fits: animate.offload=blocks encode.codec_tiling=true."
    )
    small = Job(model_config("small"), schema.Animate(passes="batched"), EMBEDDED, (1024, 576), 81, 81)
    room = int(HEADROOM * small.changed(("animate.passes", "single")).estimate().total)
    ways = remedies(small, room + 1, CPU)
    assert ways.startswith("By estimate any of these fits: animate.passes=single; ")
    assert "offload" not in ways


def test_running_out_of_memory_is_explained():
    job = Job(model_config("small"), schema.Animate(passes="batched"), EMBEDDED, (1024, 576), 81, 81)
    needed = r"81 frames of 576x1024 need about \d+\.\d GB while denoising \(.*the device has \d+"
    with pytest.raises(OutOfMemory, match=needed), explained(job, "cpu"):
        torch.empty(10**15)
    with pytest.raises(OutOfMemory), explained(job, "cpu"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another thing"), explained(job, "cpu"):
        raise RuntimeError("another thing")
    with pytest.raises(SteadyDancerError, match="no aspect"), explained(job, "cpu"):
        raise SteadyDancerError("no aspect")


def test_layers_that_come_one_by_one_compute_the_same(monkeypatch):
    """On the CPU, where coming and going changes no device; the order of it is diffusers' own."""
    config = model_config("tiny")
    torch.manual_seed(0)
    model = SteadyDancerTransformer(**config).eval().requires_grad_(False)
    latent_THW = 2, 4, 4
    inputs = torch.randn(1, 16, *latent_THW), torch.tensor([500]), conditions(config, latent_THW, 1, "cpu")
    place(model, "cpu", "none")
    expected, came = model(*inputs), []
    bring = ModuleGroup.onload_
    monkeypatch.setattr(ModuleGroup, "onload_", lambda group: (came.extend(group.modules), bring(group)))
    for _ in range(2):
        place(model, "cpu", "blocks")
    assert torch.equal(model(*inputs), expected)
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv3d)]
    assert len(layers) > 40
    assert all(came.count(layer) == 1 for layer in layers)
