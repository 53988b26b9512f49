"""DINO and CLIP: pictures, sizes, loading, and equality with the library's networks under the same weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, ViTConfig, ViTModel

from evaluation.backbones import clip, dino
from evaluation.backbones.batches import in_batches
from evaluation.backbones.checkpoints import read_tensors
from evaluation.backbones.pictures import centre_crop, no_longer_than, pixels, resized, resized_by_pillow, shorter_side
from evaluation.backbones.registry import BACKBONES
from evaluation.backbones.vision_transformer import Shape, VisionTransformer
from infra.errors import SteadyDancerError

TINY = Shape(width=24, depth=2, heads=3)
TINY_CLIP = {**clip.B32, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_CLIP |= {"projection_dim": 12}


def noise(count: int, size=(40, 72), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def test_sizes_are_torchvisions():
    assert shorter_side(576, 1024, 224) == (224, 398) and shorter_side(1024, 576, 224) == (398, 224)
    assert shorter_side(300, 300, 256) == (256, 256)
    assert no_longer_than(576, 1024, 512) == (288, 512) and no_longer_than(400, 300, 512) == (400, 300)
    assert no_longer_than(1, 5000, 512) == (1, 512)
    steps = torch.arange(398.0).expand(1, 3, 224, 398)
    assert centre_crop(steps, 224)[0, 0, 0, [0, -1]].tolist() == [87, 310]
    assert centre_crop(torch.arange(227.0).expand(1, 1, 224, 227), 224)[0, 0, 0, 0] == 2  # 1.5 rounds to even


def test_pictures_are_resized_without_antialiasing_and_not_clamped():
    edge = np.zeros((1, 64, 64, 3), np.uint8)
    edge[:, :, 32:] = 255
    enlarged = resized(pixels(edge), (128, 128), "bicubic")
    assert enlarged.min() < -5 and enlarged.max() > 260
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::4] = 255
    assert resized(pixels(stripes), (16, 16), "bilinear").unique().tolist() == [0]  # between the stripes
    by_pillow = resized_by_pillow(stripes, (16, 16))
    assert by_pillow.mean() == pytest.approx(255 / 4, abs=2)
    expected = np.asarray(Image.fromarray(stripes[0]).resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(by_pillow[0].permute(1, 2, 0).numpy(), expected)


def test_prepared_pictures_have_the_published_shapes_and_scale():
    wide = noise(1, (144, 256))
    assert dino.whole(wide).shape == (1, 3, 224, 398)
    white = np.full((1, 30, 50, 3), 255, np.uint8)
    for prepare in (dino.cropped, dino.cropped_by_pillow, clip.prepared):
        assert prepare(wide).shape == (1, 3, 224, 224)
        mean, std = (0.48145466, 0.26862954) if prepare is clip.prepared else (0.485, 0.229)
        assert prepare(white)[0, 0].numpy() == pytest.approx((1 - mean) / std, abs=1e-5)
    assert not torch.allclose(dino.cropped(wide), dino.cropped_by_pillow(wide), atol=0.05)


def test_a_wide_frame_has_24_by_14_tokens():
    network = dino.random(0, TINY)
    seen = []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    network(dino.whole(noise(1, (144, 256))))
    assert seen == [(1, 1 + 24 * 14, 24)]


def cubic(distance: np.ndarray) -> np.ndarray:
    """Cubic convolution with a = -3/4, PyTorch's."""
    d, a = np.abs(distance), -0.75
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def test_positions_are_dinos_with_the_tenth():
    network = VisionTransformer(TINY)
    values = np.random.default_rng(0).normal(size=14)
    with torch.no_grad():
        network.pos_embed[0, 1:] = torch.tensor(values).repeat(14)[:, None]
        network.pos_embed[0, 0] = 7
        table = network.positions(14, 24)[0, :, 0].numpy()
    sampled, quotient = (
        cubic(((np.arange(24) + 0.5) * 14 / count - 0.5)[:, None] - np.arange(14)) @ values for count in (24.1, 24)
    )
    middle = slice(4, -4)  # away from the edges, where values repeat
    assert table[0] == 7 and table.shape == (1 + 14 * 24,)
    assert table[1:].reshape(14, 24)[5, middle] == pytest.approx(sampled[middle], abs=1e-5)
    assert np.abs(sampled - quotient)[middle].max() > 0.05
    assert torch.equal(network.positions(14, 14), network.pos_embed)


