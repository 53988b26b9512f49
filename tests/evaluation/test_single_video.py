"""The command `metric` on videos and poses whose values are known in closed form."""

import json

import numpy as np
import pytest
from skeletons import DOWN, skeleton
from typer.testing import CliRunner

import steadydancer
from evaluation import features, single_video
from evaluation.backbones.backbone import Backbone
from evaluation.metrics.identity_drift import IDENTITY
from infra import config
from infra.errors import SteadyDancerError, UsageError
from infra.workspace import claim
from model import video
from model.pose.tracks import PoseTrack

FPS, FRAMES = 16.0, 48


def asked(*arguments) -> dict:
    result = CliRunner().invoke(steadydancer.app, ["metric", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def flat(path, levels, size=(48, 64)):
    """A video of flat frames; what H.264 made of their levels."""
    video.write(path, np.stack([np.full((*size, 3), level, np.uint8) for level in levels]), FPS)
    return np.array([image.mean() for _, image in video.frames(path)])


def swaying(amplitude: float, late: int = 0) -> PoseTrack:
    """Both lower arms sway, 1.2 times a second and with a second rhythm, so that no shift repeats them."""
    time = (np.arange(FRAMES) - late) / FPS
    angle = DOWN + amplitude * (np.sin(2 * np.pi * 1.2 * time) + 0.5 * np.sin(2 * np.pi * 0.37 * time))
    return skeleton({"left_lower_arm": angle, "right_lower_arm": -angle + np.pi})


@pytest.fixture
def moving(tmp_path):
    """(generated pose, driving pose) -> arguments of the command; the pictures are flat."""
    flat(tmp_path / "made.mp4", [120] * FRAMES)

    def arguments(made: PoseTrack, driving: PoseTrack):
        made.save(tmp_path / "made.npz")
        driving.save(tmp_path / "driving.npz", about={"fps": FPS})
        poses = ("--generated-pose", tmp_path / "made.npz", "--driving-pose", tmp_path / "driving.npz")
        return ("--generated", tmp_path / "made.mp4", *poses)

    return arguments


def test_flicker_of_alternating_frames(tmp_path):
    levels = flat(tmp_path / "a.mp4", [40, 91] * 4)
    found = asked("temporal_flickering", "--generated", tmp_path / "a.mp4")
    assert found["value"] == pytest.approx(1 - np.abs(np.diff(levels)).mean() / 255, abs=1e-6)
    assert found["value"] == pytest.approx(0.8, abs=0.01) and found["frames"] == 8
    assert found["id"].startswith("temporal_flickering@") and found["reason"] is None


def test_motion_energy_of_half_the_amplitude_and_of_none(moving):
    driving = swaying(0.3)
    assert asked("motion_energy_ratio", *moving(driving, driving))["value"] == pytest.approx(1, abs=1e-6)
    assert asked("motion_energy_ratio", *moving(swaying(0.15), driving))["value"] == pytest.approx(0.5, abs=0.01)
    still = PoseTrack(driving.keypoints[:1].repeat(FRAMES, 0), driving.scores)
    assert asked("motion_energy_ratio", *moving(still, driving))["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("late", [0, 3, -2])
def test_lag(moving, late):
    assert asked("motion_lag", *moving(swaying(0.3, late), swaying(0.3)))["value"] == pytest.approx(late, abs=1e-9)


def test_jump_ratio(tmp_path):
    levels = flat(tmp_path / "a.mp4", [30, 90, *(90 + 10 * (n % 2) for n in range(1, 19))])
    steps = np.abs(np.diff(levels))
    found = asked("start_jump_pixel", "--generated", tmp_path / "a.mp4")
    assert found["value"] == pytest.approx(steps[:8].max() / np.median(steps[8:]), rel=1e-4)
    assert found["value"] == pytest.approx(6, abs=0.8) and np.nanargmax(np.array(found["curve"], float)) == 1


def test_drift_is_that_of_the_similarity_to_the_photo(tmp_path, monkeypatch):
    # a backbone that reads an angle off the level of grey: the cosine to the photo falls as the level rises
    def embed(network, pictures, others):
        angle = pictures.mean((1, 2, 3)) / 255 * np.pi / 2
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    drift = next(metric for metric in IDENTITY if metric.name == "identity_person_drift")
    (name,) = drift.backbones

    class Network:
        def to(self, device):
            return self

    weightless = Backbone(name, 1, "angle", "angle", (), lambda files: Network(), lambda seed: Network(), embed)
    monkeypatch.setattr(features, "BACKBONES", {name: weightless})
    monkeypatch.setattr("evaluation.metrics.person.crops", lambda pictures, track: pictures)
    monkeypatch.setattr("model.pose.estimator.build_estimator", lambda settings: single_video.Known([swaying(0.3)]))
    levels = flat(tmp_path / "a.mp4", np.linspace(0, 120, FRAMES).round(), size=(320, 320))
    from PIL import Image

    Image.fromarray(np.zeros((320, 320, 3), np.uint8)).save(tmp_path / "photo.png")
    swaying(0.3).save(tmp_path / "made.npz")
    files = ("--reference", tmp_path / "photo.png", "--generated-pose", tmp_path / "made.npz")
    monkeypatch.chdir(tmp_path)
    work = f"work={tmp_path / 'work'}"
    found = asked(drift.name, "--generated", tmp_path / "a.mp4", *files, work)
    assert found["reason"] is None
    assert not (tmp_path / "work").exists(), "a number needs no work folder"
    with claim(config.load("demo", [work, "resources.memory_gb=0.1", "resources.disk_gb=0.01"])) as workspace:
        asked(drift.name, "--generated", tmp_path / "a.mp4", *files, work)
    assert list((workspace.evaluation_scores / "features").rglob("*.npy"))
    similarity, half_second = np.cos(levels / 255 * np.pi / 2), round(0.5 * FPS)
    wanted = similarity[:half_second].mean() - similarity[-half_second:].mean()
    assert found["value"] == pytest.approx(wanted, abs=1e-4) and wanted > 0.2


def test_a_reference_of_another_aspect_is_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "wide.png")
    flat(tmp_path / "square.mp4", [10, 20], size=(96, 96))
    with pytest.raises(UsageError, match="wide.png is 96x64, the video 96x96"):
        asked("first_frame_psnr", "--generated", tmp_path / "square.mp4", "--reference", tmp_path / "wide.png")


def test_rules_without_a_driver_are_refused(tmp_path):
    flat(tmp_path / "a.mp4", [10, 20])
    for rule in ("--same-source", "--by-index"):
        with pytest.raises(UsageError, match=f"{rule} says(?s:.*)--driving"):
            asked("temporal_flickering", "--generated", tmp_path / "a.mp4", rule)


def test_the_noise_floor_is_the_driver_against_itself(tmp_path, monkeypatch):
    flat(tmp_path / "dance.mp4", [120] * FRAMES, size=(320, 320))
    monkeypatch.setattr("model.pose.estimator.build_estimator", lambda settings: single_video.Known([swaying(0.3, 1)]))
    swaying(0.3).save(tmp_path / "dance.npz")
    driver = ("--driving", tmp_path / "dance.mp4", "--driving-pose", tmp_path / "dance.npz")
    found = asked("motion_lag", "--noise-floor", *driver)
    assert found["noise_floor"] == pytest.approx(1, abs=1e-9) and found["id"].startswith("motion_lag@")
    assert asked("motion_lag", "--noise-floor", *driver[:2])["noise_floor"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="psnr is no metric of motion(?s:.*)motion_lag"):
        asked("psnr", "--noise-floor", *driver)
    for missing in (["motion_lag", "--noise-floor"], ["motion_lag"]):
        assert CliRunner().invoke(steadydancer.app, ["metric", *missing]).exit_code == 2
    monkeypatch.setattr("model.pose.estimator.build_estimator", lambda settings: single_video.Known([]))
    with pytest.raises(SteadyDancerError, match="Nobody was found"):
        asked("motion_lag", "--noise-floor", *driver[:2])


def test_what_is_missing_is_said_and_nothing_is_invented(tmp_path, moving):
    flat(tmp_path / "a.mp4", [10, 20])
    found = asked("first_frame_psnr", "--generated", tmp_path / "a.mp4")
    assert (found["value"], found["status"], found["reason"]) == (None, "not_computable", "no reference image")
    found = asked("subject_consistency", "--generated", tmp_path / "a.mp4", f"work={tmp_path}")
    assert found["status"] == "not_computable" and "evaluate.weights.dino_vitb16" in found["reason"]
    with pytest.raises(UsageError, match="'flickering'"):
        asked("flickering", "--generated", tmp_path / "a.mp4")
    short = swaying(0.3)[:5]
    with pytest.raises(UsageError, match="5 frames, its video 48"):
        asked("motion_lag", *moving(short, swaying(0.3)))
