import json
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import commits
from infra.commits import COMMIT_FILE, NotCommitted
from infra.errors import CorruptArtifact, SteadyDancerError

names = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}\.[a-z]{1,3})?", fullmatch=True)
contents = st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=5).filter(
    lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files)
)


def put(uri, files=None, **kwargs):
    with commits.write(uri, kwargs.pop("kind", "dataset"), **kwargs) as folder:
        for name, data in (files or {"a.bin": b"abc"}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return commits.read(uri)


def remains(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


@settings(deadline=None, max_examples=25)
@given(files=contents)
def test_what_is_written_is_what_is_read(files, tmp_path_factory):
    uri = tmp_path_factory.mktemp("c") / "artifact"
    commit = put(uri, files)
    assert {name: commit.open(name).read() for name in commit.files} == files
    assert commits.verify(uri).id == commit.id


def test_local_folders_and_object_stores_alike(root):
    parent = put(f"{root}/parent", config={"k": 1}, meta={"m": "x"})
    child = put(f"{root}/child", {"sub/b.bin": b"b"}, kind="encoded", parents=[parent])
    assert commits.verify(f"{root}/child").parents[0].id == parent.id
    assert commits.read(child.parent_uri(child.parents[0])).id == parent.id
    assert (parent.config, parent.meta) == ({"k": 1}, {"m": "x"})
    assert commits.find(f"{root}/nothing") is None


def test_the_id_is_of_the_content_and_not_of_place_or_time(tmp_path):
    first = put(tmp_path / "a", config={"x": 1})
    assert put(tmp_path / "deep" / "b", config={"x": 1}).id == first.id
    different = [
        put(tmp_path / "c", config={"x": 2}),
        put(tmp_path / "d", {"a.bin": b"abd"}, config={"x": 1}),
        put(tmp_path / "e", config={"x": 1}, kind="encoded"),
        put(tmp_path / "f", config={"x": 1}, parents=[first]),
        put(tmp_path / "g", config={"x": 1}, meta={"n": 1}),
    ]
    assert len({first.id, *(c.id for c in different)}) == 6


def test_a_failed_writer_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), commits.write(tmp_path / "a", "dataset") as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError
    assert remains(tmp_path) == []


def test_a_failed_replacement_leaves_the_old_commit(tmp_path):
    old = put(tmp_path / "a")
    with pytest.raises(ZeroDivisionError), commits.write(tmp_path / "a", "dataset", replace=True):
        raise ZeroDivisionError
    assert commits.verify(tmp_path / "a").id == old.id
    assert put(tmp_path / "a", {"b": b"new"}, replace=True).id != old.id
    assert remains(tmp_path) == ["a"]


def test_a_killed_writer_leaves_nothing_a_reader_trusts_and_the_next_writer_sweeps(tmp_path):
    script = f"""
        import os, signal
        from infra import commits
        with commits.write({str(tmp_path / "a")!r}, "dataset") as folder:
            (folder / "half").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    assert len(remains(tmp_path)) == 1
    assert commits.find(tmp_path / "a") is None
    put(tmp_path / "a")
    assert remains(tmp_path) == ["a"]


def test_a_living_writers_draft_is_left_alone(tmp_path):
    with commits.write(tmp_path / "a", "dataset") as folder:
        (folder / "x").write_text("x")
        script = f"from infra import commits\nwith commits.write({str(tmp_path / 'a')!r}, 'dataset') as f: pass"
        subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True)
        assert (folder / "x").exists()


def test_a_commit_is_not_overwritten_by_accident(tmp_path):
    put(tmp_path / "a")
    with pytest.raises(SteadyDancerError, match="holds a committed artifact already"):
        put(tmp_path / "a")


def test_a_changed_file_is_named_with_both_hashes(tmp_path):
    commit = put(tmp_path / "a", {"x/y.bin": b"abc"})
    (tmp_path / "a/x/y.bin").write_bytes(b"abd")
    expected = commit.files["x/y.bin"]["sha256"]
    with pytest.raises(CorruptArtifact) as caught:
        commits.verify(tmp_path / "a")
    assert "x/y.bin" in str(caught.value)
    assert expected in str(caught.value)
    assert "found    sha256 a52d159f262b2c6d" in str(caught.value)


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"longer than it was")])
def test_a_missing_or_resized_file_is_seen_without_hashing(tmp_path, damage):
    put(tmp_path / "a", {"x.bin": b"abc"})
    damage(tmp_path / "a/x.bin")
    with pytest.raises(CorruptArtifact, match=r"x\.bin"):
        commits.read(tmp_path / "a")


def _edit(path: Path, **changes):
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_text("{half"),
        lambda p: p.write_bytes(b"\xff\xfe"),
        lambda p: p.write_text("{}"),
        lambda p: p.write_text("[]"),
        lambda p: _edit(p, kind="checkpoint"),
        lambda p: _edit(p, meta={"steps": 9}),
        lambda p: _edit(p, config={"x": 2}),
        lambda p: _edit(p, parents=[{"kind": "a", "id": "b", "uri": "c"}]),
        lambda p: _edit(p, parents=[{"kind": "a"}]),
    ],
)
def test_a_changed_commit_file_is_refused(tmp_path, damage):
    put(tmp_path / "a", config={"x": 1})
    damage(tmp_path / "a" / COMMIT_FILE)
    with pytest.raises(CorruptArtifact, match=COMMIT_FILE):
        commits.read(tmp_path / "a")


def test_no_commit_says_so(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/data").write_text("data")
    with pytest.raises(NotCommitted, match=r"COMMIT\.json is missing"):
        commits.read(tmp_path / "a")


def test_links_are_refused(tmp_path):
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(SteadyDancerError, match="is a link"), commits.write(tmp_path / "a", "dataset") as folder:
        (folder / "inside").symlink_to(tmp_path / "outside")
    assert remains(tmp_path) == ["outside"]


def test_fetch_is_verified_and_cached(tmp_path):
    uri = f"memory://{uuid.uuid4().hex}/a"
    commit = put(uri, {"x/y.bin": b"abc"})
    assert commits.fetch(uri, tmp_path).path.joinpath("x/y.bin").read_bytes() == b"abc"
    assert commits.fetch(uri, tmp_path).id == commit.id
    assert remains(tmp_path) == [".lock", commit.id]
    fetched = commits.fetch(uri, tmp_path)
    assert (fetched.uri, fetched.open("x/y.bin").read()) == (uri, b"abc")
    (fetched.path / "x/y.bin").write_bytes(b"longer")
    with pytest.raises(CorruptArtifact):
        commits.fetch(uri, tmp_path)
    with pytest.raises(SteadyDancerError, match="not a local folder"):
        _ = commit.path


def test_fetching_what_is_here_reads_it(tmp_path):
    commit = put(tmp_path / "a")
    assert commits.fetch(tmp_path / "a", tmp_path / "cache") == commit and remains(tmp_path) == ["a"]


def test_a_child_of_a_fetched_parent_names_where_it_was_published(tmp_path):
    root = f"memory://{uuid.uuid4().hex}"
    put(f"{root}/parent")
    parent = commits.fetch(f"{root}/parent", tmp_path / "cache")
    for child in (tmp_path / "child", f"{root}/child"):
        assert put(child, {"b": b"b"}, parents=[parent]).parents[0].uri == f"{root}/parent"
    local = put(tmp_path / "local")
    assert put(f"{root}/other", parents=[local]).parents[0].uri == str(tmp_path / "local")


def test_what_tells_about_the_making_is_verified_but_no_part_of_the_id(root):
    made = [
        put(
            f"{root}/{n}", {"a": b"a", "report.html": b"%d s" % n, "docs/x/y": b"%d" % n}, about=("report.html", "docs")
        )
        for n in (1, 2)
    ]
    assert made[0].id == made[1].id and made[0].about == ("docs/x/y", "report.html")
    assert commits.verify(made[0]).files["report.html"]["bytes"] == 3
    assert put(f"{root}/3", {"a": b"a"}).id == made[0].id
    assert put(f"{root}/4", {"a": b"a", "report.html": b"1 s"}).id != made[0].id
    with commits.storage.opened(root)[0].open(f"{root}/1/report.html", "wb") as file:
        file.write(b"9 s")
    with pytest.raises(CorruptArtifact, match=r"report\.html was changed"):
        commits.verify(f"{root}/1")


def test_a_commit_from_before_there_was_about_is_read(tmp_path):
    commit = put(tmp_path / "a")
    record = json.loads((tmp_path / "a" / COMMIT_FILE).read_text())
    del record["about"]
    (tmp_path / "a" / COMMIT_FILE).write_text(json.dumps(record))
    assert commits.read(tmp_path / "a") == commit


def test_files_that_no_commit_put_there_are_not_replaced(root):
    filesystem = commits.storage.opened(root)[0]
    filesystem.makedirs(f"{root}/mine", exist_ok=True)
    filesystem.pipe_file(f"{root}/mine/holiday.mp4", b"x")
    with pytest.raises(SteadyDancerError, match="no commit"):
        put(f"{root}/mine")
    assert filesystem.cat_file(f"{root}/mine/holiday.mp4") == b"x"
    filesystem.makedirs(f"{root}/empty")
    assert put(f"{root}/empty").kind == "dataset"


def test_an_upload_that_was_cut_off_is_not_there_and_leaves_nothing_to_the_next(monkeypatch):
    root = f"memory://{uuid.uuid4().hex}"
    filesystem, path = commits.storage.opened(f"{root}/a")
    put_file = type(filesystem).put_file

    def dies(self, source, target, **kwargs):
        if target.endswith("c.bin"):
            raise ConnectionResetError("gone")
        return put_file(self, source, target, **kwargs)

    old = put(f"{root}/a", {"old.bin": b"old"})
    with monkeypatch.context() as context:
        context.setattr(type(filesystem), "put_file", dies)
        with pytest.raises(SteadyDancerError, match="gone"):
            put(f"{root}/a", {"b.bin": b"1", "c.bin": b"2"}, replace=True)
    assert commits.find(f"{root}/a") is None and filesystem.exists(f"{path}/b.bin")
    again = put(f"{root}/a", {"d.bin": b"3"})
    assert again.id != old.id
    assert sorted(name.removeprefix(f"{path}/") for name in filesystem.find(path)) == [COMMIT_FILE, "d.bin"]


def test_a_moved_work_folder_keeps_its_lineage(tmp_path):
    parent = put(tmp_path / "old/parent")
    put(tmp_path / "old/child", {"b": b"b"}, parents=[parent])
    (tmp_path / "old").rename(tmp_path / "new")
    child = commits.read(tmp_path / "new/child")
    assert commits.read(child.parent_uri(child.parents[0])).id == parent.id


def test_what_goes_to_a_store_is_drafted_where_the_caller_says(tmp_path):
    scratch, uri = tmp_path / "scratch", f"memory://{uuid.uuid4().hex}/a"
    with commits.write(uri, "dataset", scratch=scratch) as folder:
        (folder / "a").write_bytes(b"a")
        assert folder.parent == scratch
    assert remains(scratch) == [] and commits.verify(uri).files["a"]["bytes"] == 1
