"""LoRA files: written in both namings, read back on the parent by us, by PEFT and by ComfyUI's rules."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra import schema
from infra.errors import SteadyDancerError
from model.checkpoint import build_model
from model.conditions import assemble
from model.lora import PEFT_CONFIG, PEFT_WEIGHTS, WrongLora, load_lora, save_lora
from model.names import to_official
from model.transformer import NEW_PARTS
from training.adapters import make_trainable, merge

STAGE = schema.Stage(
    objective="action_supervision", steps=1, lr=1e-4, trainable="lora", lora_rank=3, lora_alpha=6, text_dropout=0.0
)
LAYER = "blocks.0.attn1.to_q"
OFFICIAL = "blocks.0.self_attn.q"


@pytest.fixture(scope="module")
def parent():
    return build_model(schema.Model(), 0)


@pytest.fixture(scope="module")
def trained(parent):
    """A model with a stage's adapters, every trained tensor moved."""
    model = copy.deepcopy(parent)
    make_trainable(model, STAGE, seed=1)
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
    return model


@pytest.fixture(scope="module")
def state(trained):
    return {name: parameter.detach() for name, parameter in trained.named_parameters() if parameter.requires_grad}


@pytest.fixture(scope="module")
def merged(parent, state):
    """As a stage's commit holds it."""
    model = copy.deepcopy(parent)
    merge(model, state, STAGE)
    return model.state_dict()


def on_parent(parent, path, scale=1.0):
    model = copy.deepcopy(parent)
    load_lora(model, path, scale)
    return model.state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5, msg=lambda told, name=name: name + told)


