"""LPIPS against torchmetrics' own with the same weights, and the metrics on it."""

import numpy as np
import pytest
import torch

from evaluation.backbones.lpips import (
    LPIPS_ALEX,
    LPIPS_VGG_01,
    WEIGHTS,
    Lpips,
    from_minus_one_to_one,
    from_zero_to_one,
    load,
    published_heads,
)
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.registry import METRICS
from infra.errors import SteadyDancerError

CONVOLUTIONS = {"vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "alex": (0, 3, 6, 8, 10)}


def noise(count: int, size=(64, 64), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def alex():
    return LPIPS_ALEX.random(0)


def with_published_heads(kind: str) -> Lpips:
    network = (LPIPS_VGG_01 if kind == "vgg" else LPIPS_ALEX).random(3)
    for parameter, head in zip(network.heads, published_heads(kind), strict=True):
        parameter.copy_(head)
    for layer in network.features:
        if isinstance(layer, torch.nn.Conv2d):  # so that pictures still differ in the last features
            torch.nn.init.kaiming_normal_(layer.weight)
    return network


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_it_is_torchmetrics_own_given_the_same_weights(kind, monkeypatch):
    from torchmetrics.functional.image import lpips as theirs

    network = with_published_heads(kind)
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_, **__: network.features)
    reference = theirs._LPIPS(net=kind, pnet_rand=True)
    ours, others = (from_minus_one_to_one(noise(3, (65, 80), seed)) for seed in (1, 2))
    with torch.no_grad():
        expected = reference(ours, others).flatten()
        assert torch.allclose(network(ours, others), expected, atol=1e-6, rtol=1e-5)
    assert expected.min() > 1e-3


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_layers_have_torchvisions_indices(kind):
    names = {name for name in Lpips(kind).state_dict() if name.startswith("features.")}
    assert names == {f"features.{index}.{part}" for index in CONVOLUTIONS[kind] for part in ("weight", "bias")}


def test_distance_is_zero_to_itself_symmetric_and_grows_with_noise(alex):
    pictures = np.clip(noise(3) // 3 + 80, 0, 255).astype(np.uint8)
    assert LPIPS_ALEX.embed(alex, pictures, pictures).tolist() == [0, 0, 0]
    others = noise(3, seed=9)
    there, back = LPIPS_ALEX.embed(alex, pictures, others), LPIPS_ALEX.embed(alex, others, pictures)
    assert there == pytest.approx(back, rel=1e-5) and there.min() > 0
    generator = np.random.default_rng(4)
    worse = [np.clip(pictures + generator.normal(0, s, pictures.shape), 0, 255).astype(np.uint8) for s in (3, 12, 48)]
    distances = [LPIPS_ALEX.embed(alex, each, pictures).mean() for each in worse]
    assert distances == sorted(distances)


def test_batches_change_nothing(alex):
    ours, others = noise(11, (40, 56), 5), noise(11, (40, 56), 6)
    alone = np.concatenate([LPIPS_ALEX.embed(alex, ours[i : i + 1], others[i : i + 1]) for i in range(11)])
    assert LPIPS_ALEX.embed(alex, ours, others) == pytest.approx(alone, abs=1e-6)


def test_the_range_of_the_pixels_changes_the_value(alex):
    assert from_minus_one_to_one(noise(1)).min() == -1 and from_minus_one_to_one(noise(1)).max() == 1
    assert from_zero_to_one(noise(1)).min() == 0 and from_zero_to_one(noise(1)).max() == 1
    ours, others = noise(1, seed=7), noise(1, seed=8)
    right = LPIPS_ALEX.embed(alex, ours, others)
    wrong = alex(from_zero_to_one(ours), from_zero_to_one(others)).numpy()
    assert abs(right - wrong) > 1e-3


def test_published_heads_weigh_and_never_reward():
    for kind, channels in (("vgg", (64, 128, 256, 512, 512)), ("alex", (64, 192, 384, 256, 256))):
        heads = published_heads(kind)
        assert [tuple(head.shape) for head in heads] == [(1, count, 1, 1) for count in channels]
        assert min(head.min() for head in heads) >= 0


def test_torchvisions_file_is_loaded_and_another_refused(tmp_path):
    source = Lpips("alex").state_dict()
    features = {name: value for name, value in source.items() if name.startswith("features.")}
    path = tmp_path / "alexnet.pth"
    torch.save({**features, "classifier.1.weight": torch.zeros(2, 2)}, path)
    network = load({WEIGHTS["alex"].key: path}, "alex")
    assert torch.equal(network.state_dict()["features.10.bias"], features["features.10.bias"])
    assert torch.equal(network.heads[4], published_heads("alex")[4])

    torch.save({name: value for name, value in features.items() if "features.3." not in name}, path)
    with pytest.raises(SteadyDancerError, match="not torchvision's AlexNet: it lacks features.3.weight"):
        load({WEIGHTS["alex"].key: path}, "alex")
    with pytest.raises(SteadyDancerError, match="VGG16"):
        load({WEIGHTS["vgg"].key: path}, "vgg")


class Brightness:
    """An embedder: how much brighter than what it is held against."""

    def __call__(self, backbone, pictures, others):
        assert backbone == "lpips_alex" and pictures.shape == others.shape
        return np.abs(pictures.astype(np.float32) - others).mean((1, 2, 3))


def flat(*levels: int, size=(40, 48)) -> np.ndarray:
    return np.stack([np.full((*size, 3), level, np.uint8) for level in levels])


def test_lpips_holds_each_frame_against_the_truth_of_its_moment():
    truth = flat(0, 9, 10, 9, size=(20, 24))  # of twice the frame rate and half the size
    evidence = Evidence(flat(2, 14), 8, same_source=True, driving_frames=truth, driving_fps=16, embedder=Brightness())
    found = METRICS["lpips"].score(evidence)
    assert found.value == 3 and found.curve == (2, 4)
    assert "no ground truth" in METRICS["lpips"].score(Evidence(flat(2), 8, embedder=Brightness())).reason
    small = Evidence(flat(2, size=(31, 40)), 8, embedder=Brightness(), same_source=True)
    small.driving_frames, small.driving_fps = flat(2, size=(31, 40)), 8
    assert "smaller than" in METRICS["lpips"].score(small).reason


def test_first_frame_lpips_looks_at_the_first_frame_at_its_best_shift():
    picture = noise(1, (48, 64))[0]
    shifted = np.roll(picture, (1, -2), axis=(0, 1))
    evidence = Evidence(np.stack([shifted, noise(1, (48, 64), 3)[0]]), 8, reference=picture, embedder=Brightness())
    assert METRICS["first_frame_lpips"].score(evidence).value == 0
    evidence.generated = evidence.generated[::-1]
    assert METRICS["first_frame_lpips"].score(evidence).value > 50
    evidence.reference = noise(1, (64, 64))[0]
    assert "64x48" in METRICS["first_frame_lpips"].score(evidence).reason
