"""A stage's result in the four forms, each read back by whom it is for."""

import copy
import json
import resource

import pytest
import torch
from encoded_noise import tiny_config, write_encoded
from rich.console import Console
from safetensors.torch import load_file, save_file

from infra import commits
from infra.errors import CorruptArtifact, SteadyDancerError, UsageError
from infra.lineage import lineage
from model.checkpoint import build_model, load_model, open_model, save_model
from model.conditions import assemble
from model.lora import load_lora
from model.transformer import kept_in_fp32
from training.adapters import make_trainable, merge
from training.export import export
from training.stages import KIND, TRAINED, stage_values

FORMS = ("diffusers", "official", "lora-peft", "lora-comfyui")
RANK, WIDTH = 100, 96


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An encoded dataset, stage 1 with adapters wider than the layers, and stage 2, which trained everything."""
    root = tmp_path_factory.mktemp("work")
    encoded = write_encoded(root / "encoded", clips=1)
    model = build_model(tiny_config().model, 0)
    save_model(model, root / "base")
    first = put_stage(root / "stage1", model, [encoded], 1, "trainable=lora", f"lora_rank={RANK}", "lora_alpha=20")
    put_stage(root / "stage2", model, [encoded, first], 2, "trainable=full")
    return root


def put_stage(folder, model, parents, number, *settings) -> commits.Commit:
    """As a stage leaves it, trained by chance. Afterwards ``model``, the stage's parent, is its result."""
    config = tiny_config(*(f"train.stages.{number - 1}.{each}" for each in settings))
    stage = config.train.stages[number - 1]
    with_adapter = copy.deepcopy(model)
    make_trainable(with_adapter, stage, seed=number)
    g = torch.Generator().manual_seed(number)
    trained = {
        name: parameter.detach() + 0.02 * torch.randn(parameter.shape, generator=g)
        for name, parameter in with_adapter.named_parameters()
        if parameter.requires_grad
    }
    merge(model, trained, stage)
    with commits.write(
        folder, KIND, config=stage_values(config, number), parents=parents, meta={"stage": number}
    ) as draft:
        save_model(model, draft / "model")
        if stage.trainable == "lora":
            save_file(trained, draft / TRAINED)
    return commits.read(folder)


@torch.no_grad()
def velocity(model) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    latent, image, pose = (torch.randn(1, 16, 2, 4, 4, generator=g) for _ in range(3))
    clip, text = torch.randn(1, 257, 48, generator=g), [torch.randn(3, 32, generator=g)]
    return model(latent, torch.tensor([500.0]), assemble(image, pose, clip, clip, text))


def same(found: torch.nn.Module, expected: torch.nn.Module) -> bool:
    found, expected = found.state_dict(), expected.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("form", ["diffusers", "official"])
def test_a_whole_model_comes_back_tensor_for_tensor(work, tmp_path, form):
    made = export(work / "stage1", tmp_path / "out", form, precision="fp32")
    assert made.kind == "export" and made.meta == {"form": form, "precision": "fp32", "stage": 1}
    opened = open_model(tmp_path / "out")
    assert same(opened.model, load_model(work / "stage1" / "model")) and opened.id == made.id
    assert opened.trained == commits.read(work / "stage1").config  # which encoders it is used with
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert ("dim" in config) == (form == "official")
    names = load_file(tmp_path / "out" / "model" / "diffusion_pytorch_model.safetensors").keys()
    assert ("blocks.0.self_attn.q.weight" in names) == (form == "official")


@pytest.mark.parametrize("form", ["lora-peft", "lora-comfyui"])
def test_the_parent_with_the_lora_is_the_merged_model(work, tmp_path, form):
    export(work / "stage1", tmp_path / "out", form, precision="fp32")
    model, merged = load_model(work / "base"), load_model(work / "stage1" / "model")
    start = velocity(model)
    load_lora(model, tmp_path / "out")
    torch.testing.assert_close(velocity(model), velocity(merged), atol=1e-5, rtol=1e-5)
    assert (velocity(merged) - start).abs().max() > 1e-2
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert (RANK, WIDTH) in {tuple(tensor.shape) for tensor in load_file(file).values()}


def test_diffusers_own_class_reads_the_folder_as_a_wan_without_pose(work, tmp_path):
    from diffusers import WanTransformer3DModel

    export(work / "stage1", tmp_path / "out", "diffusers", precision="fp32")
    plain = WanTransformer3DModel.from_pretrained(tmp_path / "out" / "model").state_dict()
    merged = load_model(work / "stage1" / "model").state_dict()
    assert len(merged) - len(plain) == 42
    assert all(torch.equal(tensor, merged[name]) for name, tensor in plain.items())


