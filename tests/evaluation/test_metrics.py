"""Closed-form values of the metrics, what they refuse, and what must not change them."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.evidence import Evidence, same_aspect
from evaluation.metrics.psnr import frame_psnr
from evaluation.metrics.registry import METRICS, select
from evaluation.metrics.ssim import frame_ssim
from infra import config
from infra.errors import UsageError
from model.resolution import output_size

FPS = 16.0
CONFIG = config.load("demo")


def flat(*levels: int, size=(32, 32)) -> np.ndarray:
    return np.stack([np.full((*size, 3), level, np.uint8) for level in levels])


def noise(frames=4, size=(32, 40), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)


def value(name: str, generated: np.ndarray, **more) -> float:
    score = METRICS[name].score(Evidence(generated, FPS, driving_fps=FPS, **more))
    assert score.status == "ok", score.reason
    return score.value


def reason(name: str, generated: np.ndarray, **more) -> str:
    score = METRICS[name].score(Evidence(generated, FPS, driving_fps=FPS, **more))
    assert (score.status, score.value) == ("not_computable", None)
    assert json.loads(json.dumps(asdict(score)))["value"] is None
    return score.reason


def test_psnr_of_known_errors():
    assert value("psnr", flat(0, 0), same_source=True, driving_frames=flat(255, 255)) == pytest.approx(0, abs=1e-12)
    one_off = flat(100, 100)
    assert value("psnr", one_off + 1, same_source=True, driving_frames=one_off) == pytest.approx(
        20 * np.log10(255), abs=1e-9
    )
    # the mean of frames' PSNRs (MSE 1 and 100), not the PSNR of the mean error
    assert value("psnr", flat(101, 110), same_source=True, driving_frames=flat(100, 100)) == pytest.approx(
        20 * np.log10(255) - 10, abs=1e-9
    )
    assert value("psnr", noise(), same_source=True, driving_frames=noise()) == 100


def test_psnr_does_not_wrap_around_in_uint8():
    assert value("psnr", flat(0), same_source=True, driving_frames=flat(200)) == pytest.approx(
        20 * np.log10(255 / 200), abs=1e-9
    )


def test_ssim_of_known_pictures():
    black, white = flat(0), flat(255)
    assert value("ssim", black, same_source=True, driving_frames=white) == pytest.approx(1e-4 / 1.0001, abs=1e-12)
    assert value("ssim", noise(), same_source=True, driving_frames=noise()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [(32, 40), (47, 33)])
def test_psnr_and_ssim_agree_with_scikit_image(size):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    truth, made = noise(1, size, 1)[0], noise(1, size, 2)[0]
    made = (0.7 * truth + 0.3 * made).astype(np.uint8)
    asked = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, whole = structural_similarity(truth, made, channel_axis=2, full=True, **asked)
    assert frame_ssim(made, truth) == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-6)
    assert frame_psnr(made, truth) == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=255), abs=1e-9)


def test_ssim_is_the_definition_evaluated_window_by_window():
    a, b = noise(1, (13, 12), 1)[0], noise(1, (13, 12), 2)[0]
    offsets = np.arange(11) - 5
    kernel = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights = np.outer(kernel, kernel)[..., None] / kernel.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = []
    for top in range(3):
        for left in range(2):
            x, y = (image[top : top + 11, left : left + 11].astype(float) for image in (a, b))
            mean_x, mean_y = ((weights * v).sum((0, 1)) for v in (x, y))
            variance = (weights * (x - mean_x) ** 2).sum((0, 1)) + (weights * (y - mean_y) ** 2).sum((0, 1))
            covariance = (weights * (x - mean_x) * (y - mean_y)).sum((0, 1))
            expected.append(
                (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variance + c2))
            )
    assert frame_ssim(a, b) == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_agreement_with_the_truth_falls_with_noise_and_is_symmetric(name):
    truth = np.clip(noise() // 4 + 90, 0, 255).astype(np.uint8)
    generator = np.random.default_rng(3)
    worse = [np.clip(truth + generator.normal(0, sigma, truth.shape), 0, 255).astype(np.uint8) for sigma in (2, 8, 32)]
    scores = [value(name, video, same_source=True, driving_frames=truth) for video in worse]
    assert scores == sorted(scores, reverse=True)
    assert value(name, worse[0], same_source=True, driving_frames=truth) == pytest.approx(
        value(name, truth, same_source=True, driving_frames=worse[0]), abs=1e-9
    )


@pytest.mark.parametrize("name", ["psnr", "ssim", "temporal_flickering"])
@given(axis=st.sampled_from([1, 2]), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_flipping_both_videos_changes_nothing(name, axis, seed):
    a, b = noise(3, seed=seed), noise(3, seed=seed + 1)
    flipped = value(name, np.flip(a, axis).copy(), same_source=True, driving_frames=np.flip(b, axis).copy())
    assert flipped == pytest.approx(value(name, a, same_source=True, driving_frames=b), abs=1e-9)


def test_flicker_closed_forms():
    assert value("temporal_flickering", flat(7, 7, 7)) == 1
    assert value("temporal_flickering", flat(0, 51, 0, 51)) == pytest.approx(0.8, abs=1e-12)
    assert value("temporal_flickering", flat(*range(0, 30, 3))) == pytest.approx(1 - 3 / 255, abs=1e-12)
    assert value("temporal_flickering", flat(200, 20)) == pytest.approx(1 - 180 / 255, abs=1e-12)
    bar = np.zeros((5, 64, 128, 3), np.uint8)  # a bar of 1/256 of the picture jumps by its own width
    for t in range(5):
        bar[t, :, 8 * t] = 255
    assert value("temporal_flickering", bar) == pytest.approx(1 - 2 / 128, abs=1e-12)


def test_first_frame_looks_at_nothing_but_the_first_frame():
    reference = noise(1)[0]
    video = np.concatenate([reference[None], noise(3, seed=5)])
    assert value("first_frame_psnr", video, reference=reference) == 100
    assert value("first_frame_psnr", video[::-1], reference=reference) < 15
    assert "40x32" in reason("first_frame_psnr", video, reference=noise(1, (16, 16))[0])


def test_truth_is_taken_at_the_same_moment_of_another_frame_rate():
    truth = flat(*range(0, 80, 10))
    evidence = Evidence(flat(0, 20, 40, 60), FPS, same_source=True, driving_frames=truth, driving_fps=2 * FPS)
    assert METRICS["psnr"].score(evidence).value == 100


def test_missing_needs_are_reasons_not_defaults():
    assert "no ground truth" in reason("psnr", noise())
    assert "no ground truth" in reason("ssim", noise())
    assert "no reference" in reason("first_frame_psnr", noise())
    assert "one frame" in reason("temporal_flickering", noise(1))
    assert "smaller than" in reason(
        "ssim", flat(0, size=(10, 40)), same_source=True, driving_frames=flat(0, size=(10, 40))
    )
    assert "outlasts" in reason("psnr", noise(5), same_source=True, driving_frames=noise(4))


def test_every_metric_tells_what_it_is():
    for name, metric in METRICS.items():
        assert metric.identify(CONFIG).startswith(f"{name}@{metric.version}/{metric.preprocessing}")
        assert metric.definition and metric.source and metric.range[0] < metric.range[1]
        assert (metric.direction == "target") == (metric.target is not None)


POSED = {"motion_energy_ratio", "control_motion_energy_ratio", "background_psnr", "identity_person_level"}
CONTROL, CEILING, PLAIN = {"control_motion_energy_ratio"}, {"first_frame_gap", "first_frame_kept"}, {"psnr", "ssim"}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("pose.estimator=dwpose", POSED),
        ("pose.smooth_seconds=0.1", POSED),
        ("pose.flip_test=true", POSED),
        ("pose.threads=2", set()),  # of no matter to what comes out
        ("encode.codec=wan-vae", CEILING),
        ("seed=7", set()),
    ],
)
def test_an_id_names_what_the_config_decides(override, changed):
    other = config.load("demo", [override])
    names = POSED | CONTROL | CEILING | PLAIN
    assert {name for name in names if METRICS[name].identify(other) != METRICS[name].identify(CONFIG)} == changed
    assert METRICS["first_frame_gap"].identify(other).endswith(other.encode.codec)
    assert all(other.pose.estimator in METRICS[name].identify(other) for name in POSED)


def test_an_id_names_the_alignment_of_the_pose_that_was_fed():
    modes = [METRICS[name].identify(config.load("demo", ["pose.compat=true"])) for name in sorted(CONTROL | {"psnr"})]
    assert modes[0].endswith("-official") and METRICS[min(CONTROL)].identify(CONFIG).endswith("-robust")
    assert modes[1] == METRICS["psnr"].identify(CONFIG)


def test_badness_is_the_distance_to_the_target_and_of_a_ratio_that_of_its_logarithm():
    lag, ratio = METRICS["motion_lag"], METRICS["motion_energy_ratio"]
    assert (lag.badness(-3), lag.badness(3)) == (3, 3)
    assert (METRICS["psnr"].badness(30), METRICS["lpips"].badness(0.2)) == (-30, 0.2)
    assert ratio.badness(1) == 0
    assert ratio.badness(0.5) == pytest.approx(ratio.badness(2)) == pytest.approx(np.log(2))
    assert ratio.badness(0) == ratio.badness(0.05) == pytest.approx(np.log(20))
    assert ratio.badness(0.06) < ratio.badness(0.05)


@given(st.floats(1 / 20, 20))
def test_a_ratio_and_its_inverse_are_equally_bad(value):
    ratio = METRICS["control_motion_energy_ratio"]
    assert ratio.badness(value) == pytest.approx(ratio.badness(1 / value), abs=1e-12)


SMALL_AREAS = st.sampled_from([96 * 96, 320 * 576, 480 * 832, 576 * 1024, 1024 * 1024])


@given(area=SMALL_AREAS, height=st.integers(200, 2200), width=st.integers(200, 2200))
def test_the_models_own_sizes_have_the_aspect_of_their_source(area, height, width):
    assert same_aspect(output_size(area, height, width), (height, width))


def test_a_truth_of_another_aspect_is_not_squashed():
    square, wide = noise(4, (64, 64)), noise(4, (64, 128))
    for name in ("psnr", "ssim"):
        assert "64x64, the ground truth 128x64" in reason(name, square, same_source=True, driving_frames=wide)
        assert value(name, square, same_source=True, driving_frames=noise(4, (128, 128))) < 50
    assert same_aspect((720, 1280), (1080, 1920)) and same_aspect((1024, 576), (1036, 576))
    assert not same_aspect((512, 512), (512, 540)) and not same_aspect((540, 512), (512, 512))


def test_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="temporal_flickering"):
        select(["psnr", "temporal_flikering"])
    assert [metric.name for metric in select(["ssim", "psnr", "ssim"])] == ["ssim", "psnr"]
