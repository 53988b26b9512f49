"""Counting people, and keeping the track of one."""

import numpy as np
import pytest

from infra import config
from infra.workspace import Workspace
from model.pose.tracks import PoseTrack, read_pose_file
from pipelines.pose.people import CleanTrack, CountPeople, SaveTrack
from pipelines.stages import pose_unit
from pipelines.work.stage import PerProcess


def counted(counts, frames=81):
    seen = []

    class Counter:
        def count_people(self, pictures):
            seen.extend(int(picture[0, 0, 0]) for picture in pictures)
            return np.array(counts)

    images = np.zeros((frames, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = range(frames)
    people = CountPeople(PerProcess({"test": str(counts)}, lambda settings: Counter()), len(counts))
    return people({"images": images}), seen


def test_people_are_counted_on_frames_spread_over_the_window():
    row, seen = counted([1, 1, 2, 1, 1])
    assert row == {"people": 1.0, "people_max": 2.0, "people_wavering": pytest.approx(0.2), "single_person": 0.8}
    assert seen == [8, 24, 40, 56, 72]


@pytest.mark.parametrize(
    ("counts", "wavering"), [([1, 1, 1], 0.0), ([0, 0], 0.0), ([2, 2, 2, 2], 0.0), ([1, 2], 0.5), ([1, 2, 2, 2], 0.25)]
)
def test_wavering_is_the_distance_of_the_mean_from_a_whole_number(counts, wavering):
    assert counted(counts)[0]["people_wavering"] == wavering


def moving(frames=20):
    points = np.random.default_rng(0).uniform(0, 100, (133, 2)) + np.arange(frames)[:, None, None]
    return PoseTrack(np.float32(points), np.full((frames, 133), 0.9, np.float32))


def test_cleaned_on_request_and_the_estimators_scores_are_kept(tmp_path):
    track = moving()
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


def test_nobody_leaves_no_pose_and_a_preview_all_the_same(tmp_path):
    row = {"images": np.zeros((3, 90, 160, 3), np.uint8), "fps": 16.0, "folder": tmp_path}
    SaveTrack()(row | {"track": None, "confidence": None, "cleaning": None})
    assert [path.name for path in tmp_path.iterdir()] == ["preview.jpg"]


def test_a_dataset_is_cleaned_only_where_the_config_says_so_and_workers_get_the_operational_settings(tmp_path):
    def stages(*overrides):
        return pose_unit(config.load("demo", list(overrides)), Workspace(tmp_path)).stages

    assert not any(isinstance(stage, CleanTrack) for stage in stages())
    assert any(isinstance(stage, CleanTrack) for stage in stages("pose.clean=always"))
    (people,) = [stage for stage in stages("pose.threads=3") if isinstance(stage, CountPeople)]
    assert people.estimator.operational["threads"] == 3 and "threads" not in people.settings()["pose"]
