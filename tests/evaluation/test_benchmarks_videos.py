"""Videos made elsewhere, found by the names of the pairs, and what videos cost that are made here."""

import time

import pyarrow.parquet as pq
import pytest

from evaluation.cost import COST, measured, write_cost, write_costs
from evaluation.pairs import Pair
from evaluation.tasks import Failure
from evaluation.videos import find_videos
from infra import commits
from infra.config import load
from infra.errors import SteadyDancerError, UsageError

PAIRS = [Pair(name, "different_source", "r", "d", "", {}) for name in ("a", "b", "b-1x", "c-2")]


def files(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"mp4")
    return folder


def test_each_pair_has_its_video_or_says_that_it_has_none(tmp_path):
    folder = files(tmp_path / "theirs", "a.mp4", "c-2.mp4", "b-1x.mp4", "a.txt")
    found, notices = find_videos("theirs", folder, PAIRS)
    assert list(found) == [("theirs", pair.id, 0) for pair in PAIRS] and not notices
    assert found["theirs", "a", 0] == folder / "a.mp4" and found["theirs", "c-2", 0] == folder / "c-2.mp4"
    assert found["theirs", "b", 0] == Failure(f"missing: {folder} has no b.mp4")


def test_every_seed_of_a_pair_is_found_and_unequal_numbers_are_told(tmp_path):
    folder = files(tmp_path / "theirs", "a-10.mp4", "a-9.mp4", "b-3.mp4", "c-2-7.mp4", "stranger.mp4", "z-1.mp4")
    found, notices = find_videos("theirs", folder, PAIRS)
    names = {key[1:]: None if isinstance(video, Failure) else video.name for key, video in found.items()}
    expected = {("a", 9): "a-9.mp4", ("a", 10): "a-10.mp4", ("b", 3): "b-3.mp4", ("c-2", 7): "c-2-7.mp4"}
    assert names == {**expected, ("b-1x", 0): None}
    assert "OTHER NUMBERS OF SEEDS: theirs has 1 to 2 videos of a pair" in notices[0]
    assert "2 videos" in notices[1] and "stranger.mp4" in notices[1]


def test_what_is_no_file_is_a_failure_of_its_pair(tmp_path):
    folder = files(tmp_path / "theirs", "a.mp4")
    (folder / "b.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (folder / "b-1x.mp4").mkdir()
    found, notices = find_videos("theirs", folder, PAIRS)
    for name in ("b", "b-1x"):
        assert found["theirs", name, 0] == Failure(f"missing: {folder / f'{name}.mp4'} is no file that can be read")
    assert found["theirs", "a", 0] == folder / "a.mp4" and not notices


def test_two_files_of_one_seed_are_told(tmp_path):
    _, notices = find_videos("theirs", files(tmp_path / "theirs", "a-01.mp4", "a-1.mp4"), PAIRS)
    assert "OF NO PAIR: theirs has 1 videos" in notices[0] and "a-1.mp4" in notices[0]
    found, notices = find_videos("theirs", files(tmp_path / "both", "a.mp4", "a-0.mp4"), PAIRS)
    assert found["theirs", "a", 0].name == "a.mp4" and "a-0.mp4" in notices[0]
    found, notices = find_videos("theirs", files(tmp_path / "long", "a.mp4", f"a-{10**20}.mp4"), PAIRS)
    assert found["theirs", "a", 0].name == "a.mp4" and f"a-{10**20}.mp4" in notices[0]


def test_a_folder_of_other_pairs_is_refused(tmp_path):
    with pytest.raises(SteadyDancerError, match="not one of 4 pairs, such as a.mp4"):
        find_videos("theirs", files(tmp_path / "theirs", "x.mp4"), PAIRS)
    with pytest.raises(SteadyDancerError, match="evaluate.videos.theirs: .*nowhere is no folder"):
        find_videos("theirs", tmp_path / "nowhere", PAIRS)


def test_the_config_takes_a_folder_or_a_folder_with_a_time_map():
    videos = load("demo", ["evaluate.videos={a: x, b: {folder: y, time_map: index}}"]).evaluate.videos
    assert (videos["a"].folder, videos["a"].time_map) == ("x", None)
    assert (videos["b"].folder, videos["b"].time_map) == ("y", "index")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluate.videos={stage1: x}", "name of two of models"),
        ("evaluate.videos={a/b: x}", "is no name"),
        ("evaluate.videos={a: {folder: x, time_map: backwards}}", "time_map"),
        ("evaluate.models=[]", "nothing to score"),
        ("evaluate.models=[stage1, stage1]", "twice"),
        ("evaluate.models=[stage4]", "models.0"),
        ("evaluate.mini={references: 0, same_source: 0}", "no pair"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(override, told):
    with pytest.raises(UsageError, match=told):
        load("demo", [override])


def test_videos_alone_or_another_benchmark_need_no_pairs_of_the_dataset():
    alone = load("demo", ["evaluate.models=[]", "evaluate.videos={a: x}"]).evaluate
    assert alone.models == [] and list(alone.videos) == ["a"]
    elsewhere = load("demo", ["evaluate.benchmark=mini", "evaluate.same_source=0", "evaluate.different_source=0"])
    assert (elsewhere.evaluate.same_source, elsewhere.evaluate.different_source) == (0, 0)


def test_a_cost_is_recorded_beside_the_video_and_outside_its_id(tmp_path):
    units = {}
    for name, pause in (("a", 0.0), ("b", 0.02)):
        with commits.write(tmp_path / name, "generation", about=[COST]) as folder:
            with measured() as cost:
                time.sleep(pause)
            cost.frames, cost.nfe = 5, 18
            write_cost(folder / COST, cost)
        units["model", name, 0] = commits.read(tmp_path / name)
    assert units["model", "a", 0].id == units["model", "b", 0].id
    with commits.write(tmp_path / "c", "generation"):
        pass
    units["model", "c", 0], units["model", "d", 0] = commits.read(tmp_path / "c"), Failure("none")
    units["theirs", "a", 0] = tmp_path / "a.mp4"
    write_costs(tmp_path / "costs.parquet", units)
    rows = pq.read_table(tmp_path / "costs.parquet").to_pylist()
    assert [(row["model"], row["pair"], row["seed"]) for row in rows] == [("model", "a", 0), ("model", "b", 0)]
    assert rows[0]["seconds"] < 0.02 <= rows[1]["seconds"] < 1
    assert all((row["frames"], row["nfe"], row["device"]) == (5, 18, "cpu") and row["peak_mib"] > 1 for row in rows)
