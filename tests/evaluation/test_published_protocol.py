"""HumanVid's published evaluation: which frames it looks at, and each of its quirks."""

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.backbones.lpips import Lpips
from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.humanvid.fvd import HUMANVID_FVD
from evaluation.metrics.humanvid.lpips import HUMANVID_LPIPS
from evaluation.metrics.humanvid.protocol import compared_frames, drawn_frame, images_stride, video_stride
from evaluation.metrics.humanvid.psnr import HUMANVID_PSNR
from evaluation.metrics.humanvid.ssim import HUMANVID_SSIM
from evaluation.metrics.psnr import PSNR
from evaluation.metrics.sets.humanvid_fid import HUMANVID_FID
from evaluation.metrics.ssim import SSIM

DRAWN = 12
"""what NumPy's legacy generator draws of 24 with seed 0"""


def levels(values, size=(16, 12)) -> np.ndarray:
    return np.stack([np.full((*size, 3), value, np.uint8) for value in values])


def noise(frames: int, size=(16, 12), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)


def pair(generated: np.ndarray, truth: np.ndarray, **more) -> Evidence:
    return Evidence(generated, 10, driving_frames=truth, driving_fps=10, same_source=True, **more)


def published(truth: np.ndarray, generated: np.ndarray, **more) -> Evidence:
    """24 generated frames of a truth of more than 72, as the published methods make them."""
    return pair(generated, truth, time_map=np.arange(24) * 3, **more)


def shown(evidence: Evidence, stride=images_stride) -> tuple[list[int], list[int]]:
    made, truth = compared_frames(evidence, stride)
    return made[:, 0, 0, 0].tolist(), truth[:, 0, 0, 0].tolist()


def test_every_third_of_the_first_72_frames_is_compared():
    every_third = list(range(0, 72, 3))
    truth = levels(range(100))
    assert shown(published(truth, levels(range(100, 124)))) == (list(range(100, 124)), every_third)
    at_a_third_of_the_rate = Evidence(levels(range(24)), 10, driving_frames=truth, driving_fps=30, same_source=True)
    assert shown(at_a_third_of_the_rate) == (list(range(24)), every_third)
    frame_by_frame = pair(levels(range(100, 181)), truth)
    assert shown(frame_by_frame) == ([100 + frame for frame in every_third], every_third)
    assert shown(frame_by_frame, video_stride) == shown(frame_by_frame)


@pytest.mark.parametrize(("frames", "images", "video"), [(73, 3, 3), (72, 3, 1), (71, 2, 1), (48, 2, 1), (24, 1, 1)])
def test_strides_of_short_drivers_differ_between_images_and_videos(frames, images, video):
    assert (images_stride(frames), video_stride(frames)) == (images, video)
    evidence = pair(levels(range(frames)), levels(range(frames)))
    assert shown(evidence)[1] == [images * i for i in range(24)]
    assert shown(evidence, video_stride)[1] == [video * i for i in range(24)]


def test_frames_that_are_not_there_are_named():
    with pytest.raises(NotComputable, match="the ground truth has 23"):
        compared_frames(pair(levels(range(23)), levels(range(23))), images_stride)
    with pytest.raises(NotComputable, match="frame 69"):
        compared_frames(pair(levels(range(69)), levels(range(80))), images_stride)


@pytest.mark.parametrize("metric", [HUMANVID_PSNR, HUMANVID_SSIM])
def test_one_drawn_frame_stands_for_the_video(metric):
    truth, made = noise(80), noise(24, seed=1)
    value = metric.score(published(truth, made)).value
    other = noise(24, seed=2)
    other[DRAWN] = made[DRAWN]
    assert metric.score(published(truth, other)).value == value
    other[DRAWN] = noise(1, seed=3)[0]
    assert metric.score(published(truth, other)).value != value


def test_the_draw_follows_its_seed():
    evidence = published(levels(range(80)), levels(range(24)))
    drawn = {seed: int(drawn_frame(evidence, seed)[0][0, 0, 0]) for seed in range(200)}
    assert drawn[0] == DRAWN
    assert [drawn[seed] for seed in (1, 2, 3, 4)] == [5, 8, 10, 14]
    assert set(drawn.values()) == set(range(24))


def test_psnr_of_the_drawn_frame():
    truth = levels([0] * 80)
    made = levels([200] * 24)  # a difference that wraps around in uint8
    assert HUMANVID_PSNR.score(published(truth, made)).value == pytest.approx(20 * np.log10(255 / 200), abs=1e-9)
    assert HUMANVID_PSNR.score(published(truth + 201, made)).value == pytest.approx(20 * np.log10(255), abs=1e-9)
    assert "infinite" in HUMANVID_PSNR.score(published(truth + 200, made)).reason


