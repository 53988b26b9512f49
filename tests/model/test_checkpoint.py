import json

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from infra import commits, schema
from infra.errors import CorruptArtifact, SteadyDancerError
from model.checkpoint import build_base, build_model, cast, load_base, load_model, model_sha, open_model, save_model
from model.initialise import new_parts
from model.official import from_official, official_config, save_official
from model.shards import INDEX, WrongCheckpoint
from model.transformer import NEW_PARTS, model_config
from model.weights import WeightsNotFound

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


def test_what_published_folders_hold_beside_the_model_is_left_out(model, folder, tmp_path):
    """diffusers' Wan 2.1 I2V folders have a norm in every block that nothing reads."""
    base = save_model(build_base(schema.Model(), 0), tmp_path / "base")
    for each in (base, folder):
        edit(
            each, lambda state: state.update({f"blocks.{n}.attn2.norm_added_q.weight": torch.ones(96) for n in (0, 1)})
        )
    assert model_sha(load_model(folder)) == model_sha(model)
    assert model_sha(load_base(base)) == model_sha(build_base(schema.Model(), 0))
    build_model(schema.Model(base=str(base)), 0)


@pytest.fixture(scope="module")
def official(model, tmp_path_factory):
    """Official names and config in three shards and an index, every tensor of random bits: NaN, infinite, tiny."""
    folder = save_official(model, tmp_path_factory.mktemp("official"), max_shard=1_000_000)
    g = torch.Generator().manual_seed(0)
    for path in folder.glob("*.safetensors"):
        state = load_file(path)
        save_file({name: random_bits(tensor.shape, g) for name, tensor in state.items()}, path)
    return folder


def random_bits(shape, generator):
    return torch.randint(-(2**31), 2**31 - 1, shape, generator=generator, dtype=torch.int32).view(torch.float32)


def read(folder):
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def test_official_to_ours_to_official_is_the_identity(official, tmp_path):
    ours = save_model(load_model(official), tmp_path / "ours")
    back = save_official(load_model(ours), tmp_path / "back", max_shard=1_000_000)
    before, after = read(official), read(back)
    assert before.keys() == after.keys() != read(ours).keys()
    assert {"head.head.weight", "patch_embedding_fuse.weight"} <= before.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor.view(torch.int32), after[name].view(torch.int32)), name
    names = {path.name for path in official.iterdir()}
    assert {f"diffusion_pytorch_model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)} <= names
    assert {path.name for path in back.iterdir()} == names
    assert (back / "config.json").read_text() == (official / "config.json").read_text()


def test_the_official_config_round_trips():
    for config in (model_config("wan-14b"), model_config("tiny") | {"eps": 1e-5}):
        assert from_official(official_config(config)) == config


def test_shards_need_no_index(model, tmp_path):
    folder = save_official(model, tmp_path / "official", max_shard=1_000_000)
    (folder / INDEX).unlink()
    assert model_sha(load_model(folder)) == model_sha(model)


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
    with pytest.raises(WrongCheckpoint, match=r"(?s)42 missing: .*base Wan 2\.1 I2V.*model\.base") as error:
        load_model(base)
    for name in new_parts(model_config("tiny"), 0)["condition_embedding_align"].state_dict():
        assert f"condition_embedding_align.{name}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"in_channels": 16, "image_dim": None, "added_kv_proj_dim": None}, "a Wan text-to-video model"),
        ({"in_channels": 48, "image_dim": None, "added_kv_proj_dim": None}, r"Wan 2\.2 5B, with 48 latent channels"),
        ({"image_dim": None, "added_kv_proj_dim": None}, r"Wan 2\.2 I2V, which has no image embedder"),
        ({"in_channels": 52}, "a Wan transformer with 52 input channels"),
    ],
)
def test_other_wan_models_are_called_what_they_are(tmp_path, change, told):
    folder = save_model(WanTransformer3DModel(**model_config("tiny") | change), tmp_path / "other")
    with pytest.raises(WrongCheckpoint, match=f"tensors of SteadyDancer. It is {told}"):
        load_model(folder)
    with pytest.raises(WrongCheckpoint, match=rf"tensors of Wan 2\.1 I2V\. It is {told}"):
        build_model(schema.Model(base=str(folder)), 0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.gguf", "only GGUF weights"),
        ("diffusion_pytorch_model.bin", "only pickled weights"),
        ("steadydancer.pth", "only pickled weights"),
    ],
)
def test_only_safetensors_are_read(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"x")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(WrongCheckpoint, match=f"{told}(?s:.*)Only safetensors are read"):
            open_model(source)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("blocks.0.attn1.to_q.scale_weight", torch.ones(1)),
        ("scaled_fp8", torch.ones(1)),
        ("proj_out.bias", torch.ones(64, dtype=torch.uint8)),
    ],
)
def test_quantised_weights_are_refused(folder, name, tensor):
    edit(folder, lambda state: state.update({name: tensor}))
    with pytest.raises(WrongCheckpoint, match=f"quantised weights: 1 scales or integers, such as {name}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda names: names | {"x": "../outside.safetensors"}, "no safetensors file of its own folder"),
        (lambda names: names | {"x": "/etc/passwd"}, "no safetensors file of its own folder"),
        (lambda names: names | {"x": "gone.safetensors"}, "shards that are missing: gone.safetensors"),
        (lambda names: dict.fromkeys(names, 3), "no index of shards"),
        (lambda names: [], "no index of shards"),
    ],
)
def test_a_wrong_index_is_told(model, tmp_path, change, told):
    folder = save_official(model, tmp_path / "official", max_shard=1_000_000)
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index | {"weight_map": change(index["weight_map"])}))
    with pytest.raises(WrongCheckpoint, match=told):
        load_model(folder)