def lora_file(tmp_path, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize(("naming", "name"), [("peft", "lora"), ("comfyui", "lora.safetensors")])
def test_the_parent_with_the_file_is_the_merged_model(parent, trained, state, merged, tmp_path, naming, name):
    assert_same(on_parent(parent, save_lora(trained, tmp_path / name, naming=naming)), merged)
    again = save_lora(state, tmp_path / "again" / name, naming=naming, alpha=STAGE.lora_alpha)
    assert_same(on_parent(parent, again), merged)
    assert not any(
        torch.equal(merged[part], tensor) for part, tensor in parent.state_dict().items() if "to_q.w" in part
    )


def test_half_the_scale_is_half_the_way(parent, trained, merged, tmp_path):
    start = parent.state_dict()
    half = on_parent(parent, save_lora(trained, tmp_path / "lora"), 0.5)
    assert_same(half, {name: (start[name] + merged[name]) / 2 for name in start})


def test_half_precision_is_merged_in_full(parent, trained, merged, tmp_path):
    path = save_lora(trained, tmp_path / "lora")
    model = copy.deepcopy(parent).to(torch.bfloat16)
    exact = {name: tensor.float() for name, tensor in model.state_dict().items()}
    load_lora(model, path)
    change = merged[f"{LAYER}.weight"] - parent.state_dict()[f"{LAYER}.weight"]
    expected = (exact[f"{LAYER}.weight"] + change).bfloat16()
    assert (model.state_dict()[f"{LAYER}.weight"] != expected).float().mean() < 0.001  # the last bit of a sum


@torch.no_grad()
def test_peft_reads_the_folder(parent, trained, merged, tmp_path):
    from peft import PeftModel

    g = torch.Generator().manual_seed(0)
    latent, image, pose = (torch.randn(1, 16, 2, 4, 4, generator=g) for _ in range(3))
    clip, text = torch.randn(1, 257, 48, generator=g), [torch.randn(3, 32, generator=g)]
    given = latent, torch.tensor([500.0]), assemble(image, pose, clip, clip, text)
    expected = copy.deepcopy(parent)
    expected.load_state_dict(merged)
    folder = save_lora(trained, tmp_path / "lora")
    targets = json.loads((folder / PEFT_CONFIG).read_text())["target_modules"]
    assert targets == sorted(targets)
    model = PeftModel.from_pretrained(copy.deepcopy(parent), str(folder)).eval()
    torch.testing.assert_close(model(*given), expected(*given), atol=1e-5, rtol=1e-5)
    with model.disable_adapter():  # the trained parts are beside the parent's, not in their place
        torch.testing.assert_close(model(*given), parent(*given))
    assert (model(*given) - parent(*given)).abs().max() > 1e-3


def test_comfyui_reads_the_file(parent, trained, merged, tmp_path):
    """By its rules: a weight goes by its module's name, all else by its own; up x down times alpha / rank."""
    file = load_file(save_lora(trained, tmp_path / "lora.safetensors", naming="comfyui"))
    patched = {}
    for name, tensor in parent.state_dict().items():
        key = f"diffusion_model.{to_official(name)}".removesuffix(".weight")
        if f"{key}.set_weight" in file:
            tensor = file.pop(f"{key}.set_weight")
        elif f"{key}.lora_up.weight" in file:
            up, down, alpha = (file.pop(f"{key}.{part}") for part in ("lora_up.weight", "lora_down.weight", "alpha"))
            tensor = tensor + up @ down * alpha.item() / len(down)
        patched[name] = tensor
    assert not file
    assert_same(patched, merged)


@pytest.mark.parametrize(
    "names",
    [
        (f"{OFFICIAL}.lora_A.weight", f"{OFFICIAL}.lora_B.weight"),
        (f"transformer.{LAYER}.lora_A.weight", f"transformer.{LAYER}.lora_B.weight"),
        (f"diffusion_model.{OFFICIAL}.lora_down.weight", f"diffusion_model.{OFFICIAL}.lora_up.weight"),
        ("lora_unet_blocks_0_self_attn_q.lora_down.weight", "lora_unet_blocks_0_self_attn_q.lora_up.weight"),
        (f"base_model.model.{LAYER}.lora_A.default.weight", f"base_model.model.{LAYER}.lora_B.default.weight"),
    ],
)
def test_other_peoples_files(parent, tmp_path, names):
    a, b = torch.randn(2, 96), torch.randn(96, 2)
    path = lora_file(tmp_path, dict(zip(names, (a, b), strict=True)))
    found, expected = on_parent(parent, path), parent.state_dict()
    assert_same(found, expected | {f"{LAYER}.weight": expected[f"{LAYER}.weight"] + b @ a})


def test_differences_and_convolutions(parent, tmp_path):
    start = parent.state_dict()
    a, b = torch.randn(2, 36, 1, 2, 2), torch.randn(96, 2, 1, 1, 1)
    bias, table = torch.randn(96), torch.randn(start["blocks.1.scale_shift_table"].shape)
    tensors = {"patch_embedding.lora_down.weight": a, "patch_embedding.lora_up.weight": b}
    tensors |= {"patch_embedding.alpha": torch.tensor(1), f"{OFFICIAL}.diff_b": bias, "blocks.1.modulation.diff": table}
    path = lora_file(tmp_path, {f"diffusion_model.{name}": tensor for name, tensor in tensors.items()})
    kernel = torch.einsum("or,rithw->oithw", b[:, :, 0, 0, 0], a) / 2
    changed = {"patch_embedding.weight": kernel, f"{LAYER}.bias": bias, "blocks.1.scale_shift_table": table}
    assert_same(on_parent(parent, path), start | {name: start[name] + change for name, change in changed.items()})


def test_every_fault_is_listed_and_nothing_is_merged(parent, tmp_path):
    good = {f"{OFFICIAL}.lora_A.weight": torch.ones(2, 96), f"{OFFICIAL}.lora_B.weight": torch.ones(96, 2)}
    bad = {
        "blocks.9.self_attn.q.lora_A.weight": torch.ones(2, 96),
        "blocks.0.self_attn.k.lora_A.weight": torch.ones(2, 96),
        "blocks.0.self_attn.v.lora_A.weight": torch.ones(2, 95),
        "blocks.0.self_attn.v.lora_B.weight": torch.ones(96, 2),
        "blocks.1.self_attn.v.lora_A.weight": torch.ones(0, 96),
        "blocks.1.self_attn.v.lora_B.weight": torch.ones(0, 0),
        "blocks.0.self_attn.o.diff": torch.full((96, 96), torch.nan),
        "head.head.diff": torch.ones(3),
        f"transformer.{LAYER}.lora_A.weight": torch.ones(2, 96),
        "blocks.0.self_attn.q.dora_scale": torch.ones(96),
    }
    model = copy.deepcopy(parent)
    with pytest.raises(WrongLora) as error:
        load_lora(model, lora_file(tmp_path, good | bad))
    for fault in (
        "in 8 points",
        "blocks.9.self_attn.q.lora_A.weight: unknown",
        "blocks.0.attn1.to_k.weight: A without the rest of the adapter",
        "blocks.0.attn1.to_v.weight: A (2, 95) and B (96, 2) do not make (96, 96)",
        "blocks.1.attn1.to_v.weight: A (0, 96) and B (0, 0) do not make (96, 96)",
        "blocks.0.self_attn.o.diff: not finite numbers",
        "proj_out.weight: difference (3,) is not (64, 96)",
        "blocks.0.attn1.to_q.weight has its A already",
        "blocks.0.self_attn.q.dora_scale: unknown",
    ):
        assert fault in str(error.value)
    assert_same(model.state_dict(), parent.state_dict())


def test_what_is_no_lora_is_refused(parent, state, tmp_path):
    values = {name: tensor for name, tensor in state.items() if name.startswith(NEW_PARTS)}
    with pytest.raises(WrongLora, match="as a checkpoint does"):
        load_lora(parent, lora_file(tmp_path, values))
    (tmp_path / "lora.safetensors").write_bytes(b"no")
    with pytest.raises(WrongLora, match="cut short"):
        load_lora(parent, tmp_path)
    with pytest.raises(WrongLora, match="holds 0 safetensors"):
        load_lora(parent, tmp_path / "elsewhere")
    with pytest.raises(SteadyDancerError, match="scale of nan"):
        load_lora(parent, tmp_path, float("nan"))
    for given, told in (
        (parent, "no adapter"),
        (state | {"proj_out.weight": torch.ones(1)}, r"proj_out\.weight: neither"),
        ({name: tensor for name, tensor in state.items() if ".lora_B" not in name}, "half of an adapter"),
        (state, "alpha of the adapters is not known"),
    ):
        with pytest.raises(SteadyDancerError, match=told):
            save_lora(given, tmp_path / "made")
    with pytest.raises(SteadyDancerError, match="End the name"):
        save_lora(state, tmp_path / "made", naming="comfyui", alpha=1)


def test_the_peft_config_gives_the_alpha(parent, trained, merged, tmp_path):
    """Beside the weights or, as diffusers writes it, in them."""
    trained.save_lora_adapter(tmp_path / "diffusers", adapter_name="default")
    found = on_parent(parent, tmp_path / "diffusers")
    assert_same({n: t for n, t in found.items() if ".to_" in n}, {n: t for n, t in merged.items() if ".to_" in n})
    folder = save_lora(trained, tmp_path / "peft")
    alone = lora_file(tmp_path, load_file(folder / PEFT_WEIGHTS))
    weak = on_parent(parent, alone)[f"{LAYER}.weight"] - parent.state_dict()[f"{LAYER}.weight"]
    strong = merged[f"{LAYER}.weight"] - parent.state_dict()[f"{LAYER}.weight"]
    torch.testing.assert_close(2 * weak, strong, atol=1e-5, rtol=1e-5)
