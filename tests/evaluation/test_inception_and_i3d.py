"""The networks behind FID and FVD: what pictures they are shown, which files they take, and their shape."""

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.backbones import i3d, inception
from evaluation.backbones.i3d_network import same
from evaluation.backbones.registry import BACKBONES
from evaluation.metrics.sets.registry import SET_METRICS
from infra.errors import SteadyDancerError


def flat(level: int, frames: int = 1, size=(20, 30)) -> np.ndarray:
    return np.full((frames, *size, 3), level, np.uint8)


def stripes(period: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    row = np.resize(np.array(period, np.uint8), size[1])
    return np.broadcast_to(row[None, None, :, None], (1, *size, 3)).copy()


@pytest.fixture(scope="module")
def fid_network():
    return inception.INCEPTION_FID.random(0)


def test_every_set_metric_has_its_backbone():
    assert {metric.backbone for metric in SET_METRICS.values()} <= BACKBONES.keys()


def test_clean_pictures_are_antialiased_and_keep_their_overshoot():
    assert inception.clean(flat(0)).unique().tolist() == [-1]
    assert inception.clean(flat(255)).unique().tolist() == pytest.approx([127 / 128])
    fine = inception.clean(stripes((255, 0, 0, 255), (299, 4 * 299)))[..., 5:-5]
    assert (fine + 0.5 / 128).abs().max() < 1e-3
    edge = inception.clean(np.concatenate([flat(0, size=(60, 30)), flat(255, size=(60, 30))], axis=2))
    assert edge.max() > 127 / 128 + 0.01
    assert edge.min() < -1.01


def test_published_pictures_are_squashed_and_not_antialiased():
    assert (inception.humanvid(flat(255)) - 1).abs().max() < 1e-6
    assert (inception.humanvid(flat(0)) + 1).abs().max() < 1e-6
    # at 768 a stripe is one pixel of ten, which bilinear sampling every 2.57 pixels sees at full strength at times
    published = inception.humanvid(stripes((255,) + (0,) * 9, (768, 768)))
    assert published.max() > 0.9
    assert inception.clean(stripes((255,) + (0,) * 9, (768, 768))).max() < 0.5
    assert published.shape == (1, 3, 299, 299)


def test_colours_keep_their_order():
    red = np.zeros((1, 9, 9, 3), np.uint8)
    red[..., 0] = 255
    for prepare in (inception.clean, inception.humanvid):
        assert prepare(red).mean((0, 2, 3)).tolist() == pytest.approx([1, -1, -1], abs=0.01)
    for prepare in (i3d.cropped, i3d.squashed):
        assert prepare(red).mean((1, 2, 3)).tolist() == pytest.approx([1, -1, -1], abs=1e-6)


def test_inception_has_the_published_parameters(fid_network):
    shapes = {name: tuple(value.shape) for name, value in fid_network.named_parameters()}
    assert sum(np.prod(shape) for shape in shapes.values()) == 23_850_960
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6b.branch7x7dbl_2.conv.weight"] == (128, 128, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.conv.weight"] == (192, 192, 3, 3)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["fc.weight"] == (1008, 2048)


def test_inception_pools_as_tensorflow_did(fid_network):
    spike = torch.zeros(1, 2048, 8, 8)
    spike[..., 0, 0] = 1
    with torch.no_grad():
        averaged = fid_network.Mixed_5b(torch.ones(1, 192, 9, 9))[:, -32:]
        largest = fid_network.Mixed_7c(spike)[:, -192:, :2, :2].flatten(2)
    assert torch.allclose(averaged, averaged[..., :1, :1].expand_as(averaged), atol=1e-6)
    assert largest.any()
    assert torch.allclose(largest, largest[..., :1].expand_as(largest), atol=1e-6)


