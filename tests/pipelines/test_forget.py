"""A dataset without a source or a person, and what still holds them."""

import dataclasses
import hashlib
import json
import shutil

import pytest
import yaml
from manifests import FPS, FRAMES, GATES, digest, files, row, world

from infra import commits, config
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Rights
from infra.workspace import Workspace, held
from pipelines import dataset, publish, shards
from pipelines.forget import forget, forget_source, home_of, rows_of
from pipelines.gates import HAS_BODY, Gate, Gates
from pipelines.ingest import rights
from pipelines.regate import regate
from pipelines.work.guard import Work
from pipelines.work.ledger import Ledger, Record, Segment, new_run

CONFIG = {
    "clip": {"frames": FRAMES, "fps": FPS},
    "curate": {"shard_clips": 4, "shard_mb": 100.0, "windows_per_shot": 1},
    "rights": {"required": ["licence"]},
}
ROWS = {
    **world(),
    "low": row("low", subject="Zoë Quill", hand_visibility=0.25),
    "two": row("two", subject="Zoë Quill", people=2.0),
    "sixth": row("sixth"),
    "seventh": row("seventh"),
}


def unchecked(patch):
    """Publishing without the checks and the report, which take seconds."""
    patch.setattr(publish.validation, "validate", lambda *args, **options: [])
    patch.setattr(publish.page, "write", lambda path, *args, **options: path.write_text("report"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        unchecked(patch)
        meta = {"sources": "digest of the sources"}
        commit = publish.publish(folder / "work/dataset", ROWS.values(), GATES, files(folder), CONFIG, meta=meta)
    with commits.write(folder / "work/encoded", "encoded", parents=[commit]):
        pass
    with commits.write(folder / "work/stage1", "checkpoint", parents=[commits.read(folder / "work/encoded")]):
        pass
    record = {"chain": "c", "config": config.load("demo").model_dump(mode="json")}
    (folder / "work/config.yaml").write_text(yaml.safe_dump(record))
    return folder / "work"


@pytest.fixture
def checked_work(made, tmp_path):
    shutil.copytree(made, tmp_path / "work")
    return Workspace(tmp_path / "work")


@pytest.fixture
def work(checked_work, monkeypatch):
    unchecked(monkeypatch)
    return checked_work


def everything(commit) -> bytes:
    """All bytes of a dataset, its manifest as text."""
    contents = [(commit.path / name).read_bytes() for name in commit.files if not name.endswith(".parquet")]
    return json.dumps(dataset.manifest_of(commit), ensure_ascii=False).encode() + b"".join(contents)


def by_name(commit):
    names = {made["clip_id"]: name for name, made in ROWS.items()}
    return {names[made["clip_id"]]: made for made in dataset.manifest_of(commit)}


def test_a_person_is_gone_from_every_byte_of_the_new_dataset(checked_work, tmp_path):
    work = checked_work
    old = commits.read(work.dataset)
    assert "Zoë Quill".encode() in everything(old)
    done = forget("Zoë Quill", old, tmp_path / "new", work)
    assert {made["subject"] for made in done.removed} == {"Zoë Quill"} and len(done.removed) == 2
    left = by_name(commits.verify(done.commit))
    assert set(left) == set(ROWS) - {"low", "two"}
    text = everything(done.commit) + (done.commit.path / commits.COMMIT_FILE).read_bytes()
    for name in (
        "Zoë Quill",
        "Zo\\u00eb Quill",
        *(ROWS[n][c] for n in ("low", "two") for c in ("clip_id", "source_id")),
    ):
        assert name.encode() not in text
    assert done.commit.meta["forgotten"] | {"sha256": ""} == {"rows": 2, "clips": 1, "sha256": ""}
    assert done.commit.meta["funnel"]["found"] == len(left) and done.commit.parents[0].id == old.id


def test_what_stays_is_the_same_bytes(work, tmp_path):
    old = commits.read(work.dataset)
    new = forget("Zoë Quill", old, tmp_path / "new", work).commit
    before, after = by_name(old), by_name(new)
    for name, made in after.items():
        if made["verdict"] == "kept":
            members = [
                shards.read(c.path / "shards", r["shard"], r["offset"], r["bytes"])
                for c, r in ((old, before[name]), (new, made))
            ]
            assert members[0] == members[1] and made["sha256"] == before[name]["sha256"]


@pytest.mark.parametrize(
    ("source", "gone"),
    [
        ("world0/plain.mp4", {"plain", "spare", "copy"}),
        ("./world0/fourth.mp4", {"fourth"}),
        (digest(0, "fifth").upper(), {"fifth"}),
        ("world0/same.mp4", {"same", "best"}),
        ("Zoe\u0308 Quill", {"low", "two"}),
    ],
)
def test_what_a_name_takes_with_it(made, source, gone):
    removed = {row["clip_id"] for row in rows_of(source, dataset.manifest_of(commits.read(made / "dataset")))}
    assert removed == {ROWS[name]["clip_id"] for name in gone}


def test_an_unknown_name_is_refused_with_near_ones_and_nothing_is_done(work, tmp_path):
    with pytest.raises(SteadyDancerError, match=r"No source or subject 'Zoe Quil'.*Near: Zoë Quill"):
        forget("Zoe Quil", commits.read(work.dataset), tmp_path / "new", work)
    assert not (tmp_path / "new").exists() and not work.opt_out.exists()


def test_later_curations_do_not_take_it_up_again(work, tmp_path):
    work.opt_out.write_text("somebody")
    old = commits.read(work.dataset)
    forget("world0/same.mp4", old, tmp_path / "new", work)
    forget("world0/same.mp4", old, tmp_path / "once more", work)
    assert work.opt_out.read_text().split("\n") == [
        "somebody", "world0/same.mp4", *sorted(ROWS[name]["source_id"] for name in ("best", "same")), "",
    ]  # fmt: skip
    again = [{**ROWS["best"], "source": "renamed.mp4"}, dict(ROWS["plain"])]
    rights.policy(Rights(), work.opt_out)(again)
    assert [made.get("fault") for made in again] == ["opted_out", None]


def test_all_that_still_holds_it_is_listed(work, tmp_path):
    first = forget("Zoë Quill", commits.read(work.dataset), work.folder / "dataset2", work)
    assert [commit.kind for commit in first.still_held] == ["dataset", "encoded", "checkpoint"]
    second = forget("world0/plain.mp4", first.commit, tmp_path / "dataset3", work)
    assert [commit.uri.rpartition("/")[2] for commit in second.still_held] == [
        "dataset", "dataset2", "encoded", "stage1",
    ]  # fmt: skip
    (work.folder / "stage1/COMMIT.json").write_text("{")
    assert forget("world0/plain.mp4", first.commit, tmp_path / "4", work).unclear == [str(work.folder / "stage1")]


def test_what_was_forgotten_before_does_not_come_back_from_an_older_dataset(work, tmp_path, monkeypatch):
    told, validate = [], publish.validation.validate
    monkeypatch.setattr(
        publish.validation, "validate", lambda *a, **o: told.append(o["never_again"]) or validate(*a, **o)
    )
    old = commits.read(work.dataset)
    one = forget("Zoë Quill", old, tmp_path / "one", work).commit
    two = forget("world0/fourth.mp4", old, tmp_path / "two", work).commit
    loose = Gates((Gate("brightness", "too_dark", min=1.0), HAS_BODY))
    for made in (two, regate(old, loose, tmp_path / "three"), regate(one, loose, tmp_path / "four")):
        assert set(by_name(made)) == set(ROWS) - {"low", "two", "fourth"}
        assert not [name for name in ("Zoë Quill", ROWS["fourth"]["source_id"]) if name.encode() in everything(made)]
    ids = [{ROWS[name]["source_id"] for name in names} for names in (("low", "two"), ("low", "two", "fourth"))]
    assert told == [ids[0], ids[1], ids[1], ids[1]]


def test_what_was_made_from_a_dataset_that_was_replaced_may_hold_it(work, tmp_path):
    rows = [made for name, made in ROWS.items() if name not in ("low", "two")]
    new = publish.publish(work.dataset, rows, GATES, files(tmp_path), CONFIG, replace=True)
    done = forget("world0/fourth.mp4", new, tmp_path / "new", work)
    assert [commit.kind for commit in done.still_held] == ["dataset"]
    assert [commit.kind for commit in done.may_hold] == ["encoded", "checkpoint"]


def test_where_no_clip_would_be_left_it_says_so_and_still_opts_out(work, tmp_path):
    everyone = "https://example.org/1"
    with pytest.raises(SteadyDancerError, match="No clip of .* is left"):
        forget(everyone, commits.read(work.dataset), tmp_path / "new", work)
    assert everyone in work.opt_out.read_text() and not (tmp_path / "new").exists()


def test_a_taken_place_and_a_busy_work_folder_are_refused(work, tmp_path):
    old = commits.read(work.dataset)
    with pytest.raises(SteadyDancerError, match="holds a committed artifact already"):
        forget("Zoë Quill", old, work.dataset, work)
    with held(work.folder), pytest.raises(SteadyDancerError, match="in use by another"):
        forget("Zoë Quill", old, tmp_path / "new", work)
    assert not work.opt_out.exists()


def unit(work, kind, identity, rows=()):
    key = hashlib.sha256(f"{kind} {identity}".encode()).hexdigest()[:32]
    place = work.units / kind / key[:3] / key
    place.mkdir(parents=True)
    (place / "pose.npz").write_bytes(b"pose")
    record = Record.of(key, identity, Work(list(rows), {"pose.npz": ["0" * 64, 4]}))
    segment = Segment(work.units / kind / "ledger", new_run(), "b")
    segment.append(dataclasses.replace(record, finished=1.0))
    segment.close()
    return place


def test_purging_deletes_its_part_of_the_work_folder_and_no_other(work, tmp_path):
    low, plain = ROWS["low"], ROWS["plain"]
    gone = [
        unit(work, "scan-1", low["source_id"], [{"clip_id": "window of other settings"}]),
        unit(work, "pose-1", low["clip_id"]),
        unit(work, "pose-2", "window of other settings"),
        unit(work, "encode-1", f"{low['clip_id']}-{digest('an earlier version')}"),
    ]
    stays = [unit(work, "scan-1", plain["source_id"]), unit(work, "pose-1", plain["clip_id"])]
    for made, places in ((low, gone), (plain, stays)):
        copy = work.cache / "sources" / made["source_id"][:2] / f"{made['source_id']}.mp4"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"copy")
        places.append(copy)
    lines = [json.dumps({"path": made["source"], "stamp": [1], "sha256": made["source_id"]}) for made in (low, plain)]
    work.source_index.write_text("\n".join(lines) + "\n")
    (work.units / "captions").mkdir()
    (work.units / "captions/captions.jsonl").write_text(
        "".join(json.dumps({"clip": made["clip_id"], "text": "turns"}) + "\n" for made in (low, plain)) + '{"half'
    )
    done = forget("Zoë Quill", commits.read(work.dataset), tmp_path / "new", work, purge=True)
    assert done.purged == 5 and not any(p.exists() for p in gone) and all(p.exists() for p in stays)
    assert [one.identity for one in Ledger(work.units / "pose-1/ledger").refresh()] == [plain["clip_id"]]
    texts = [(work.units / "captions/captions.jsonl").read_text(), work.source_index.read_text()]
    assert [low["clip_id"] in texts[0], low["source_id"] in texts[1]] == [False, False]
    assert plain["clip_id"] in texts[0] and plain["source_id"] in texts[1] and texts[0].endswith('{"half')


def test_the_command_finds_the_work_folder_and_says_what_is_left_to_do(work, tmp_path, capsys):
    forget_source("Zoë Quill", str(work.dataset), str(tmp_path / "new"), work=tmp_path / "elsewhere")
    said = capsys.readouterr().out
    assert "removed 2 rows of 2 sources, 1 of them stored clips" in said and "--purge" in said
    assert f"{work.folder}/stage1" in said and "Zoë Quill" in work.opt_out.read_text()
    assert f"searched: {work.folder};" in said


def test_the_work_folder_is_that_of_a_parent_or_must_be_named(work, tmp_path, capsys):
    one = forget("Zoë Quill", commits.read(work.dataset), tmp_path / "one/dataset", work).commit
    two = forget("world0/fourth.mp4", one, tmp_path / "two/dataset", work).commit
    assert home_of(two) == work
    with commits.write(tmp_path / "alone/dataset", "dataset", config=two.config, meta=dict(two.meta)) as folder:
        shutil.copytree(two.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(commits.COMMIT_FILE))
    for named, message in ((None, "lies in no work folder"), (tmp_path / "elsewhere", "elsewhere is no work folder")):
        with pytest.raises(UsageError, match=message):
            forget_source("world0/fifth.mp4", str(tmp_path / "alone/dataset"), str(tmp_path / "x"), work=named)
    forget_source("world0/fifth.mp4", str(tmp_path / "alone/dataset"), str(tmp_path / "x"), work=work.folder)
    assert "world0/fifth.mp4" in work.opt_out.read_text() and (tmp_path / "x").exists()


def test_reports_that_mlflow_keeps_are_told_and_purged(work, tmp_path, capsys):
    report = work.folder / "mlartifacts/0/run/artifacts/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("Zoë Quill")
    (report.parent / "scores.parquet").write_text("scores")
    forget_source("Zoë Quill", work.dataset, str(tmp_path / "one"))
    assert f"report      {report}" in capsys.readouterr().out and report.exists()
    forget_source("Zoë Quill", work.dataset, str(tmp_path / "two"), purge=True)
    assert not report.exists() and (report.parent / "scores.parquet").exists()
