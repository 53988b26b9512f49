"""The curate step on the real engine, with a stand-in that finds white figures instead of people."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import figures
import pyarrow.parquet as pq
import pytest
from figures import content, curated, film, ray_with, settings, write_corpus

from infra import commits
from infra.errors import SteadyDancerError
from infra.workspace import Workspace
from pipelines.checks.validation import DatasetRefused
from pipelines.curate import outdated


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def one_worker(corpus, tmp_path_factory):
    work = tmp_path_factory.mktemp("one")
    with ray_with(1, work):
        return curated([corpus], work)


@pytest.fixture(scope="module")
def two_workers(one_worker, tmp_path_factory):
    with ray_with(2, tmp_path_factory.mktemp("two")):
        yield


def rows_of(commit):
    return pq.read_table(commit.path / "manifest.parquet").to_pylist()


def verdicts(commit):
    return sorted((row["source"], row["reason"] or "kept") for row in rows_of(commit))


def test_everything_found_is_in_the_manifest_with_its_reason(one_worker, corpus):
    commit, run = one_worker
    rows = rows_of(commit)
    assert verdicts(commit) == sorted(
        [(f"good{n}.mp4", "kept") for n in range(4)]
        + [("inner/two.mp4", "person_count"), ("nobody.mp4", "person_count"), ("static.mp4", "motion")]
        + [("short.mp4", "too_short"), ("cut.mp4", "kept"), ("cut.mp4", "kept"), ("text.mp4", "unreadable")]
        + [("empty.mkv", "unreadable"), ("zz copy of good0.mp4", "duplicate")]
    )
    assert [row["clip_id"] for row in rows] == sorted({row["clip_id"] for row in rows})
    assert str(corpus) not in str(rows), "the manifest tells where the data lay"
    assert next(row["caption"] for row in rows if row["source"] == "good1.mp4") == "A figure swings."
    cuts = sorted((row["start"], row["shot_end"]) for row in rows if row["source"] == "cut.mp4")
    assert cuts[0][0] + 0.9 <= 1.2 - 0.05 + 1e-9 and cuts[1][0] >= 1.2 + 0.05 - 1e-9
    assert run.metrics["kept"] == 6 and run.metrics["rejected.person_count"] == 2 and run.artifacts == ["report.html"]
    commits.verify(commit)


def finished_units(work):
    """Identities of the units that a ledger says are done."""
    lines = [line for path in work.glob("units/*/ledger/*.jsonl") for line in path.read_text().splitlines()]
    return Counter(json.loads(line)["identity"] for line in lines)


def moved(corpus, folder):
    """The same files elsewhere, named one by one in another order."""
    shutil.copytree(corpus, folder / "moved")
    (folder / "tree").mkdir()
    (folder / "moved" / "inner").rename(folder / "tree" / "inner")
    return [folder / "tree", *sorted((p for p in (folder / "moved").iterdir() if p.suffix != ".txt"), reverse=True)]


def test_killed_and_gone_on_by_two_workers_in_another_order_and_place_gives_the_bytes_of_one_undisturbed_worker(
    one_worker, two_workers, corpus, tmp_path
):
    work = tmp_path / "killed"
    work.mkdir()
    text, environment = figures.driver([corpus], work, 1)
    environment["FIGURE_FINDER_SLEEPS"] = "0.3"
    driver = subprocess.Popen([sys.executable, "-c", text], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while finished_units(work).total() < 14:
        assert driver.poll() is None and time.monotonic() < deadline, "the driver ended before it could be killed"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = finished_units(work)
    assert commits.find(work / "dataset") is None
    commit, _ = curated(moved(corpus, tmp_path), work)
    assert content(commit) == content(one_worker[0])
    assert commit.config == one_worker[0].config and commit.id == one_worker[0].id
    after = finished_units(work)
    assert after.total() > done.total(), "the kill came too late to prove anything"
    assert after.total() == len(after) + 6, "a finished unit was done again: only the six kept clips have two units"


def test_a_source_that_kills_its_worker_costs_itself_only_and_is_tried_again_on_demand(two_workers, corpus, tmp_path):
    film(tmp_path / "killer.mp4", width=50, look=20)
    sources, work = [tmp_path / "killer.mp4", corpus / "good0.mp4"], tmp_path / "work"
    commit, _ = curated(sources, work)
    rows = {row["source"]: row for row in rows_of(commit)}
    assert rows["good0.mp4"]["verdict"] == "kept"
    assert rows["killer.mp4"]["reason"] == "crashed" and "SIGKILL" in rows["killer.mp4"]["error"]
    before = finished_units(work)
    assert curated(sources, work)[0].id == commit.id
    assert finished_units(work) == before, "a failed unit was tried again unasked"
    curated(sources, work, ["curate.retry_failed=true"])
    assert finished_units(work).total() == before.total() + 1


def test_new_and_changed_sources_are_worked_on_and_no_others(two_workers, corpus, tmp_path):
    films, work = tmp_path / "films", tmp_path / "work"
    films.mkdir()
    for name in ("good0.mp4", "good1.mp4"):
        (films / name).write_bytes((corpus / name).read_bytes())
    first, _ = curated([films], work)
    config, workspace = settings([films], work), Workspace(work)
    assert outdated(config, workspace, first) is None
    (films / "good2.mp4").write_bytes((corpus / "good2.mp4").read_bytes())
    (films / "good0.mp4").write_bytes((corpus / "static.mp4").read_bytes())
    assert "sources" in outdated(config, workspace, first)
    before = finished_units(work)
    second, _ = curated([films], work)
    assert verdicts(second) == [("good0.mp4", "motion"), ("good1.mp4", "kept"), ("good2.mp4", "kept")]
    new = finished_units(work) - before
    assert new and not new.keys() & before.keys(), "what was done already was done again"
    gates = tmp_path / "gates.yaml"
    gates.write_text("- {column: brightness, min: 0, reason: too_dark}\n")
    assert "gates" in outdated(settings([films], work, [f"curate.gates={gates}"]), workspace, second)


def test_no_clip_kept_is_an_error_with_the_reasons_and_nothing_is_committed(two_workers, corpus, tmp_path):
    with pytest.raises(SteadyDancerError, match=r"No clip was kept: 1 found.*1 motion"):
        curated([corpus / "static.mp4"], tmp_path / "work")
    assert commits.find(tmp_path / "work" / "dataset") is None


def test_a_breach_refuses_the_commit_and_names_rule_and_clip(two_workers, corpus, tmp_path, monkeypatch):
    splits = iter(["train", None])
    monkeypatch.setattr("pipelines.dataset.splits", lambda ids: dict(zip(sorted(set(ids)), splits, strict=True)))
    with pytest.raises(DatasetRefused, match=r"kept: split is there: clips [0-9a-f]{20}"):
        curated([corpus / "good0.mp4", corpus / "good1.mp4"], tmp_path / "work")
    assert commits.find(tmp_path / "work" / "dataset") is None
    assert not (tmp_path / "work" / "dataset").exists()