@pytest.mark.parametrize("form", FORMS)
def test_bf16_leaves_what_is_to_be_fp32(work, tmp_path, form):
    made = export(work / "stage1", tmp_path / "out", form)
    assert made.meta["precision"] == "bf16"
    model = load_model(work / "base")
    stored = {
        name: tensor for file in (tmp_path / "out").rglob("*.safetensors") for name, tensor in load_file(file).items()
    }
    kinds = {tensor.dtype for tensor in stored.values()}
    assert kinds == {torch.float32, torch.bfloat16}
    for name, tensor in stored.items():
        if "condition_embedding_" in name or "norm3" in name or "modulation" in name:
            assert tensor.dtype == torch.float32, name
        if "self_attn.q.lora" in name or "to_q.lora" in name:
            assert tensor.dtype == (torch.bfloat16 if not name.endswith("alpha") else torch.float32), name
    if form.startswith("lora"):
        load_lora(model, tmp_path / "out")
    else:
        model = open_model(tmp_path / "out", dtype=torch.float32).model
    exact = load_model(work / "stage1" / "model").state_dict()
    for name, tensor in model.state_dict().items():
        if kept_in_fp32(model, name):
            assert torch.equal(tensor, exact[name]), name
        elif form in ("diffusers", "official"):
            assert torch.equal(tensor, exact[name].bfloat16().float()), name
        else:
            torch.testing.assert_close(tensor, exact[name], rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_descends_from_the_dataset(work, tmp_path, form):
    stage = "stage1" if form.startswith("lora") else "stage2"
    export(work / stage, tmp_path / "out", form)
    tree, faults = lineage(str(tmp_path / "out"))
    console = Console(width=300)
    with console.capture() as shown:
        console.print(tree)
    kinds = [line.split("✓ ")[1].split()[0] for line in shown.get().splitlines()]
    before = {"stage1": [], "stage2": ["checkpoint", "encoded"]}[stage]
    assert faults == 0 and kinds == ["export", "checkpoint", "encoded", *before]


@pytest.mark.parametrize("form", ["lora-peft", "lora-comfyui"])
def test_a_stage_that_trained_everything_is_no_lora(work, tmp_path, form):
    with pytest.raises(SteadyDancerError, match="stage2 trained the whole model.*\n.*as diffusers or official"):
        export(work / "stage2", tmp_path / "out", form)
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused(work, tmp_path):
    for given, options, error, said in (
        (("stage1", "out", "safetensors"), {}, UsageError, "no form.*\n.*diffusers, official, lora-peft, lora-comfyui"),
        (("stage1", "out", "official"), {"precision": "fp16"}, UsageError, "'fp16' is no precision"),
        (("encoded", "out", "official"), {}, SteadyDancerError, "kind 'encoded', not a stage's checkpoint"),
        (("elsewhere", "out", "official"), {}, commits.NotCommitted, "holds no committed artifact"),
    ):
        with pytest.raises(error, match=said):
            export(work / given[0], tmp_path / given[1], given[2], **options)
    for inside in ("stage1", "stage1/model", "stage1/../stage1/new"):
        with pytest.raises(UsageError, match="lies in the checkpoint itself"):
            export(work / "stage1", work / inside, "diffusers")
    assert not any(tmp_path.iterdir()) and commits.verify(work / "stage1")


def test_nothing_is_written_over(work, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in ("notes", "file"):
        with pytest.raises(SteadyDancerError, match="holds files that are no commit"):
            export(work / "stage1", tmp_path / taken, "lora-peft")
    first = export(work / "stage1", tmp_path / "out", "lora-peft")
    with pytest.raises(SteadyDancerError, match="holds a committed artifact already"):
        export(work / "stage1", tmp_path / "out", "official")
    assert commits.verify(tmp_path / "out").id == first.id
    assert (tmp_path / "notes" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_nothing(work, tmp_path, form):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SteadyDancerError, match="cannot be written.*\nMake room"):
            export(work / "stage1", tmp_path / "out", form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not any(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_named(work, tmp_path):
    source = tmp_path / "damaged"
    with commits.write(source, KIND, config=commits.read(work / "stage1").config, meta={"stage": 1}) as folder:
        (folder / TRAINED).write_bytes((work / "stage1" / TRAINED).read_bytes())
    content = bytearray((source / TRAINED).read_bytes())
    content[-1] ^= 1
    (source / TRAINED).write_bytes(content)
    with pytest.raises(CorruptArtifact, match=r"trained\.safetensors was changed"):
        export(source, tmp_path / "out", "lora-peft")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


@pytest.mark.parametrize("form", ["lora-peft", "lora-comfyui"])
def test_a_patch_embedding_that_was_trained_is_in_the_lora(work, tmp_path, form):
    model = load_model(work / "base")
    put_stage(tmp_path / "stage", model, [], 1, "trainable=lora", "lora_rank=2", "patch_embedding=true")
    export(tmp_path / "stage", tmp_path / "out", form, precision="fp32")
    found = load_model(work / "base")
    assert not torch.equal(found.patch_embedding.weight, model.patch_embedding.weight)
    load_lora(found, tmp_path / "out")
    assert torch.equal(found.patch_embedding.weight, model.patch_embedding.weight)
    torch.testing.assert_close(velocity(found), velocity(model), atol=1e-5, rtol=1e-5)


def test_a_lora_is_no_model(work, tmp_path):
    export(work / "stage1", tmp_path / "out", "lora-peft")
    with pytest.raises(SteadyDancerError, match="holds no model.*\n.*--lora"):
        open_model(tmp_path / "out")