def test_a_tensor_in_two_shards_is_told(folder):
    save_file({"head.head.bias": torch.zeros(64)}, folder / "more.safetensors")
    with pytest.raises(WrongCheckpoint, match=r"1 tensors are stored twice: head\.head\.bias in .* and more"):
        load_model(folder)


@pytest.mark.parametrize("config", ["[]", "{", '{"dim": 96}', '{"dim": 96, "num_heads": 0}', '{"num_layers": "two"}'])
def test_a_wrong_config_is_told(folder, config):
    (folder / "config.json").write_text(config)
    with pytest.raises(WrongCheckpoint, match=r"config\.json"):
        load_model(folder)


def test_a_single_file(model, folder, tmp_path):
    assert model_sha(open_model(folder / WEIGHTS).model) == model_sha(model)
    (tmp_path / "alone").mkdir()
    (folder / WEIGHTS).rename(tmp_path / "alone" / "any.safetensors")
    with pytest.raises(WrongCheckpoint, match="Without a config.json beside it a file is taken for a wan-14b"):
        open_model(tmp_path / "alone" / "any.safetensors")


def test_open_model_says_what_it_opened(model, folder, tmp_path):
    (tmp_path / "pipeline").mkdir()
    plain, sub = open_model(folder), folder.rename(tmp_path / "pipeline" / "transformer")
    nested = open_model(str(sub.parent), dtype=torch.bfloat16)
    assert plain.id == nested.id and plain.id.startswith("sha256:") and plain.trained is None
    assert nested.model.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    edit(sub, lambda state: state["proj_out.bias"].add_(1))
    assert open_model(sub).id != plain.id
    with commits.write(tmp_path / "stage", "checkpoint", config={"model": {"size": "tiny"}}) as draft:
        save_model(model, draft / "model")
    ours = open_model(tmp_path / "stage")
    assert (ours.id, ours.trained) == (commits.read(tmp_path / "stage").id, {"model": {"size": "tiny"}})
    assert model_sha(ours.model) == model_sha(model)


def test_open_model_refuses(folder, tmp_path):
    with commits.write(tmp_path / "dataset", "dataset") as draft:
        (draft / "x").write_text("")
    with pytest.raises(SteadyDancerError, match="is a dataset, not a checkpoint"):
        open_model(tmp_path / "dataset")
    with commits.write(tmp_path / "stage", "checkpoint") as draft:
        folder.rename(draft / "model")
    with (tmp_path / "stage" / "model" / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(CorruptArtifact, match=WEIGHTS):
        open_model(tmp_path / "stage")
    with pytest.raises(WeightsNotFound, match="does not exist"):
        open_model(tmp_path / "nowhere")
    (tmp_path / "stage").rename(tmp_path / "stage2")
    with pytest.raises(WrongCheckpoint, match="is a work folder.*\n.*stage2"):
        open_model(tmp_path)


def test_a_file_in_the_way_is_told(model, tmp_path):
    (tmp_path / "taken").write_text("")
    for save in (save_model, save_official):
        with pytest.raises(SteadyDancerError, match="cannot be a folder"):
            save(model, tmp_path / "taken")


def test_training_starts_from_a_base_or_a_steadydancer(model, folder, tmp_path, caplog):
    caplog.set_level("INFO", "model.checkpoint")
    base = save_model(build_base(schema.Model(), 0), tmp_path / "base")
    started = build_model(schema.Model(base=str(base)), 5).state_dict()
    assert f"initialised from the base: {', '.join(NEW_PARTS)}" in caplog.text
    for name, tensor in model.state_dict().items():
        if not name.startswith(NEW_PARTS) or name.startswith("patch_embedding"):
            assert torch.equal(started[name], tensor), name
    assert model_sha(build_model(schema.Model(base=str(folder)), 5)) == model_sha(model)
    with pytest.raises(SteadyDancerError, match=r"not of model\.size=small"):
        build_model(schema.Model(size="small", base=str(base)), 0)


@pytest.mark.parametrize("stored", [False, True])
def test_a_base_is_read_in_its_precision_onto_its_device(tmp_path, stored):
    base = build_base(schema.Model(), 0)
    settings = schema.Model(base=str(save_model(base, tmp_path / "base"))) if stored else schema.Model()
    got = build_base(settings, 0, torch.bfloat16)
    assert {tensor.dtype for tensor in got.parameters()} == {torch.bfloat16, torch.float32}
    assert model_sha(got) == model_sha(cast(base, torch.bfloat16))
    assert not any(tensor.requires_grad for tensor in got.parameters())
    there = build_base(settings, 0, torch.bfloat16, "meta")
    assert {tensor.device.type for tensor in (*there.parameters(), *there.buffers())} == {"meta"}


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