@pytest.fixture(scope="module")
def library_vit(tmp_path_factory):
    """The library's own ViT, and a file of its tensors under the names that the hub's file has."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**sizes, layer_norm_eps=1e-6), add_pooling_layer=True).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return model, folder / "model.safetensors"


def test_the_hubs_file_gives_the_librarys_features(library_vit):
    model, path = library_vit
    network = dino.load({"dino_vitb16": path}, TINY)
    shown = dino.cropped(noise(3))
    with torch.no_grad():
        expected = model(shown).last_hidden_state[:, 0]
        assert torch.allclose(network(shown), expected, atol=1e-5)


def test_dinos_own_file_is_the_same_network(library_vit, tmp_path):
    tensors = dino.in_dino_layout(read_tensors(library_vit[1]))
    torch.save(tensors, tmp_path / "dino.pth")
    ours, theirs = (dino.load({"dino_vitb16": path}, TINY) for path in (tmp_path / "dino.pth", library_vit[1]))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("norm.bias"), r"lacks norm.bias \(24,\)"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "has more, which"),
        (lambda tensors: tensors.update(cls_token=torch.zeros(1, 1, 5)), r"has cls_token \(1, 1, 5\) instead of"),
    ],
)
def test_a_file_of_another_network_is_refused(change, says, tmp_path):
    tensors = dict(dino.random(0, TINY).state_dict())
    change(tensors)
    torch.save(tensors, tmp_path / "dino.pth")
    with pytest.raises(SteadyDancerError, match=f"is not DINO ViT-B/16: it {says}"):
        dino.load({"dino_vitb16": tmp_path / "dino.pth"}, TINY)


class Opened:
    pass


@pytest.mark.parametrize("name", ["damaged.pth", "damaged.safetensors", "damaged.npz", "missing.pth", "objects.pth"])
def test_what_holds_no_tensors_is_refused(name, tmp_path):
    path = tmp_path / name
    if name.startswith("damaged"):
        path.write_bytes(b"no weights at all")
    if name.startswith("objects"):
        torch.save({"model": Opened()}, path)
    with pytest.raises(SteadyDancerError, match="cannot be read as weights"):
        read_tensors(path)


@pytest.fixture(scope="module")
def library_clip(tmp_path_factory):
    torch.manual_seed(1)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP)).eval()
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return model, folder / "model.safetensors"


def test_clip_is_read_out_of_the_whole_models_file(library_clip, tmp_path):
    model, path = library_clip
    more = {"text_model.final_layer_norm.bias": torch.zeros(3), "logit_scale": torch.zeros(())}
    more["vision_model.embeddings.position_ids"] = torch.arange(50)[None]
    torch.save(read_tensors(path) | more, tmp_path / "clip.bin")
    network = clip.load_clip(tmp_path / "clip.bin", TINY_CLIP, "CLIP")
    shown = clip.prepared(noise(2))
    with torch.no_grad():
        assert torch.allclose(network(shown), model(shown).image_embeds, atol=1e-6)
    assert model.config.hidden_act == "quick_gelu" and network(shown).dtype == torch.float32


def test_a_file_of_another_clip_is_refused(library_clip, tmp_path):
    tensors = read_tensors(library_clip[1])
    for name, changed in (
        ("lacks", {name: value for name, value in tensors.items() if name != "visual_projection.weight"}),
        (
            r"has visual_projection.weight \(3, 3\) instead of \(12, 32\)",
            {**tensors, "visual_projection.weight": torch.zeros(3, 3)},
        ),
        ("has vision_model.more, which", {**tensors, "vision_model.more": torch.zeros(3)}),
    ):
        torch.save(changed, tmp_path / "clip.pth")
        with pytest.raises(SteadyDancerError, match=f"is not CLIP: it {name}"):
            clip.load_clip(tmp_path / "clip.pth", TINY_CLIP, "CLIP")


def test_the_aesthetic_score_is_linear_in_the_direction(library_clip, tmp_path):
    head = {"weight": torch.arange(12.0)[None], "bias": torch.tensor([0.5])}
    torch.save(head, tmp_path / "head.pth")
    files = {"clip_vitl14": library_clip[1], "laion_aesthetic_head": tmp_path / "head.pth"}
    network = clip.load_aesthetic(files, TINY_CLIP)
    embedding = torch.zeros(2, 12)
    embedding[0, 3], embedding[1, 3:5] = 8, torch.tensor([3.0, -4.0])
    assert network.rate(embedding).tolist() == pytest.approx([3.5, (9 - 16) / 5 + 0.5], abs=1e-6)
    shown = clip.prepared(noise(2))
    assert torch.allclose(network(shown), network.rate(library_clip[0](shown).image_embeds), atol=1e-5)
    torch.save({"weight": torch.zeros(1, 5), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    with pytest.raises(SteadyDancerError, match="LAION's linear head"):
        clip.load_aesthetic(files, TINY_CLIP)


@pytest.mark.parametrize(
    ("build", "prepare"),
    [
        (lambda seed: dino.random(seed, TINY), dino.whole),
        (lambda seed: clip.random_clip(seed, TINY_CLIP), clip.prepared),
        (lambda seed: clip.random_aesthetic(seed, TINY_CLIP), clip.prepared),
    ],
)
def test_batches_change_nothing_and_seeds_decide(build, prepare):
    pictures = noise(11)
    state = torch.random.get_rng_state()
    network = build(5)
    assert torch.equal(state, torch.random.get_rng_state())
    rows = in_batches(network, prepare, pictures)
    alone = np.concatenate([in_batches(network, prepare, pictures[i : i + 1]) for i in range(11)])
    assert rows.dtype == np.float32 and rows == pytest.approx(alone, abs=1e-5)
    torch.rand(3)
    assert np.array_equal(in_batches(build(5), prepare, pictures[:1]), alone[:1])
    assert not np.allclose(in_batches(build(6), prepare, pictures[:1]), alone[:1])
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


def test_backbones_tell_where_their_weights_are_from():
    for name, backbone in BACKBONES.items():
        assert backbone.name == name and backbone.id == f"{name}@{backbone.version}/{backbone.preprocessing}"
        assert backbone.weights and all(weights.licence and weights.source for weights in backbone.weights)
    assert len({backbone.id for backbone in BACKBONES.values()}) == len(BACKBONES)
