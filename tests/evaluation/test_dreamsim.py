"""DreamSim: its members against the library's CLIP, its embeddings, and the merging of its release."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from evaluation.backbones.dreamsim import DREAMSIM, SHAPES, convert, load, random, squashed, squashed_by_pillow
from evaluation.backbones.vision_transformer import VisionTransformer
from infra.errors import SteadyDancerError

TINY = {
    name: replace(shape, width=16, depth=2, heads=2, projection=shape.projection and 6)
    for name, shape in SHAPES.items()
}


def noise(count: int, size=(50, 80), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


@pytest.mark.parametrize(("member", "activation"), [("clip", "quick_gelu"), ("open_clip", "gelu")])
def test_members_are_the_librarys_clip(member, activation):
    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"patch_size": 16, "projection_dim": 6, "hidden_act": activation, "layer_norm_eps": 1e-5}
    torch.manual_seed(0)
    theirs = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)).eval()
    ours = VisionTransformer(TINY[member]).eval()
    ours.load_state_dict(as_vit(theirs))
    shown = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours(shown), theirs(shown).image_embeds, atol=1e-5)


def as_vit(clip: CLIPVisionModelWithProjection) -> dict[str, torch.Tensor]:
    tower = clip.vision_model
    tensors = {
        "cls_token": tower.embeddings.class_embedding.view(1, 1, -1),
        "pos_embed": tower.embeddings.position_embedding.weight[None],
        "patch_embed.proj.weight": tower.embeddings.patch_embedding.weight,
        "patch_embed.proj.bias": torch.zeros(16),
        "proj": clip.visual_projection.weight.T,
    }
    modules = {"pos_drop": tower.pre_layrnorm, "norm": tower.post_layernorm}
    for number, layer in enumerate(tower.encoder.layers):
        where, attention = f"blocks.{number}", layer.self_attn
        modules |= {f"{where}.norm1": layer.layer_norm1, f"{where}.norm2": layer.layer_norm2}
        modules |= {f"{where}.mlp.fc1": layer.mlp.fc1, f"{where}.mlp.fc2": layer.mlp.fc2}
        modules[f"{where}.attn.proj"] = attention.out_proj
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        tensors[f"{where}.attn.qkv.weight"] = torch.cat([part.weight for part in parts])
        tensors[f"{where}.attn.qkv.bias"] = torch.cat([part.bias for part in parts])
    for name, module in modules.items():
        tensors |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    return tensors


def test_embeddings_are_joined_centred_and_of_length_one():
    network = random(0, TINY)
    rows = DREAMSIM.embed(network, noise(3), None)
    assert rows.shape == (3, 16 + 6 + 6)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6) and rows.mean(1) == pytest.approx(0, abs=1e-6)
    shown = squashed(noise(3))
    with torch.no_grad():
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        first = network.members["dino"]((shown - mean) / std)
        mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(1, 3, 1, 1)
        std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(1, 3, 1, 1)
        others = [network.members[name]((shown - mean) / std) for name in ("clip", "open_clip")]
    joined = F.normalize(torch.cat([first, *others], 1), dim=1)
    expected = F.cosine_similarity(*(joined - joined.mean(1, keepdim=True))[:2], dim=0)
    assert rows[0] @ rows[1] == pytest.approx(expected.item(), abs=1e-5)
    assert rows[0] @ rows[0] == pytest.approx(1, abs=1e-6)


def test_dinos_member_gives_what_is_before_the_final_norm():
    network = random(0, TINY).members["dino"]
    shown = torch.randn(1, 3, 224, 224)
    before = network(shown)
    network.norm.weight.mul_(5)
    assert torch.equal(network(shown), before)


def test_pictures_are_squashed():
    for prepare in (squashed, squashed_by_pillow):
        shown = prepare(noise(2, (60, 200)))
        assert shown.shape == (2, 3, 224, 224) and 0.4 < shown.mean() < 0.6


def test_batches_change_nothing():
    network, pictures = random(1, TINY), noise(10)
    alone = np.concatenate([DREAMSIM.embed(network, pictures[i : i + 1], None) for i in range(10)])
    assert DREAMSIM.embed(network, pictures, None) == pytest.approx(alone, abs=1e-5)


@pytest.fixture
def release(tmp_path):
    """A release's folder and DINO's file, of which the members' first blocks are updated with rank 2."""
    generator = torch.Generator().manual_seed(0)
    for name, member in random(3, TINY).members.items():
        if name == "dino":
            torch.save(member.state_dict(), tmp_path / "dino.pth")
        else:
            torch.save({"state_dict": member.state_dict()}, tmp_path / f"{name}_vitb16_pretrain.pth.tar")
        folder = tmp_path / f"{name}_vitb16_lora"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 0.5, "target_modules": ["qkv"]}))
        where = "base_model.model.model.blocks.0.attn.qkv.lora_"
        factors = {f"{where}A.weight": torch.randn(2, 16, generator=generator)}
        factors[f"{where}B.weight"] = torch.randn(48, 2, generator=generator)
        torch.save(factors, folder / "adapter_model.bin")
    return tmp_path


def test_a_release_is_merged_into_one_file(release):
    convert(release, release / "dino.pth", release / "merged.safetensors", TINY)
    merged, before = load_file(release / "merged.safetensors"), random(3, TINY).state_dict()
    for name in TINY:
        factors = torch.load(release / f"{name}_vitb16_lora" / "adapter_model.bin", weights_only=True)
        down, up = factors.values()
        changed = f"members.{name}.blocks.0.attn.qkv.weight"
        assert torch.allclose(merged[changed], before[changed] + 0.25 * up @ down, atol=1e-5)
        assert torch.equal(merged[f"members.{name}.blocks.1.attn.qkv.weight"], before[changed.replace(".0.", ".1.")])
    network = load({"dreamsim": release / "merged.safetensors"}, TINY)
    assert all(torch.equal(value, merged[name]) for name, value in network.state_dict().items())


def test_a_release_that_is_not_whole_is_refused(release):
    def made():
        convert(release, release / "dino.pth", release / "merged.safetensors", TINY)

    torch.save({"base_model.blocks.0.mlp.fc1.lora_A.weight": torch.zeros(2, 16)}, release / "f")
    kept = (release / "clip_vitb16_lora" / "adapter_model.bin").rename(release / "kept")
    (release / "f").rename(release / "clip_vitb16_lora" / "adapter_model.bin")
    with pytest.raises(SteadyDancerError, match="only blocks.N.attn.qkv"):
        made()
    kept.rename(release / "clip_vitb16_lora" / "adapter_model.bin")
    (release / "open_clip_vitb16_lora" / "adapter_config.json").write_text("{}")
    with pytest.raises(SteadyDancerError, match="open_clip_vitb16_lora is no low-rank update"):
        made()
    assert not (release / "merged.safetensors").exists()
    with pytest.raises(SteadyDancerError, match="merged DreamSim ensemble"):
        load({"dreamsim": release / "dino.pth"}, TINY)