def test_inception_features_are_of_each_picture_by_itself(fid_network):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    together = inception.INCEPTION_FID.embed(fid_network, pictures, None)
    assert together.shape == (2, 2048)
    alone = inception.INCEPTION_FID.embed(fid_network, pictures[1:], None)
    assert np.allclose(alone[0], together[1], rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_inception_files_are_read_and_others_refused(fid_network, tmp_path):
    whole, part = tmp_path / "whole.pth", tmp_path / "part.pth"
    tensors = {name: value for name, value in fid_network.state_dict().items() if "num_batches" not in name}
    torch.save(tensors, whole)
    torch.save({name: value for name, value in tensors.items() if "Conv2d" in name}, part)
    read = inception.load({"inception_fid": whole})
    assert torch.equal(read.Mixed_7c.branch1x1.conv.weight, fid_network.Mixed_7c.branch1x1.conv.weight)
    assert not read.training
    with pytest.raises(SteadyDancerError, match="part.pth is not the Inception-v3 of FID: it lacks Mixed"):
        inception.load({"inception_fid": part})


def test_clips_are_cropped_to_the_middle_without_antialiasing():
    tall = np.concatenate([flat(0, size=(112, 224)), flat(255, size=(224, 224)), flat(0, size=(112, 224))], axis=1)
    assert i3d.cropped(tall).unique().tolist() == [1]
    assert i3d.cropped(np.swapaxes(tall, 1, 2)).unique().tolist() == [1]
    assert i3d.squashed(tall).mean().item() == pytest.approx(0, abs=0.01)
    for prepare in (i3d.cropped, i3d.squashed):
        assert prepare(stripes((255, 0, 0, 255), (896, 896))).unique().tolist() == [-1]
        assert prepare(flat(255, 3, (300, 501))).shape == (3, 3, 224, 224)


class Probe(nn.Module):
    """Gives the first level, the last one and the length of a clip."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, rescale: bool = True, resize: bool = True, return_features: bool = False):
        given = torch.stack(
            [x[:, 0, 0].mean((1, 2)), x[:, 0, -1].mean((1, 2)), torch.full_like(x[:, 0, 0, 0, 0], x.shape[2])]
        )
        return given.T if return_features and not rescale and not resize else given.T * 0


def test_rows_are_clips_of_16_or_growing_prefixes(tmp_path):
    torch.jit.script(Probe()).save(tmp_path / "i3d.pt")
    network = i3d.load({"i3d": tmp_path / "i3d.pt"})
    video = np.concatenate([flat(5 * frame) for frame in range(40)])

    def level(frame: int) -> float:
        return 2 * 5 * frame / 255 - 1

    clips = i3d.I3D_LOGITS.embed(network, video, None)
    assert clips == pytest.approx(np.array([[level(0), level(15), 16], [level(16), level(31), 16]]), abs=1e-5)
    assert i3d.I3D_LOGITS_SQUASH.embed(network, video, None) == pytest.approx(clips, abs=1e-5)
    prefixes = i3d.I3D_LOGITS_PREFIXES.embed(network, video[:24], None)
    assert prefixes == pytest.approx(np.array([[level(0), level(n - 1), n] for n in range(10, 25)]), abs=1e-5)
    assert i3d.I3D_LOGITS.embed(network, video[:15], None).shape == (0, 400)


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "i3d.pt").write_bytes(b"nothing")
    with pytest.raises(SteadyDancerError, match="no TorchScript"):
        i3d.load({"i3d": tmp_path / "i3d.pt"})


def test_i3d_of_true_size():
    network = i3d.I3D_LOGITS.random(0)
    assert sum(value.numel() for value in network.parameters()) == 12_697_264
    again = i3d.I3D_LOGITS.random(0)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    video = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    logits = i3d.I3D_LOGITS_PREFIXES.embed(network, video, None)
    assert logits.shape == (1, 400)
    assert 0.01 < logits.std() < 100


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before"), [(16, 7, 2, 2), (15, 7, 2, 3), (8, 2, 2, 0), (7, 3, 2, 1)]
)
def test_i3d_pads_as_tensorflow_does(length, kernel, stride, before):
    padded = same(torch.ones(1, 1, length, 4, 4), (kernel, 1, 1), (stride, 1, 1))[0, 0, :, 0, 0]
    assert (len(padded) - kernel) // stride + 1 == -(-length // stride)
    assert int(padded.argmax()) == before
    assert padded.sum() == length


def test_videos_shorter_than_10_frames_have_no_prefix():
    assert [len(list(i3d.prefixes(n))) for n in (9, 10, 24)] == [0, 1, 15]
