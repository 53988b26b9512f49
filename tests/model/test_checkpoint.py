import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra import schema
from infra.errors import SteadyDancerError
from model.checkpoint import WrongCheckpoint, build_base, build_model, load_model, model_sha, save_model
from model.names import to_official
from model.transformer import NEW_PARTS

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model():
    return build_model(schema.Model(), 0)


@pytest.fixture
def folder(model, tmp_path):
    return save_model(model, tmp_path / "model")


def edit(folder, change):
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)


def test_round_trip_and_seed(model, folder):
    assert model_sha(load_model(folder)) == model_sha(model) == model_sha(build_model(schema.Model(), 0))
    assert model_sha(model) != model_sha(build_model(schema.Model(), 1))


def test_the_official_layout_loads(model, folder, tmp_path):
    """Official names, official config, two shards."""
    state = {to_official(k): v for k, v in load_file(folder / WEIGHTS).items()}
    official = tmp_path / "official"
    official.mkdir()
    names = sorted(state)
    for n, part in enumerate((names[::2], names[1::2])):
        save_file({k: state[k] for k in part}, official / f"diffusion_pytorch_model-0000{n + 1}-of-00002.safetensors")
    c = model.config
    config = {"num_heads": c.num_attention_heads, "dim": c.num_attention_heads * c.attention_head_dim}
    config |= {"ffn_dim": c.ffn_dim, "freq_dim": c.freq_dim, "num_layers": c.num_layers, "text_dim": c.text_dim}
    (official / "config.json").write_text(json.dumps(config | {"image_dim": c.image_dim}))
    assert model_sha(load_model(official)) == model_sha(model)


def test_cast_on_loading_keeps_small_parts_exact(model, folder):
    half = load_model(folder, torch.bfloat16)
    assert half.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    for exact in ("condition_embedding_align.norm1.weight", "blocks.0.scale_shift_table"):
        assert torch.equal(half.state_dict()[exact], model.state_dict()[exact])
    assert torch.equal(half.rope.freqs_cos, model.rope.freqs_cos)


def test_every_difference_is_listed(folder):
    def damage(state):
        del state["proj_out.bias"]
        state["stranger"] = torch.zeros(1)
        state["patch_embedding_fuse.weight"] = torch.zeros(4, 68, 1, 2, 2)

    edit(folder, damage)
    with pytest.raises(WrongCheckpoint) as error:
        load_model(folder)
    for part in ("1 missing: proj_out.bias", "1 extra: stranger", "1 of another shape: patch_embedding_fuse.weight"):
        assert part in str(error.value)


def test_a_base_checkpoint_is_called_one(tmp_path):
    base = save_model(build_base(schema.Model(), 0), tmp_path / "base")
    with pytest.raises(WrongCheckpoint, match=r"base Wan 2\.1 I2V.*model\.base"):
        load_model(base)


def test_training_starts_from_a_base_or_a_steadydancer(model, folder, tmp_path):
    base = save_model(build_base(schema.Model(), 0), tmp_path / "base")
    started = build_model(schema.Model(base=str(base)), 5).state_dict()
    for name, tensor in model.state_dict().items():
        if not name.startswith(NEW_PARTS) or name.startswith("patch_embedding"):
            assert torch.equal(started[name], tensor), name
    assert model_sha(build_model(schema.Model(base=str(folder)), 5)) == model_sha(model)
    with pytest.raises(SteadyDancerError, match=r"not of model\.size=small"):
        build_model(schema.Model(size="small", base=str(base)), 0)


@pytest.mark.parametrize("damage", ["gone", "torn", "no config", "no weights"])
def test_damaged_folders_are_named(folder, damage):
    if damage == "gone":
        folder = folder / "elsewhere"
    elif damage == "torn":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    elif damage == "no config":
        (folder / "config.json").unlink()
    else:
        (folder / WEIGHTS).unlink()
    with pytest.raises(WrongCheckpoint, match=str(folder)):
        load_model(folder)