def test_ssim_windows_reach_over_the_edge_into_black():
    truth, made = noise(80, (13, 12)), noise(24, (13, 12), 1)
    kernel = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    weights = np.outer(kernel, kernel)[..., None] / kernel.sum() ** 2
    x, y = (np.pad(frame.astype(float) / 255, ((5, 5), (5, 5), (0, 0))) for frame in (made[DRAWN], truth[3 * DRAWN]))
    expected = []
    for top in range(13):
        for left in range(12):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (weights * a).sum((0, 1)), (weights * b).sum((0, 1))
            variances = (weights * (a - mean_a) ** 2).sum((0, 1)) + (weights * (b - mean_b) ** 2).sum((0, 1))
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum((0, 1))
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            expected.append(luminance * (2 * covariance + 9e-4) / (variances + 9e-4))
    assert HUMANVID_SSIM.score(published(truth, made)).value == pytest.approx(np.mean(expected), abs=1e-9)


def test_ssim_is_another_than_the_clean_one():
    truth = noise(24) // 2
    made = truth + 40
    clean, quirky = (metric.score(pair(made, truth)).value for metric in (SSIM, HUMANVID_SSIM))
    assert abs(clean - quirky) > 0.01
    assert HUMANVID_SSIM.score(pair(truth, truth)).value == pytest.approx(1, abs=1e-12)


def test_the_truth_is_resized_by_pillow():
    truth, made = noise(80, (32, 24)), noise(24)
    resized = np.asarray(Image.fromarray(truth[3 * DRAWN]).resize((12, 16), Image.Resampling.BILINEAR))
    error = np.mean((resized.astype(float) - made[DRAWN].astype(float)) ** 2)
    score = HUMANVID_PSNR.score(published(truth, made)).value
    assert score == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
    assert score != pytest.approx(PSNR.score(published(truth, made)).value, abs=1e-6)


class Backbone:
    """Answers with the mean levels of what it is shown, and remembers what that was."""

    def __init__(self):
        self.shown: list[tuple] = []

    def __call__(self, name: str, pictures: np.ndarray, others: np.ndarray | None) -> np.ndarray:
        self.shown.append((name, pictures.shape, None if others is None else others.shape))
        means = pictures.mean(axis=(1, 2, 3), dtype=np.float64)
        if name == "lpips_vgg_01":
            return np.abs(means - others.mean(axis=(1, 2, 3))).astype(np.float32)
        if name == "i3d_logits_prefixes":
            rows = [means[:length].sum() for length in range(10, len(means) + 1)]
            return np.array([[row, -row, 1] for row in rows], np.float32)
        return means[:, None].astype(np.float32)


def test_lpips_is_asked_for_the_drawn_frame_in_the_wrong_range():
    backbone = Backbone()
    size = (16, 20)
    score = HUMANVID_LPIPS.score(published(levels(range(80), size), levels(range(24), size), embedder=backbone))
    assert score.value == 2 * DRAWN
    assert backbone.shown == [("lpips_vgg_01", (1, 16, 20, 3), (1, 16, 20, 3))]
    small = HUMANVID_LPIPS.score(published(levels(range(80), size), levels(range(24), (20, 15)), embedder=backbone))
    assert small.reason == "frames are smaller than 16 x 16" and len(backbone.shown) == 1
    with torch.no_grad():  # of which 15 pixels leave nothing
        features = Lpips("vgg").features
        assert features(torch.zeros(1, 3, 16, 16)).numel()
        with pytest.raises(RuntimeError):
            features(torch.zeros(1, 3, 15, 15))


def test_fvd_is_a_mean_over_lengths_of_squared_distances_of_one_video():
    backbone = Backbone()
    truth, made = levels([7] * 80, (32, 24)), levels([9] * 24)
    score = HUMANVID_FVD.score(published(truth, made, embedder=backbone))
    # either of two logits differs by 2 grey levels x length; the third does not
    assert score.value == pytest.approx(np.mean([2 * (2 * length) ** 2 for length in range(10, 25)]))
    assert backbone.shown == [("i3d_logits_prefixes", (24, 16, 12, 3), None)] * 2


def test_fvd_needs_its_backbone_and_a_truth():
    assert "no backbone" in HUMANVID_FVD.score(published(noise(80), noise(24))).reason
    strangers = Evidence(noise(24), 10, driving_frames=noise(24), driving_fps=10, embedder=Backbone())
    assert "no ground truth" in HUMANVID_FVD.score(strangers).reason
    with pytest.raises(NotComputable, match="no ground truth"):
        HUMANVID_FID.rows(strangers)


def test_fid_takes_24_frames_of_each_in_their_own_size():
    backbone = Backbone()
    truth = levels(range(100), (32, 24))
    real, generated = HUMANVID_FID.rows(published(truth, levels(range(24)), embedder=backbone))
    assert real.ravel().tolist() == list(range(0, 72, 3))
    assert generated.ravel().tolist() == list(range(24))
    assert [shape for _, shape, _ in backbone.shown] == [(24, 32, 24, 3), (24, 16, 12, 3)]
    assert HUMANVID_FID.compute([(real, generated), (real, generated)]).n_real == 48
