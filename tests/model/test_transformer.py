import csv

import pytest
import torch

from infra import schema
from model.checkpoint import build_base, build_model
from model.conditions import Conditions, assemble
from model.guidance import Passes, batched, one_by_one, prepared
from model.initialise import init_from_base
from model.names import to_diffusers, to_official
from model.pose_modules import FAAU
from model.transformer import LORA_TARGETS, SteadyDancerTransformer, model_config


def batch(b: int, t: int = 3, h: int = 6, w: int = 4, seed: int = 0, image_dim: int = 48, text_dim: int = 32):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    conditions = assemble(
        normal(b, 16, t, h, w),
        normal(b, 16, t, h, w),
        normal(b, 257, image_dim),
        normal(b, 257, image_dim),
        [normal(4 + 3 * n, text_dim) for n in range(b)],
    )
    return normal(b, 16, t, h, w), torch.tensor([999.0, 500.5, 3.0][:b]), conditions


@pytest.fixture(scope="module")
def model() -> SteadyDancerTransformer:
    """Tiny, with every part random, so that every part matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SteadyDancerTransformer(**model_config("tiny")).eval()


def test_wan_14b_has_the_released_tensors(real_data):
    with torch.device("meta"):
        state = SteadyDancerTransformer(**model_config("wan-14b")).state_dict()
    with (real_data / "spec/state_dict.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    expected = {row["official_name"]: row["shape"] for row in rows}
    assert {to_official(name): "x".join(map(str, tensor.shape)) for name, tensor in state.items()} == expected
    assert len(state) == 1345
    assert sum(tensor.numel() for tensor in state.values()) == 16_396_718_736
    assert all(to_official(to_diffusers(name)) == name for name in expected)


def test_sizes():
    with torch.device("meta"):
        count = {
            s: sum(p.numel() for p in SteadyDancerTransformer(**model_config(s)).parameters())
            for s in ("tiny", "small")
        }
    assert 0.5e6 < count["tiny"] < 1.5e6
    assert 80e6 < count["small"] < 120e6


@torch.no_grad()
def test_a_batch_keeps_its_samples_apart(model):
    latent, timestep, conditions = batch(3)
    together = model(latent, timestep, conditions)
    for i in range(3):
        alone = model(latent[i : i + 1], timestep[i : i + 1], Conditions(*(part[i : i + 1] for part in conditions)))
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 21])
def test_any_number_of_frames(model, frames):
    latent, timestep, conditions = batch(1, t=frames, h=4)
    assert model(latent, timestep, conditions).shape == latent.shape


@torch.no_grad()
def test_shapes_that_do_not_go_together_are_refused(model):
    latent, timestep, conditions = batch(2)
    for inputs in (
        (latent[..., :3], timestep, conditions),
        (latent[:, :, :2], timestep, conditions),
        (latent, timestep[:1], conditions),
        (latent, timestep, conditions._replace(text_BLD=conditions.text_BLD[:, :100])),
    ):
        with pytest.raises(ValueError, match="must be even|has 2 timesteps|512 text tokens"):
            model(*inputs)
    prepared_for_less = model.prepare(conditions)
    prepared_for_less = prepared_for_less._replace(text=prepared_for_less.text[:1], image=prepared_for_less.image[:1])
    with pytest.raises(ValueError, match="zip"):
        model(latent, timestep, prepared_for_less)


@torch.no_grad()
def test_every_stream_is_read(model):
    latent, timestep, conditions = batch(1)
    velocity = model(latent, timestep, conditions)
    for name in Conditions._fields:
        changed = conditions._replace(**{name: 1 - getattr(conditions, name)})
        assert (model(latent, timestep, changed) - velocity).abs().max() > 1e-5, name
    # Two timesteps that bf16 cannot tell apart.
    assert (model(latent, timestep - 1.0, conditions) - velocity).abs().max() > 1e-6


@torch.no_grad()
def test_frame_wise_attention_stays_at_its_place():
    align, g = FAAU().eval(), torch.Generator().manual_seed(0)
    pose, latent = (torch.randn(2, 16, 4, 3, 3, generator=g) for _ in range(2))
    moved = pose.clone()
    moved[0, :, 0, 1, 2] += 1
    change = (align(moved, latent) - align(pose, latent)).abs().amax(1)
    assert (change[0, :, 1, 2] > 0).all()
    change[0, :, 1, 2] = 0
    assert change.max() < 1e-6


@torch.no_grad()
def test_what_is_prepared_once_gives_the_same_velocities(model):
    """Cached or not, passes one by one or batched, in several windows that differ in their poses."""
    latent, _, conditions = batch(1)
    timestep, other = torch.tensor([640]), batch(1, seed=1)[2]
    windows = [
        Passes(c, c.with_text([torch.ones(5, 32)]), c.with_pose_latent(-c.condition_BCTHW))
        for c in (conditions, conditions.with_pose_latent(other.condition_BCTHW))
    ]
    once = prepared(model, windows)
    assert once[0].positive.text is once[1].negative_pose.text, "shared, not made again"
    plain = [velocities(latent, timestep, 3) for velocities in one_by_one(model, windows)]
    assert (plain[0][0] - plain[1][0]).abs().max() > 1e-3
    assert all((plain[0][0] - plain[0][n]).abs().max() > 1e-3 for n in (1, 2))
    for way, passes in ((one_by_one, once), (batched, once), (batched, windows)):
        for n in (2, 3):
            found = [velocities(latent, timestep, n) for velocities in way(model, passes)]
            torch.testing.assert_close(found, [each[:n] for each in plain], atol=1e-5, rtol=0)


def test_gradient_checkpointing_changes_nothing(model):
    latent, timestep, conditions = batch(2)
    gradients = []
    for checkpointing in (False, True):
        model.enable_gradient_checkpointing() if checkpointing else model.disable_gradient_checkpointing()
        model.zero_grad()
        model(latent, timestep, conditions).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    model.disable_gradient_checkpointing()
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_half_precision_stays_close(model):
    latent, timestep, conditions = batch(1)
    exact = model(latent, timestep, conditions)
    half = SteadyDancerTransformer(**model_config("tiny")).eval()
    half.load_state_dict(model.state_dict())
    rough = half.to(torch.bfloat16)(latent, timestep, conditions)
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() / exact.norm() < 0.03


def test_lora_finds_its_targets():
    from peft import LoraConfig

    model = build_model(schema.Model(), 0)
    model.add_adapter(LoraConfig(r=4, target_modules=list(LORA_TARGETS)))
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(adapted) == 2 * (4 + 4 + 2)
    latent, timestep, conditions = batch(1)
    model(latent, timestep, conditions).square().mean().backward()
    assert model.blocks[0].attn1.to_q.lora_B["default"].weight.grad.abs().sum() > 0


def test_it_learns():
    latent, _, conditions = batch(1)
    model = init_from_base(SteadyDancerTransformer(**model_config("tiny")), build_base(schema.Model(), 0)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    g, losses = torch.Generator().manual_seed(0), []
    for _ in range(40):
        sigma = 0.6 + 0.4 * torch.rand(1, generator=g)
        noise = torch.randn(latent.shape, generator=g)
        velocity = model((1 - sigma) * latent + sigma * noise, 1000 * sigma, conditions)
        loss = (velocity - (noise - latent)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert sum(losses[-10:]) / 10 < 0.8 * float(latent.square().mean()), "no better than calling everything noise"
