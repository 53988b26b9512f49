"""A dataset judged again by other gates: what stays, what goes, and what it would take to have more."""

import contextlib
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import FPS, FRAMES, GATES, files, row, world

from infra import commits
from infra.errors import SteadyDancerError
from pipelines import dataset, publish, shards
from pipelines.columns import COLUMNS
from pipelines.gates import HAS_BODY, Gate, Gates, judge
from pipelines.regate import judged_again, regate, regate_dataset

CONFIG = {
    "clip": {"frames": FRAMES, "fps": FPS},
    "curate": {"shard_clips": 4, "shard_mb": 100.0, "windows_per_shot": 1},
    "rights": {"required": ["licence"]},
}
OUTPUT = [column.name for column in COLUMNS if column.role == "output"]
LOOSER = Gates((Gate("brightness", "too_dark", min=0.5), HAS_BODY))
OTHER = """
about: hands are asked for, and neither light nor a single person any more
gates:
  - {column: hand_visibility, min: 0.5, reason: hands}
  - {column: contrast, min: 0.1, reason: flat}
tiers:
  long: [{column: duration, min: 1.0, reason: length}]
base_tier: plain
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    meta = {"sources": "digest of the sources"}
    with commits.write(folder / "dataset", "dataset", config=CONFIG, meta=meta) as draft:
        rows = dataset.write_shards(draft / dataset.SHARDS, world().values(), files(folder), 4, 100.0)
        dataset.write_manifest(draft / dataset.MANIFEST, rows)
    return commits.read(folder / "dataset")


@pytest.fixture(scope="module")
def said_and_made(committed, tmp_path_factory):
    """What the command prints, words apart by one space, and what it commits."""
    folder = tmp_path_factory.mktemp("after")
    (folder / "other.yaml").write_text(OTHER)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        regate_dataset(committed.uri, str(folder / "other.yaml"), str(folder / "dataset"))
    return " ".join(said.getvalue().split()), commits.read(folder / "dataset")


@pytest.fixture(scope="module")
def made(said_and_made):
    return said_and_made[1]


def by_name(commit):
    """Rows of the dataset by the names that `world` gives them."""
    rows = {row["clip_id"]: row for row in dataset.manifest_of(commit)}
    return {name: rows[row["clip_id"]] for name, row in world().items()}


def test_a_new_dataset_descends_from_the_old_one_and_says_by_what_it_was_judged(committed, made):
    assert made.kind == "dataset" and [parent.id for parent in made.parents] == [committed.id]
    assert made.config == committed.config and made.meta["sources"] == "digest of the sources"
    assert made.meta["gates"]["base_tier"] == "plain" and made.meta["funnel"]["kept"] == 4
    assert (made.path / publish.REPORT).stat().st_size and (made.path / publish.CHECKS).stat().st_size
    commits.verify(made)


def test_clips_that_fail_now_are_gone_from_manifest_and_shards(made):
    rows = by_name(made)
    assert {name: row["reason"] for name, row in rows.items()} == {
        **dict.fromkeys(("plain", "best", "fourth", "fifth"), None),
        "low": "hands",
        "spare": "spare",
        "same": "duplicate",
        "two": "not_stored",
        "dark": "not_scored",
        "noise": "unreadable",
        "copy": "duplicate",
        "short": "too_short",
    }
    assert {rows["low"][name] for name in OUTPUT} == {None}


def test_kept_clips_have_the_bytes_they_had_and_their_new_tier(committed, made):
    before, after = by_name(committed), by_name(made)
    for name in ("plain", "best", "fourth", "fifth"):
        assert after[name]["tier"] == "plain" and after[name]["missed"] == ["length"]
        old, new = (
            shards.read(commit.path / "shards", *(rows[name][key] for key in ("shard", "offset", "bytes")))
            for commit, rows in ((committed, before), (made, after))
        )
        assert json.loads(new.pop("json"))["tier"] == "plain" and json.loads(old.pop("json"))["tier"] == "hq"
        assert new == old


def test_what_would_be_kept_but_is_not_there_is_counted_and_the_command_is_told(said_and_made):
    said, _ = said_and_made
    assert "1 more would pass these gates and were measured by their pictures alone (not_scored)" in said
    assert "1 more would pass these gates and were never stored (not_stored)" in said
    assert "steadydancer curate curate.gates=" in said and "other.yaml" in said


def test_nothing_is_committed_where_nothing_is_kept_or_something_lies_there(committed, tmp_path):
    with pytest.raises(SteadyDancerError, match=r"No clip of .* is kept: .*too_dark"):
        regate(committed, Gates((Gate("brightness", "too_dark", min=255), HAS_BODY)), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SteadyDancerError, match="holds a committed artifact already"):
        regate(committed, GATES, committed.uri)


def test_the_same_gates_again_change_nothing(committed):
    rows = dataset.manifest_of(committed)
    assert judged_again(rows, GATES) == rows


def verdicts(rows, gates):
    """Rows by clip id, judged again after they were written to a manifest."""
    written = [{column.name: row.get(column.name) for column in COLUMNS} for row in rows]
    for line in written:
        if line["verdict"] == "kept":
            line["shard"] = "shard-000000.tar"
    return {row["clip_id"]: row for row in judged_again(written, gates)}


def test_where_the_better_clip_is_rejected_now_the_spare_and_the_duplicate_may_be_had_by_curating_again():
    rows = world()
    rows["best"]["brightness"] = rows["plain"]["brightness"] = 0.1
    found = verdicts(rows.values(), LOOSER)
    for name in ("spare", "same"):
        row = found[rows[name]["clip_id"]]
        assert row["reasons"] == ["not_stored"] and row["group"] is None and row["error"] is None
    assert found[rows["best"]["clip_id"]]["group"] is None
    assert found[rows["copy"]["clip_id"]]["reason"] == "duplicate"  # the file is the same whatever the gates are


def test_a_spare_or_duplicate_that_fails_is_rejected_for_that():
    rows = world()
    rows["same"]["brightness"] = rows["spare"]["brightness"] = 0.1
    found = verdicts(rows.values(), LOOSER)
    assert {found[rows[name]["clip_id"]]["reason"] for name in ("same", "spare")} == {"too_dark"}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 255), st.sampled_from(["scan", "pose"])), min_size=1, max_size=8),
    st.floats(0, 255),
)
def test_judging_again_keeps_what_was_stored_and_passes_and_nothing_else(clips, bound):
    rows = [row(f"clip{number}", brightness=light, reached=reached) for number, (light, reached) in enumerate(clips)]
    gates = Gates((Gate("brightness", "too_dark", min=bound), HAS_BODY))
    found = verdicts(rows, gates)
    for before in rows:
        after = found[before["clip_id"]]
        assert (after["verdict"] == "kept") == (before["verdict"] == "kept" and before["brightness"] >= bound)
        if after["reason"] not in (None, "not_stored"):
            assert after["reasons"] == judge(before, gates)["reasons"]
    again = judged_again(judged_again(list(found.values()), LOOSER), gates)
    assert again == list(found.values())  # nothing that was lost comes back, and nothing else is
