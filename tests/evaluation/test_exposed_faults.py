"""Which metric tells which fault, on rendered dancers whose joints are known; the README's table is this one."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks import cast
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.registry import METRICS
from evaluation.single_video import Known
from infra import config
from model.pose.tracks import PoseTrack

FPS, LAG = 16.0, 4
SIDES = [(left, left + 1) for left in range(1, 17, 2)] + [(left, left + 3) for left in (17, 18, 19)]
SIDES += [(left, left + 21) for left in range(91, 112)]
EXPOSED = {
    "frozen": {"motion_energy_ratio", "velocity_correlation"},
    "another person after the first frame": {"start_jump_pixel", "bone_angle_error"},
    "late": {"motion_lag", "velocity_correlation"},
    "mirrored": {"velocity_correlation", "bone_angle_error"},
}
SOUND = {
    # metric -> what it says of a video without fault
    "start_jump_pixel": lambda value: value < 3,
    "settled": lambda value: value == 1,
    "bone_angle_error": lambda value: value < 10,
    "motion_driving_accuracy": lambda value: value > 0.9,
    "motion_energy_ratio": lambda value: 0.7 < value < 1.4,
    "velocity_correlation": lambda value: value > 0.7,
    "motion_lag": lambda value: abs(value) < 1,
    "temporal_flickering": lambda value: value > 0.9,
}


@pytest.fixture(scope="module")
def takes():
    settings = config.load("demo", ["clip.frames=49", "evaluate.mini.fps=16", "evaluate.mini.short_side=96"])
    return [cast.driver(settings, number) for number in (0, 1)]


def mirrored(track: PoseTrack, width: int) -> PoseTrack:
    """What an estimator sees in a mirrored picture: left and right change their names too."""
    points, scores = track.keypoints.copy(), track.scores.copy()
    points[..., 0] = width - 1 - points[..., 0]
    for left, right in SIDES:
        points[:, [left, right]], scores[:, [left, right]] = points[:, [right, left]], scores[:, [right, left]]
    return PoseTrack(points, scores)


def videos(takes) -> dict[str, tuple[np.ndarray, PoseTrack]]:
    dancer, other = takes
    frames, track = dancer.frames, dancer.track
    count, still, late = len(frames), np.zeros(len(frames), int), np.maximum(np.arange(len(frames)) - LAG, 0)
    size = frames.shape[1:3]
    from model.video import resize

    others = np.stack([resize(frame, size) for frame in other.frames[:count]])
    their = other.track.resized(other.frames.shape[1:3], size)
    points = np.concatenate([track.keypoints[:1], their.keypoints[1:count]])
    return {
        "sound": (frames, track),
        "frozen": (frames[still], PoseTrack(track.keypoints[still], track.scores[still])),
        "another person after the first frame": (
            np.concatenate([frames[:1], others[1:]]),
            PoseTrack(points, np.concatenate([track.scores[:1], their.scores[1:count]])),
        ),
        "late": (frames[late], PoseTrack(track.keypoints[late], track.scores[late])),
        "mirrored": (frames[:, :, ::-1], mirrored(track, size[1])),
    }


def answers(takes) -> dict[str, dict[str, float | None]]:
    dancer = takes[0]
    said = {}
    for name, (frames, track) in videos(takes).items():
        evidence = Evidence(
            generated=np.ascontiguousarray(frames),
            fps=FPS,
            reference=dancer.frames[0],
            reference_pose=dancer.track[:1],
            driving_frames=dancer.frames,
            driving=dancer.track,
            driving_fps=FPS,
            estimator=Known([track]),
        )
        said[name] = {metric: METRICS[metric].score(evidence).value for metric in SOUND}
    return said


def test_every_fault_is_told_by_a_metric_and_a_sound_video_by_none(takes):
    said = answers(takes)
    told = {
        name: {metric for metric, sound in SOUND.items() if values[metric] is not None and not sound(values[metric])}
        for name, values in said.items()
    }
    assert None not in said["sound"].values()
    assert told.pop("sound") == set()
    for fault, metrics in EXPOSED.items():
        assert metrics <= told[fault], (fault, said[fault])
    assert said["late"]["motion_lag"] == LAG
    assert "temporal_flickering" not in told["frozen"]  # which stillness pleases


def test_the_readme_says_which():
    rows = [line for line in Path(__file__).parents[2].joinpath("README.md").read_text().splitlines() if "|" in line]
    for fault, metrics in EXPOSED.items():
        (row,) = [line for line in rows if line.startswith(f"| {fault} |")]
        assert all(f"`{metric}`" in row for metric in metrics)
