"""The rendered benchmark: every kind of misalignment is in it, its poses are known, and it is the same every time."""

from collections import Counter

import pytest

from evaluation.benchmarks.cast import KINDS
from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.mini import mini_benchmark
from evaluation.benchmarks.poses import Poses
from infra import commits
from infra.config import load

SMALL = [
    *("clip.frames=5", "evaluate.mini.short_side=96", "evaluate.mini.drivers=3"),
    *("evaluate.mini.references=2", "evaluate.mini.same_source=1"),
]
CONFIG = load("demo", SMALL)


def never(settings):
    raise AssertionError("the mini benchmark brings its poses")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return mini_benchmark(tmp_path_factory.mktemp("mini") / "benchmark", CONFIG)


@pytest.fixture(scope="module")
def benchmark(made):
    return folder_benchmark(made.path, Poses(made.path / "kept", CONFIG.pose, never), parents=(made,))


def test_it_is_a_commit_made_once_and_the_same_anew(made, tmp_path):
    assert made.kind == "benchmark" and commits.verify(made)
    before = (made.path / "COMMIT.json").stat().st_mtime_ns
    assert mini_benchmark(made.path, CONFIG).id == made.id
    assert (made.path / "COMMIT.json").stat().st_mtime_ns == before
    one = load("demo", [*SMALL, "evaluate.mini.drivers=1"])
    first = mini_benchmark(tmp_path / "again", one)
    damaged = tmp_path / "again/benchmark.yaml"
    damaged.write_text(damaged.read_text().replace("mini", "maxi"))
    assert mini_benchmark(tmp_path / "again", one).id == first.id and "maxi" not in damaged.read_text()
    assert (
        mini_benchmark(tmp_path / "again", load("demo", [*SMALL, "evaluate.mini.drivers=1", "seed=3"])).id != first.id
    )


def test_every_kind_of_misalignment_is_in_it_and_is_what_it_says(benchmark):
    by_kind = {pair.strata["misalignment"]: pair for pair in benchmark.pairs}
    assert by_kind.keys() == {*KINDS, "none"} and len({pair.driving for pair in benchmark.pairs}) == 3
    strata = {kind: pair.strata for kind, pair in by_kind.items()}
    assert strata["start_gap"]["start_gap_deg"] > 20
    assert all(strata[kind]["start_gap_deg"] < 8 for kind in KINDS if kind != "start_gap")
    assert strata["half_body"]["framing"] == "half" and strata["half_body"]["visibility_gap"] > 0.3
    assert all(strata[kind]["framing"] == "full" for kind in KINDS if kind != "half_body")
    assert strata["proportions"]["proportion_gap"] > 0.08 > strata["style"]["proportion_gap"]
    assert [kind for kind in KINDS if strata[kind]["style"] == "anime"] == ["style"]
    assert {pair.strata["dynamics"] for pair in benchmark.pairs} == {"high", "low"}
    assert by_kind["none"].kind == "same_source"


def test_pairs_open_with_known_poses_at_another_frame_rate(benchmark, made):
    for pair in benchmark.pairs:
        opened = benchmark.open(pair)
        assert len(opened.driving) == len(opened.driving_frames) and opened.driving_fps == 24
        assert len(opened.condition_pose(CONFIG)) == 5
        assert opened.time_map(5, 16.0).tolist() == [0, 1, 3, 4, 6]
    assert benchmark.parents == (made,)
    styled = next(pair for pair in benchmark.pairs if pair.strata["style"] == "anime")
    plain = next(pair for pair in benchmark.pairs if pair.strata["misalignment"] == "plain")

    def flat(pair):
        """The share of the picture that its ten commonest colours cover."""
        colours = Counter(map(tuple, benchmark.open(pair).reference.reshape(-1, 3).tolist()))
        return sum(count for _, count in colours.most_common(10)) / colours.total()

    assert flat(styled) > 0.7 > 2 * flat(plain)
