"""Closed-form values of VBench's formulas on known features, and what they cannot see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.backbones.registry import BACKBONES
from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.registry import METRICS
from evaluation.metrics.similarity import consistency, image_to_video
from infra import config

VBENCH = (
    *("i2v_subject", "i2v_background", "subject_consistency", "background_consistency"),
    *("motion_smoothness", "aesthetic_quality", "imaging_quality"),
)
CONSISTENCIES = "subject_consistency", "background_consistency"
IMAGE_TO_VIDEO = {
    "i2v_subject": ("dino_vitb16_crop224_pil", "dino_vitb16_crop224"),
    "i2v_background": ("dreamsim_pil", "dreamsim"),
}
STEP = np.arccos(0.995)  # of consecutive frames in research's examples


def on_circle(*angles: float) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def around(similarity: float, frames: int) -> np.ndarray:
    """Features at one cosine from e_0, and 0.995 from each other."""
    radius = np.sqrt(1 - similarity**2)
    turn = np.arccos((0.995 - similarity**2) / radius**2) * np.arange(frames)
    return np.stack([np.full(frames, similarity), radius * np.cos(turn), radius * np.sin(turn)], axis=1)


class Knows:
    """An embedder that gives what it was told, and remembers of how many pictures it was asked."""

    def __init__(self, **rows: np.ndarray):
        self.rows, self.asked = rows, {}

    def __call__(self, backbone, pictures, others):
        self.asked[backbone] = len(pictures)
        return self.rows[backbone].astype(np.float32)


def video(frames: int) -> np.ndarray:
    return np.zeros((frames, 32, 32, 3), np.uint8)


def score(name: str, frames: int, embedder, **more):
    return METRICS[name].score(Evidence(video(frames), 16, embedder=embedder, **more))


def test_consistency_of_a_quarter_turn():
    assert consistency(on_circle(*np.linspace(0, np.pi / 2, 11))).value == pytest.approx(0.7864993, abs=5e-8)
    assert consistency(on_circle(0, 1, 3)).value == pytest.approx((2 * np.cos(1) + 0 + 0) / 4, abs=1e-12)
    assert consistency(on_circle(0, 0, 0)).value == 1


def test_a_set_is_the_mean_of_videos_not_of_frames():
    turns = np.linspace(0, np.pi / 2, 11), np.radians([0, 30, 60])
    values = [consistency(on_circle(*turn)).value for turn in turns]
    assert np.mean(values) == pytest.approx(0.780509, abs=5e-7)
    assert np.average(values, weights=[10, 2]) == pytest.approx(0.784503, abs=5e-7)  # VBench on one GPU
    for name in CONSISTENCIES:
        assert "mean over videos" in METRICS[name].definition and "by their frames" in METRICS[name].definition


def test_the_curve_tells_the_frame_that_breaks():
    curve = consistency(on_circle(0, 0, 1, 0)).curve
    assert np.isnan(curve[0]) and np.argmin(curve[1:]) == 1
    assert curve[1:] == pytest.approx([1, np.cos(1), (np.cos(1) + 1) / 2], abs=1e-12)


def test_image_to_video_is_blind_to_drift():
    reference = np.eye(3)[:1]
    drifting = np.pad(on_circle(*STEP * np.arange(13)), ((0, 0), (0, 1)))
    assert drifting[-1, 0] < 0.4  # the last frame is somebody else
    assert image_to_video(reference, drifting).value == pytest.approx(0.9970, abs=1e-12)

    stable = around(0.85, 80)
    assert image_to_video(reference, stable).value == pytest.approx(0.9370, abs=1e-12)
    copied = np.concatenate([reference, stable])
    assert image_to_video(reference, copied).value == pytest.approx(0.95295625, abs=1e-12)
    assert image_to_video(reference, copied).curve == pytest.approx([1] + [0.85] * 80, abs=1e-12)


def test_image_to_video_takes_the_best_frame_and_the_worst_step():
    reference, frames = on_circle(0), on_circle(0.5, 0.2, 1.2, 2.0)
    steps = np.cos([0.3, 1.0, 0.8])
    expected = 0.4 * np.cos(0.2) + 0.3 * steps.mean() + 0.3 * steps[1]
    assert image_to_video(reference, frames).value == pytest.approx(expected, abs=1e-12)
    assert image_to_video(on_circle(np.pi), on_circle(0, np.pi)).value == pytest.approx(0.4, abs=1e-12)  # -1 counts 0


@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_only_directions_of_features_count(seed, scale):
    generator = np.random.default_rng(seed)
    reference, features = generator.normal(size=(1, 5)), generator.normal(size=(6, 5))
    turn = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    turned = scale * features @ turn
    assert consistency(turned).value == pytest.approx(consistency(features).value, abs=1e-12)
    assert image_to_video(reference @ turn, turned).value == pytest.approx(
        image_to_video(reference, features).value, abs=1e-12
    )
    assert image_to_video(reference, features[::-1]).value == pytest.approx(
        image_to_video(reference, features).value, abs=1e-12
    )
    assert 0 <= consistency(features).value <= 1 and 0 <= image_to_video(reference, features).value <= 1


@pytest.mark.parametrize(("name", "backbone"), zip(CONSISTENCIES, ("dino_vitb16_short224", "clip_vitb32"), strict=True))
def test_consistencies_ask_their_backbone_for_the_frames(name, backbone):
    embedder = Knows(**{backbone: on_circle(0, 1, 3)})
    found = score(name, 3, embedder)
    assert found.value == pytest.approx(np.cos(1) / 2, abs=1e-6)
    assert found.curve[0] is None and len(found.curve) == 3
    assert embedder.asked == {backbone: 3}


@pytest.mark.parametrize("name", IMAGE_TO_VIDEO)
def test_image_to_video_metrics_hold_frames_against_the_reference(name):
    of_reference, of_frames = IMAGE_TO_VIDEO[name]
    embedder = Knows(**{of_reference: on_circle(0), of_frames: on_circle(0.5, 1.0)})
    found = score(name, 2, embedder, reference=video(1)[0])
    assert found.value == pytest.approx(np.cos(0.5), abs=1e-6)
    assert found.curve == pytest.approx(np.cos([0.5, 1.0]), abs=1e-6)
    assert embedder.asked == {of_reference: 1, of_frames: 2}
    assert "no reference" in score(name, 2, embedder).reason
    wide = score(name, 2, embedder, reference=np.zeros((32, 64, 3), np.uint8))
    assert "32x32, the reference 64x32" in wide.reason


@pytest.mark.parametrize(
    ("name", "backbone", "whole"),
    [("aesthetic_quality", "laion_aesthetic", 10), ("imaging_quality", "musiq_spaq", 100)],
)
def test_qualities_are_means_over_frames_as_fractions(name, backbone, whole):
    found = score(name, 3, Knows(**{backbone: whole * np.array([0.2, 0.5, 1.1])}))
    assert found.value == pytest.approx(0.6, abs=1e-6)
    assert found.curve == pytest.approx([0.2, 0.5, 1.1], abs=1e-6)


def test_motion_smoothness_is_the_mean_over_predicted_frames():
    found = score("motion_smoothness", 6, Knows(amt_s=np.array([np.nan, 51, np.nan, 0, np.nan, np.nan])))
    assert found.value == pytest.approx(0.9, abs=1e-7)
    assert found.curve[1] == pytest.approx(0.8, abs=1e-7) and found.curve[0] is None
    assert "three frames" in score("motion_smoothness", 2, Knows()).reason


def test_one_frame_has_no_consistency():
    for name, backbone in zip(CONSISTENCIES, ("dino_vitb16_short224", "clip_vitb32"), strict=True):
        assert "one frame" in score(name, 1, Knows(**{backbone: on_circle(0)})).reason
    known = Knows(**dict.fromkeys(IMAGE_TO_VIDEO["i2v_subject"], on_circle(0)))
    assert "one frame" in score("i2v_subject", 1, known, reference=video(1)[0]).reason


@pytest.mark.parametrize("name", VBENCH)
def test_without_weights_there_is_a_reason_and_no_default(name):
    def without(*_):
        raise NotComputable("no weights for this network")

    for embedder, why in ((None, "no backbone"), (without, "no weights")):
        found = score(name, 3, embedder, reference=video(1)[0])
        assert (found.value, found.status) == (None, "not_computable") and why in found.reason


@pytest.mark.parametrize("name", VBENCH)
def test_ids_say_whose_definition_it_is(name):
    metric = METRICS[name]
    assert metric.identify(config.load("demo")).startswith(f"{name}@{metric.version}/vbench45e79ec-")
    assert metric.backbones <= BACKBONES.keys()
    assert ("aa0" in metric.preprocessing) == (name != "motion_smoothness")


def test_flicker_of_a_bar_and_of_noise():
    bar = np.zeros((16, 16, 256, 3), np.uint8)
    for t in range(16):
        bar[t, :, 8 * t % 256] = 255
    found = score_of(bar)
    assert found.value == pytest.approx(0.9921875, abs=1e-12)
    assert found.curve[0] is None and found.curve[1:] == pytest.approx([0.9921875] * 15, abs=1e-12)

    sigma = 20
    noise = np.random.default_rng(0).normal(128, sigma, (9, 128, 128, 3)).round().astype(np.uint8)
    assert score_of(noise).value == pytest.approx(1 - 2 * sigma / (np.sqrt(np.pi) * 255), abs=3e-4)


def score_of(frames: np.ndarray):
    return METRICS["temporal_flickering"].score(Evidence(frames, 16))
