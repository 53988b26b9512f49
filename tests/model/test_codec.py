import math

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st

from model.codec import BlockDCT
from model.wan_vae import WanVAE, tiles
from model.weights import WeightsNotFound, fingerprint


def scene(frames: int, height: int = 96, width: int = 64) -> torch.Tensor:
    """A smooth scene with a bright disc crossing it, (1, 3, T, H, W)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    video = torch.empty(1, 3, frames, height, width)
    for t in range(frames):
        disc = torch.sigmoid(60 * (0.2 - ((x - 0.2 - 0.6 * abs(math.sin(t / 4))) ** 2 + (y - 0.5) ** 2).sqrt()))
        video[0, :, t] = torch.stack([y - 0.5 + 0.5 * disc, 0.4 * x - 0.4 + 0.6 * disc, 0.2 - y * x + 0.5 * disc])
    return video


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def test_shape_is_wans_and_the_picture_survives():
    codec, video = BlockDCT(), scene(33)
    latent = codec.encode(video)
    assert latent.shape == (1, 16, 9, 12, 8)
    decoded = codec.decode(latent)
    assert decoded.shape == video.shape
    assert psnr(decoded, video) > 30
    assert psnr(decoded[:, :, :1], video[:, :, :1]) > 32
    # Motion inside a group of four frames is kept, not averaged away.
    still = decoded[:, :, 1:5].mean(2, keepdim=True).expand(-1, -1, 4, -1, -1)
    assert psnr(decoded[:, :, 1:5], video[:, :, 1:5]) > psnr(still, video[:, :, 1:5]) + 1


@settings(max_examples=20, deadline=None)
@given(groups=st.integers(0, 4), cut=st.integers(0, 4), seed=st.integers(0, 2**31 - 1))
def test_causal(groups, cut, seed):
    cut = min(cut, groups)
    video = torch.rand(2, 3, 4 * groups + 1, 16, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    codec = BlockDCT()
    latent = codec.encode(video)
    torch.testing.assert_close(codec.encode(video[:, :, : 4 * cut + 1]), latent[:, :, : cut + 1], atol=1e-5, rtol=0)
    changed = video.clone()
    changed[:, :, 4 * cut + 1 :] = 0.3
    torch.testing.assert_close(codec.encode(changed)[:, :, : cut + 1], latent[:, :, : cut + 1], atol=1e-5, rtol=0)


def test_grey_is_zero_rest_is_constant_and_decoding_clamps():
    codec = BlockDCT()
    assert not codec.encode(torch.zeros(1, 3, 9, 16, 16)).any()
    resting = codec.encode(scene(1).expand(-1, -1, 9, -1, -1))
    torch.testing.assert_close(resting[:, :, 1:], resting[:, :, :1].expand(-1, -1, 2, -1, -1), atol=1e-5, rtol=0)
    decoded = codec.decode(10 * torch.randn(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert decoded.min() == -1
    assert decoded.max() == 1


def test_a_latent_survives_decoding_where_nothing_is_clamped():
    latent = 0.02 * torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    latent[:, 12:, 0] = 0
    codec = BlockDCT()
    torch.testing.assert_close(codec.encode(codec.decode(latent)), latent, atol=1e-5, rtol=0)


def test_samples_do_not_mix():
    video = torch.cat([scene(5), scene(5).flip(4)])
    codec = BlockDCT()
    torch.testing.assert_close(codec.encode(video)[1:], codec.encode(video[1:]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 16), (1, 3, 5, 12, 16), (1, 4, 5, 16, 16), (3, 5, 16, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        BlockDCT().encode(torch.zeros(shape))


@pytest.fixture(scope="module")
def tiny_vae(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wan") / "vae"
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    vae.save_pretrained(folder)
    return folder


def test_wan_vae_has_the_codecs_interface_and_normalises(tiny_vae, monkeypatch):
    hashed = []
    monkeypatch.setattr("model.wan_vae.fingerprint", lambda folder: hashed.append(folder) or fingerprint(folder))
    codec, video = WanVAE(str(tiny_vae.parent)).to("cpu"), scene(9, 16, 16)
    latent = codec.encode(video)
    assert latent.shape == (1, 16, 3, 2, 2)
    torch.testing.assert_close(codec.encode(video), latent, atol=0, rtol=0)
    torch.testing.assert_close(codec.encode(video[:, :, :1]), latent[:, :, :1], atol=1e-4, rtol=0)
    vae = AutoencoderKLWan.from_pretrained(tiny_vae)
    with torch.no_grad():
        raw = vae.encode(video).latent_dist.mean
    expected = (raw[0, 3] - vae.config.latents_mean[3]) / vae.config.latents_std[3]
    torch.testing.assert_close(latent[0, 3], expected, atol=1e-5, rtol=0)
    decoded = codec.decode(latent)
    assert decoded.shape == video.shape
    assert decoded.abs().max() <= 1
    assert not hashed
    assert codec.id == codec.id == f"wan-vae-{fingerprint(tiny_vae)}"
    assert hashed == [tiny_vae]


def test_wan_vae_without_weights_says_what_to_do(tmp_path):
    for source in (None, str(tmp_path / "nothing"), str(tmp_path)):
        with pytest.raises(WeightsNotFound, match=r"encode\.codec_weights"):
            WanVAE(source)
    (tmp_path / "config.json").write_text('{"_class_name": "WanModel"}')
    (tmp_path / "Wan2.1_VAE.pth").touch()
    with pytest.raises(WeightsNotFound, match=r"holds WanModel.*\n.*vae/"):
        WanVAE(str(tmp_path))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 40), (5, 72, 40), (5, 40, 24)])
def test_tiles_are_nearly_the_whole(tiny_vae, monkeypatch, frames, height, width):
    """Sides that the tiles divide, sides that they do not, and sides that one tile holds."""
    monkeypatch.setattr("model.wan_vae.STRIDE", 32)
    monkeypatch.setattr("model.wan_vae.OVERLAP", 16)
    whole, tiled = WanVAE(str(tiny_vae)), WanVAE(str(tiny_vae), tiling=True)
    assert tiled.id == f"{whole.id}-tiled"
    video = scene(frames, height, width)
    latent = whole.encode(video)
    for expected, got in ((latent, tiled.encode(video)), (whole.decode(latent), tiled.decode(latent))):
        assert got.shape == expected.shape
        assert (got - expected).square().mean().sqrt() < 0.15 * expected.std()
        assert torch.equal(got, expected) == (height <= 48)


@given(eighths=st.integers(1, 375))
def test_no_tile_is_a_sliver(eighths):
    side = 8 * eighths
    tile, stride = tiles(side)
    last = side - range(0, side, stride)[-1]
    assert tile % 8 == stride % 8 == 0
    assert tile <= 256
    assert last >= min(side, 72)


def test_psnr_of_a_real_dancer(real_data):
    from model.inputs import to_pixels, to_signed
    from model.video import read_at

    frames = read_at(real_data / "data/videos/dance_solo.mp4", 0.0, 17, 16.0, (160, 96))
    codec = BlockDCT()
    latent = codec.encode(to_signed(frames).transpose(0, 1)[None])
    assert 0.5 < float(latent.square().mean().sqrt()) < 1.5
    error = (to_pixels(codec.decode(latent)).astype(float) - frames) ** 2
    per_frame = 10 * np.log10(255**2 / error.mean((1, 2, 3)))
    assert per_frame[0] > 28
    assert per_frame.min() > 23
