"""Which pairs are chosen, and that they are data."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.dataset import choose_pairs
from evaluation.clips import Clip
from evaluation.pairs import Pair, read_pairs, write_pairs
from infra.errors import SteadyDancerError


def clip(number: int, source: int | None = None, held_out=False, size=(64, 48)) -> Clip:
    return Clip(
        clip_id=f"clip{number:03d}",
        source_id=f"source{number if source is None else source:03d}",
        held_out=held_out,
        caption=f"dance {number}",
        size=size,
        fps=16.0,
        shard="shard-000000.tar",
        offset=0,
        bytes=1,
        sha256="",
    )


CLIPS = [clip(n, n // 2, held_out=n >= 8) for n in range(12)]


@given(st.permutations(CLIPS), st.integers(0, 5), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_pairs_do_not_depend_on_the_order_of_clips(shuffled, same, different, seed):
    pairs = choose_pairs(shuffled, same, different, seed)
    assert pairs == choose_pairs(CLIPS, same, different, seed)
    assert len({pair.id for pair in pairs}) == len(pairs) == same + different
    sources = {c.clip_id: c.source_id for c in CLIPS}
    for pair in pairs:
        assert (pair.reference == pair.driving) == (pair.kind == "same_source")
        assert pair.reference == pair.driving or sources[pair.reference] != sources[pair.driving]
        assert pair.prompt == f"dance {int(pair.driving[4:])}"


def test_held_out_clips_come_first():
    pairs = choose_pairs(CLIPS, 5, 4, seed=0)
    assert [int(p.reference[4:]) >= 8 for p in pairs[:5]] == [True] * 4 + [False]
    assert {p.strata["split"] for p in pairs[5:]} == {"held_out"}


def test_every_driver_is_used_before_one_is_used_again():
    pairs = choose_pairs(CLIPS, 0, 12, seed=1)
    assert len({p.driving for p in pairs}) == 12
    again = choose_pairs(CLIPS, 0, 20, seed=1)
    assert again[:12] == pairs and len({p.id for p in again}) == 20


def test_a_pair_keeps_its_id_when_other_clips_come_and_go():
    few, many = choose_pairs(CLIPS[8:], 4, 0, seed=0), choose_pairs(CLIPS, 4, 0, seed=0)
    assert few == many
    assert choose_pairs(CLIPS, 4, 0, seed=7) != many


def test_one_source_gives_no_different_source_pair_and_none_at_all_is_an_error():
    one = [clip(0), clip(1, 0)]
    assert [p.kind for p in choose_pairs(one, 1, 5, seed=0)] == ["same_source"]
    with pytest.raises(SteadyDancerError, match="No pair"):
        choose_pairs(one, 0, 5, seed=0)
    with pytest.raises(SteadyDancerError, match="0 kept clips"):
        choose_pairs([], 2, 2, seed=0)


def test_pairs_survive_their_file(tmp_path):
    pairs = choose_pairs([*CLIPS, replace(clip(50), size=(48, 64))], 13, 5, seed=0)
    write_pairs(tmp_path / "pairs.parquet", pairs)
    assert read_pairs(tmp_path / "pairs.parquet") == pairs
    assert {p.strata["driving_shape"] for p in pairs} == {"portrait", "landscape"}


def test_clips_of_one_source_are_one_cluster_and_a_driver_is_one_by_default():
    pairs = choose_pairs(CLIPS, 2, 12, seed=1)
    assert {p.cluster for p in pairs if p.driving in ("clip008", "clip009")} == {"source004"}
    assert Pair("p", "different_source", "r", "d", "", {}).cluster == "d"


def test_pairs_of_an_older_file_have_their_drivers_as_clusters(tmp_path):
    pairs = choose_pairs(CLIPS, 2, 2, seed=0)
    write_pairs(tmp_path / "pairs.parquet", pairs)
    pq.write_table(pq.read_table(tmp_path / "pairs.parquet").drop_columns("cluster"), tmp_path / "older.parquet")
    assert [p.cluster for p in read_pairs(tmp_path / "older.parquet")] == [p.driving for p in pairs]
