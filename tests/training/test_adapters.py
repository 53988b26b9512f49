"""Which parameters a stage trains, how fast, and what becomes of them."""

import copy
import re

import pytest
import torch

from infra import schema
from infra.errors import SteadyDancerError
from model.checkpoint import build_model, model_sha
from model.conditions import assemble
from model.transformer import NEW_PARTS
from training.adapters import TARGETS, make_trainable, merge, parameter_groups


def stage(**given) -> schema.Stage:
    return schema.Stage(
        **{"objective": "action_supervision", "steps": 1, "lr": 1e-4, "trainable": "lora", "lora_rank": 4} | given
    )


@pytest.fixture(scope="module")
def parent():
    return build_model(schema.Model(), 0)


def trainable(parent, chosen, seed=1):
    model = copy.deepcopy(parent)
    make_trainable(model, chosen, seed)
    return model


def trained_state(model, moved=0.05) -> dict[str, torch.Tensor]:
    """Every trained tensor, moved."""
    g = torch.Generator().manual_seed(5)
    state = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: tensor + moved * torch.randn(tensor.shape, generator=g) for name, tensor in state.items()}


def test_adapters_are_on_ten_matrices_of_every_block_and_on_nothing_else(parent):
    names = [name for name, _ in trainable(parent, stage()).named_parameters() if ".lora_A." in name]
    attention = [f"attn{n}.to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out.0")]
    layers = [f"blocks.{block}.{layer}" for block in range(2) for layer in (*attention, "ffn.net.0.proj", "ffn.net.2")]
    assert sorted(name.split(".lora_A.")[0] for name in names) == sorted(layers) and len(layers) == 2 * 10
    known = [name for name, _ in parent.named_modules()]
    for stranger in (
        "blocks.0.attn2.add_k_proj",
        "blocks.0.attn2.add_v_proj",
        "condition_embedder.image_embedder.ff.net.0.proj",
        "condition_embedder.text_embedder.linear_1",
    ):
        assert stranger in known and not re.fullmatch(TARGETS, stranger)


@pytest.mark.parametrize("patch_embedding", [False, True])
def test_a_lora_stage_trains_adapters_and_new_parts_in_full(parent, patch_embedding):
    model = trainable(parent, stage(patch_embedding=patch_embedding))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    new = {name for name, _ in parent.named_parameters() if name.startswith(NEW_PARTS)}
    assert len(new) == 42 and new <= trained
    base = {"patch_embedding.weight", "patch_embedding.bias"} if patch_embedding else set()
    assert {name for name in trained - new if ".lora_" not in name} == base
    whole = trainable(parent, stage(trainable="full"))
    assert all(parameter.requires_grad for parameter in whole.parameters())
    assert not any(".lora_" in name for name, _ in whole.named_parameters())


@torch.no_grad()
def test_a_stage_begins_as_its_parent_and_from_its_seed_alone(parent):
    chosen = stage()
    first, again, other = (trainable(parent, chosen, seed) for seed in (1, 1, 2))
    torch.manual_seed(99)  # what else was drawn does not matter
    assert model_sha(first) == model_sha(again) == model_sha(trainable(parent, chosen, 1)) != model_sha(other)
    g = torch.Generator().manual_seed(0)
    latent, image, pose = (torch.randn(1, 16, 2, 4, 4, generator=g) for _ in range(3))
    clip, text = torch.randn(1, 257, 48, generator=g), [torch.randn(3, 32, generator=g)]
    given = latent, torch.tensor([500.0]), assemble(image, pose, clip, clip, text)
    assert torch.equal(first(*given), parent(*given))


@pytest.mark.parametrize("given", [{"patch_embedding": True}, {"patch_embedding": True, "new_lr": 3e-3}])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_every_trained_parameter_is_in_the_group_of_its_role(parent, kind, given):
    model = trainable(parent, stage(trainable=kind, weight_decay=0.2, **given))
    groups = parameter_groups(model, stage(trainable=kind, weight_decay=0.2, **given))
    place = {id(parameter): group for group in groups for parameter in group["params"]}
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(named) == len(place)
    for name, parameter in named.items():
        role = "new" if name.startswith(NEW_PARTS) else "adapters" if "lora" in name else "base"
        assert place[id(parameter)]["role"] == role
        assert place[id(parameter)]["lr"] == (given.get("new_lr", 1e-4) if role == "new" else 1e-4)
        assert place[id(parameter)]["weight_decay"] == (0.2 if parameter.ndim > 1 else 0.0)
    order = [group["role"] for group in groups]
    assert order == sorted(order) and set(order) == {"new", "base"} | ({"adapters"} if kind == "lora" else set())


@torch.no_grad()
@pytest.mark.parametrize(
    "given",
    [
        {"patch_embedding": True, "lora_alpha": 12},
        {"trainable": "full"},
        {"lora_rank": 150, "lora_alpha": 30},  # the layers are 96 wide
    ],
)
def test_the_merged_model_holds_what_was_trained(parent, given):
    chosen = stage(**given)
    trained = trained_state(trainable(parent, chosen))
    model = copy.deepcopy(parent)
    merge(model, trained, chosen)
    merged, start = model.state_dict(), parent.state_dict()
    assert merged.keys() == start.keys()
    for name, tensor in merged.items():
        layer, expected = name.removesuffix(".weight"), trained.get(name, start[name])
        if f"{layer}.lora_A.default.weight" in trained:
            a, b = (trained[f"{layer}.lora_{side}.default.weight"] for side in "AB")
            expected = start[name] + chosen.lora_alpha / chosen.lora_rank * b @ a
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)


def test_trained_tensors_of_another_model_or_stage_are_listed(parent):
    trained = trained_state(trainable(parent, stage()))
    trained["blocks.7.attn1.to_q.lora_A.default.weight"] = trained.pop("patch_embedding_fuse.bias")
    trained["patch_embedding_ref_c.bias"] = torch.zeros(95)
    model = copy.deepcopy(parent)
    with pytest.raises(SteadyDancerError) as refused:
        merge(model, trained, stage())
    for fault in (
        "1 missing: patch_embedding_fuse.bias",
        "1 unknown: blocks.7.attn1.to_q.lora_A.default.weight",
        "1 of another shape: patch_embedding_ref_c.bias (95,) (not (96,))",
    ):
        assert fault in str(refused.value)
    assert torch.equal(model.patch_embedding_fuse.weight, parent.patch_embedding_fuse.weight)
    with pytest.raises(SteadyDancerError, match="trainable: full"):
        merge(copy.deepcopy(parent), trained, stage(trainable="full"))
    with pytest.raises(SteadyDancerError, match=r"40 of another shape: blocks\.0.*\(4, 96\) \(not \(5, 96\)"):
        merge(copy.deepcopy(parent), trained_state(trainable(parent, stage())), stage(lora_rank=5))
