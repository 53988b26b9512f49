"""MUSIQ: patches, places, sizes, and the release's arrays in our order of axes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evaluation.backbones.musiq import (
    MUSIQ_SPAQ,
    Musiq,
    Shape,
    copies,
    hashed_places,
    in_our_layout,
    load,
    patches_of,
    prepared,
    random,
)
from infra.errors import SteadyDancerError

TINY = Shape(width=12, depth=2, heads=3, hidden=20)


def noise(count: int, size=(12, 400), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def test_places_are_hashed_by_nearest_neighbour():
    assert hashed_places(10, 10).tolist() == list(range(100))
    assert hashed_places(1, 5).tolist() == [0, 2, 4, 6, 8]
    assert hashed_places(2, 1).tolist() == [0, 50]
    assert hashed_places(1, 20).tolist() == [i // 2 for i in range(20)]


def test_patches_go_row_by_row_and_edges_are_filled_on_both_sides():
    picture = torch.arange(1.0, 64 * 96 + 1).view(1, 1, 64, 96).expand(2, 3, -1, -1)
    patches, rows, columns = patches_of(picture)
    assert (rows, columns) == (2, 3) and patches.shape == (12, 3, 32, 32)
    assert torch.equal(patches[4], picture[0, :, 32:, 32:64]) and torch.equal(patches[6], picture[1, :, :32, :32])
    patches, rows, columns = patches_of(torch.ones(1, 3, 33, 31))
    assert (rows, columns) == (2, 1)
    assert patches[0, 0, :, 0].tolist() == [0] * 15 + [1] * 17  # 31 rows too few: 15 above, 16 below
    assert patches[1, 0, :, 0].tolist() == [1] * 16 + [0] * 16
    assert patches[0, 0, 20].tolist() == [1] * 31 + [0]  # one column too few: to the right


def test_a_picture_is_seen_at_three_sizes():
    shown = prepared(noise(1, (576, 1024)))
    assert shown.shape == (1, 3, 288, 512) and -1 <= shown.min() < -0.8 and 0.8 < shown.max() <= 1
    assert [tuple(copy.shape[2:]) for copy in copies(shown)] == [(126, 224), (216, 384), (288, 512)]
    seen = []
    network = random(0, TINY)
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    network(shown)
    assert seen == [1 + 4 * 7 + 7 * 12 + 9 * 16]


def test_sizes_and_places_are_embedded():
    network = random(0, TINY)
    flat = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        native, smaller = network.tokens(flat, 2), network.tokens(flat, 0)
    assert torch.allclose(native - smaller, (network.scales[:, 2] - network.scales[:, 0]).expand(1, 4, -1), atol=1e-6)
    step = network.positions[0, 55] - network.positions[0, 0]
    assert torch.allclose(native[0, 3] - native[0, 0], step, atol=1e-6)


def test_convolutions_do_not_see_the_scale_and_mean_of_their_weights():
    network = random(1, TINY)
    before = network(prepared(noise(1)))
    with torch.no_grad():
        for module in (network.conv_root, network.unit.conv2):
            module.weight.mul_(50).add_(3)
    assert torch.allclose(network(prepared(noise(1))), before, atol=1e-3)


def as_released(network: Musiq, heads: int) -> dict[str, np.ndarray]:
    """The arrays of a network as the release's npz has them, axis by axis."""

    def kernel(linear):
        return linear.weight.T

    found = {"embedding/kernel": kernel(network.embedding), "embedding/bias": network.embedding.bias}
    found |= {"head/kernel": kernel(network.head), "head/bias": network.head.bias}
    names = {"conv_root": network.conv_root, "gn_root": network.gn_root}
    names |= {f"block1/unit1/{name}": module for name, module in network.unit.named_children()}
    for name, module in names.items():
        if module.weight.ndim == 4:
            found[f"{name}/kernel"] = module.weight.permute(2, 3, 1, 0)
        else:
            found |= {f"{name}/scale": module.weight.view(1, 1, 1, -1), f"{name}/bias": module.bias.view(1, 1, 1, -1)}
    for number, block in enumerate(network.blocks):
        where = f"Transformer/encoderblock_{number}"
        for name, norm in (("LayerNorm_0", block.norm1), ("LayerNorm_2", block.norm2)):
            found |= {f"{where}/{name}/scale": norm.weight, f"{where}/{name}/bias": norm.bias}
        attention = f"{where}/MultiHeadDotProductAttention_1"
        for name, part in (("query", block.query), ("key", block.key), ("value", block.value)):
            found[f"{attention}/{name}/kernel"] = kernel(part).unflatten(1, (heads, -1))
            found[f"{attention}/{name}/bias"] = part.bias.unflatten(0, (heads, -1))
        found[f"{attention}/out/kernel"] = kernel(block.out).unflatten(0, (heads, -1))
        found[f"{attention}/out/bias"] = block.out.bias
        for name, part in (("Dense_0", block.fc1), ("Dense_1", block.fc2)):
            found |= {f"{where}/MlpBlock_3/{name}/kernel": kernel(part), f"{where}/MlpBlock_3/{name}/bias": part.bias}
    found |= {"Transformer/encoder_norm/scale": network.norm.weight, "Transformer/encoder_norm/bias": network.norm.bias}
    found |= {"Transformer/posembed_input/pos_embedding": network.positions, "Transformer/cls": network.cls}
    found["Transformer/scaleembed_input/scale_embedding"] = network.scales
    return {f"opt/target/{name}": value.numpy() for name, value in found.items()}


