"""Scores against frames and tracks whose values are known."""

import numpy as np
import pytest

from infra import config
from infra.workspace import Workspace
from model import video
from model.pose.tracks import PoseTrack, read_pose_file
from pipelines.curate import score_unit
from pipelines.scores import (
    CleanTrack,
    CountPeople,
    MeasureBody,
    MeasureLight,
    ReadWindow,
    SaveTrack,
    analysis_size,
    body_speed,
)
from pipelines.stage import PerProcess


def body(shift_per_frame, frames=20, torso=28.8, visible=17):
    """A rigid body, 100 px tall by its torso, that moves right."""
    points = np.random.default_rng(0).uniform(0, 100, (133, 2))
    points[[5, 6]], points[[11, 12]] = (50, 10), (50, 10 + torso)
    track = np.stack([points + (number * shift_per_frame, 0) for number in range(frames)])
    scores = np.zeros((frames, 133))
    scores[:, [5, 6, 11, 12, 0, 1, 2, 3, 4, 7, 8, 9, 10, 13, 14, 15, 16][:visible]] = 0.9
    return PoseTrack(track.astype(np.float32), scores.astype(np.float32))


@pytest.mark.parametrize("fps", [8.0, 16.0])
def test_speed_is_in_body_heights_per_second(fps):
    assert body_speed(body(2.0), fps) == pytest.approx(2.0 * fps / 100, rel=1e-4)
    assert body_speed(body(0.0), fps) == 0.0


def test_speed_does_not_depend_on_the_size_of_the_picture():
    small = body(2.0)
    assert body_speed(small.resized((100, 100), (400, 400)), 16.0) == pytest.approx(body_speed(small, 16.0), rel=1e-4)


def test_hidden_joints_do_not_count_and_a_body_without_a_trunk_has_no_speed():
    track = body(2.0)
    wild = track.keypoints.copy()
    wild[::2, 9] += 500  # the left wrist jumps, unseen
    scores = track.scores.copy()
    scores[:, 9] = 0
    assert body_speed(PoseTrack(wild, scores), 16.0) == pytest.approx(0.32, rel=1e-4)
    scores[:, 11:13] = 0
    assert body_speed(PoseTrack(wild, scores), 16.0) is None


def test_visibility_is_the_share_of_frames_with_ten_joints():
    track = body(1.0)
    scores = track.scores.copy()
    scores[:5, 7:17] = 0
    row = MeasureBody()({"track": PoseTrack(track.keypoints, scores), "fps": 16.0})
    assert row["body_visibility"] == 0.75
    assert row["body_confidence"] == pytest.approx(0.9 * (5 * 7 + 15 * 17) / (20 * 17), rel=1e-5)
    assert MeasureBody()({"track": None, "fps": 16.0}) == {
        "body_confidence": 0.0,
        "body_visibility": 0.0,
        "body_speed": None,
    }


def test_light():
    images = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (100, 110, 100)])
    assert MeasureLight()({"images": images}) == {"brightness": pytest.approx(103.333333), "pixel_change": 10.0}


def test_people_are_counted_on_frames_spread_over_the_window():
    seen = []

    class Counter:
        def count_people(self, frames):
            seen.extend(int(frame[0, 0, 0]) for frame in frames)
            return np.array([1, 1, 2, 1, 1])

    images = np.zeros((81, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = range(81)
    row = CountPeople(PerProcess({"test": "spread"}, lambda settings: Counter()), 5)({"images": images})
    assert row == {"people": 1.0, "single_person": 0.8}
    assert seen == [8, 24, 40, 56, 72]


def test_windows_are_read_at_analysis_size(tmp_path):
    path = video.write(tmp_path / "v.mp4", (np.full((96, 64, 3), 2 * n, np.uint8) for n in range(60)), 30.0)
    row = {"path": str(path), "start": 0.5, "frames": 9, "fps": 10.0, "height": 96, "width": 64}
    images = ReadWindow()(row)["images"]
    assert images.shape == (9, 96, 64, 3)
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([30 + 6 * n for n in range(9)], abs=1.5)
    height, width = analysis_size(1920, 1080)
    assert height * width == pytest.approx(640 * 640, rel=0.01) and height / width == pytest.approx(16 / 9, rel=0.01)
    assert analysis_size(96, 64) == (96, 64)


def test_cleaned_on_request_and_the_estimators_scores_are_kept(tmp_path):
    track = body(1.0)
    track.scores[8:10, 9] = 0.1
    row = {"images": np.zeros((20, 100, 100, 3), np.uint8), "fps": 16.0, "folder": tmp_path}
    row |= {"track": track, "confidence": None, "cleaning": None}
    SaveTrack()(row)
    saved = read_pose_file(tmp_path / "pose.npz")
    assert saved.confidence is None and saved.about == {"fps": 16.0, "size": [100, 100], "cleaning": None}
    row |= CleanTrack(0.25, 0.3)(row)
    SaveTrack()(row)
    saved = read_pose_file(tmp_path / "pose.npz")
    assert np.array_equal(saved.confidence, track.scores) and saved.about["cleaning"]["fill_seconds"] == 0.25
    assert (saved.track.scores[8:10, 9] > 0.8).all()
    assert CleanTrack(0.25, 0.3)({"track": None, "fps": 16.0}) == {}


def test_a_dataset_is_cleaned_only_where_the_config_says_so_and_workers_get_the_operational_settings(tmp_path):
    def stages(*overrides):
        return score_unit(config.load("demo", list(overrides)), Workspace(tmp_path)).stages

    assert not any(isinstance(stage, CleanTrack) for stage in stages())
    assert any(isinstance(stage, CleanTrack) for stage in stages("pose.clean=always"))
    (people,) = [stage for stage in stages("pose.threads=3") if isinstance(stage, CountPeople)]
    assert people.estimator.operational["threads"] == 3 and "threads" not in people.settings()["pose"]
