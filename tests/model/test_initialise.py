"""What of the untrained model is the base, and what is not: each claim of model.initialise."""

import pytest
import torch

from infra import schema
from model.checkpoint import build_base, build_model
from model.conditions import assemble
from model.initialise import IMAGE_LATENT, base_forward, init_from_base
from model.transformer import SteadyDancerTransformer, model_config

T, H, W = 3, 6, 4


def batch(b=2):
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g)

    latent, image, pose = (normal(b, 16, T, H, W) for _ in range(3))
    text = [normal(4 + n, 32) for n in range(b)]
    return latent, torch.tensor([900.5, 3.0]), assemble(image, pose, normal(b, 257, 48), normal(b, 257, 48), text)


def base_and_model():
    base = build_base(schema.Model(), 3)
    return base, init_from_base(SteadyDancerTransformer(**model_config("tiny")), base).eval()


@torch.no_grad()
def test_the_pose_latent_changes_nothing():
    _, model = base_and_model()
    latent, timestep, conditions = batch()
    other = conditions.with_pose_latent(7 * conditions.condition_BCTHW)
    assert torch.equal(model(latent, timestep, conditions), model(latent, timestep, other))


@torch.no_grad()
@pytest.mark.parametrize("attention", ["open", "closed"])
def test_without_pose_only_the_attention_to_the_references_differs(attention):
    """Where no token sees another one of the video, the references do not matter, and the velocity is the base's."""
    base = build_base(schema.Model(), 3)
    if attention == "closed":
        for block in base.blocks:
            block.attn1.to_out[0].weight.zero_()
    model = init_from_base(SteadyDancerTransformer(**model_config("tiny")), base).eval()
    latent, timestep, conditions = batch()
    expected = base_forward(base, latent, timestep, conditions)
    difference = (model(latent, timestep, conditions.without_pose()) - expected).abs().max()
    assert difference < 1e-5 if attention == "closed" else difference > 1e-3
    # The pose's CLIP embedding is the other path.
    assert (model(latent, timestep, conditions) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_without_the_references_the_velocity_is_the_base_s():
    """Attention as it is, but over the video's tokens alone: positions, modulation and contexts are the base's too."""
    base, model = base_and_model()
    latent, timestep, conditions = batch()
    video = T * H * W // 4
    for block in model.blocks:
        block.attn1.register_forward_pre_hook(
            lambda _, args, kwargs: (tuple(cut(x, video) for x in args), {k: cut(x, video) for k, x in kwargs.items()}),
            with_kwargs=True,
        )
        block.attn1.register_forward_hook(lambda _, args, out: torch.cat([out, out.new_zeros(len(out), 12, 96)], 1))
    ours = model(latent, timestep, conditions.without_pose())
    torch.testing.assert_close(ours, base_forward(base, latent, timestep, conditions), atol=1e-5, rtol=1e-5)


def cut(x, length):
    """Hidden states (B, L, D) and the rotary tables (1, L, 1, K) to their first tokens."""
    if isinstance(x, (tuple, list)):
        return tuple(cut(part, length) for part in x)
    return x[:, :length] if isinstance(x, torch.Tensor) else x


@torch.no_grad()
def test_the_references_are_embedded_as_the_base_embeds_an_image():
    base, model = base_and_model()
    _, _, conditions = batch()
    pose = torch.zeros(2, 36, 1, H, W)
    pose[:, IMAGE_LATENT] = conditions.ref_c_BCTHW
    torch.testing.assert_close(model.patch_embedding_ref_c(conditions.ref_c_BCTHW), base.patch_embedding(pose))
    image = conditions.ref_x_BCTHW
    assert torch.equal(model.patch_embedding(image), base.patch_embedding(image))


def test_the_first_gradient_reaches_the_fuse_kernel_and_no_pose_module():
    _, model = base_and_model()
    latent, timestep, conditions = batch()
    for step in (0, 1):
        model.zero_grad()
        model(latent, timestep, conditions).square().mean().backward()
        assert model.patch_embedding_fuse.weight.grad[:, 36:].abs().sum() > 0
        modules = (model.condition_embedding_spatial, model.condition_embedding_temporal)
        for module in (*modules, model.condition_embedding_align):
            gradient = sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)
            assert gradient > 0 if step else gradient == 0
        with torch.no_grad():
            model.patch_embedding_fuse.weight -= 0.1 * model.patch_embedding_fuse.weight.grad


def test_the_pose_modules_come_from_the_seed(tmp_path):
    """With a base on disk as without one."""
    base = build_base(schema.Model(), 0)
    base.save_pretrained(tmp_path / "base")
    for settings in (schema.Model(), schema.Model(base=str(tmp_path / "base"))):
        one, same, other = (build_model(settings, seed).condition_embedding_align.proj_p.weight for seed in (1, 1, 2))
        assert torch.equal(one, same) and not torch.equal(one, other)