def test_the_releases_file_is_read(tmp_path):
    network = random(2, TINY)
    released = as_released(network, TINY.heads)
    np.savez(tmp_path / "spaq.npz", **released, **{"opt/state/step": np.float32(3)})
    read = load({"musiq_spaq": tmp_path / "spaq.npz"}, TINY)
    shown = prepared(noise(2))
    assert torch.equal(read(shown), network(shown))
    del released["opt/target/head/bias"]
    np.savez(tmp_path / "spaq.npz", **released)
    with pytest.raises(SteadyDancerError, match=r"lacks head.bias \(1,\)"):
        load({"musiq_spaq": tmp_path / "spaq.npz"}, TINY)


def test_axes_mean_what_flax_means_by_them():
    generator = torch.Generator().manual_seed(0)
    x, heads = torch.randn(6, generator=generator), torch.randn(2, 3, generator=generator)
    attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
    query, out = torch.randn(6, 2, 3, generator=generator), torch.randn(2, 3, 6, generator=generator)
    conv = torch.randn(3, 3, 4, 5, generator=generator)
    ours = in_our_layout({f"{attention}/query/kernel": query, f"{attention}/out/kernel": out, "conv_root/kernel": conv})
    assert torch.allclose(F.linear(x, ours["blocks.0.query.weight"]).view(2, 3), torch.einsum("d,dhk->hk", x, query))
    there = F.linear(heads.flatten(), ours["blocks.0.out.weight"])
    assert torch.allclose(there, torch.einsum("hk,hkd->d", heads, out), atol=1e-6)
    patch = torch.randn(3, 3, 4, generator=generator)
    convolved = F.conv2d(patch.permute(2, 0, 1)[None], ours["conv_root.weight"]).flatten()
    assert torch.allclose(convolved, torch.einsum("hwi,hwio->o", patch, conv), atol=1e-5)


def test_batches_change_nothing():
    network, pictures = random(4, TINY), noise(10, (12, 400))  # long, for few patches
    alone = np.concatenate([MUSIQ_SPAQ.embed(network, pictures[i : i + 1], None) for i in range(10)])
    assert MUSIQ_SPAQ.embed(network, pictures, None) == pytest.approx(alone, abs=1e-5)
