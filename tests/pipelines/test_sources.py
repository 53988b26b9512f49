"""Finding videos and telling contents apart."""

import json
import os
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ingest import contents
from pipelines.ingest.describing import describe
from pipelines.ingest.sources import SourceError, find

FILES = {"b.mp4": b"b", "a/x.MOV": b"x", "a/copy.webm": b"b", "notes.md": b"", "a/z.m4v": b"z"}


@pytest.fixture
def tree(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/b.txt").write_text(" swings her arms \n")
    return tmp_path / "in"


@pytest.fixture
def store():
    root = f"memory://{uuid.uuid4().hex}"
    filesystem = fsspec.filesystem("memory")
    for name, content in {**FILES, "b.txt": b" swings her arms \n"}.items():
        filesystem.pipe_file(f"{root}/{name}", content)
    yield root
    filesystem.rm(root, recursive=True)


def names(*places):
    return [source.name for source in find(places)]


def rows_of(*places, **options):
    return {row["source"]: row for row in describe(find(places), **options)}


def test_folders_are_searched_to_the_bottom_in_one_order(tree):
    assert names(tree) == ["a/copy.webm", "a/x.MOV", "a/z.m4v", "b.mp4"]
    assert find([tree / "a", tree / "b.mp4"]) == find([tree / "b.mp4", tree / "a", tree / "a"])
    assert names(tree, tree / "a", tree / "b.mp4") == names(tree)


def test_same_content_is_one_source_the_rest_are_duplicates(tree):
    rows = rows_of(tree)
    assert "fault" not in rows["a/copy.webm"]
    assert rows["b.mp4"]["fault"] == "duplicate" and rows["b.mp4"]["error"] == "same content as a/copy.webm"
    assert rows["b.mp4"]["source_id"] == rows["a/copy.webm"]["source_id"]
    assert rows["b.mp4"]["sidecar"] == "swings her arms" and rows["a/x.MOV"]["sidecar"] is None
    assert rows["a/x.MOV"]["source_bytes"] == 1


def test_two_folders_with_one_file_give_duplicates_that_are_told_apart(tree):
    again = tree.parent / "again"
    again.mkdir()
    (again / "b.mp4").write_bytes(b"b")
    rows = [row for row in describe(find([tree, again])) if row["source"] == "b.mp4"]
    assert [(row["copy"], row["fault"]) for row in rows] == [(0, "duplicate"), (1, "duplicate")]


def test_the_order_of_places_does_not_matter(tree):
    assert describe(reversed(find([tree]))) == describe(find([tree]))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("notes.md", "not a video by its name"),
        ("bare", "No video found in .*bare"),
        ("*.mkv", "matches no video"),
        ("none/*.mp4", "there is no folder"),
    ],
)
def test_places_without_videos_are_named(tree, store, place, message):
    (tree / "bare").mkdir()
    with pytest.raises(SourceError, match=message):
        find([tree / place])
    with pytest.raises(SourceError, match=message.replace("No video found in .*bare", "does not exist")):
        find([f"{store}/{place}"])


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"/a cannot be read: Permission denied"):
        find([tree])


def test_a_file_that_cannot_be_opened_is_a_row_and_stops_nothing(tree):
    (tree / "gone.mp4").symlink_to(tree / "missing.mp4")
    os.mkfifo(tree / "pipe.mp4")
    rows = rows_of(tree)
    assert rows["gone.mp4"]["fault"] == "unreadable" and "No such file" in rows["gone.mp4"]["error"]
    assert rows["pipe.mp4"]["fault"] == "unreadable" and "no file" in rows["pipe.mp4"]["error"]
    assert len(rows) == 6


def test_links_to_folders_are_followed_and_loops_end(tree):
    (tree / "a/loop").symlink_to(tree)
    (tree.parent / "far").mkdir()
    (tree.parent / "far/f.mp4").write_bytes(b"f")
    (tree / "0link").symlink_to(tree.parent / "far")
    (tree.parent / "far/back").symlink_to(tree / "0link")
    assert names(tree) == ["0link/f.mp4", "a/copy.webm", "a/x.MOV", "a/z.m4v", "b.mp4"]


def test_globs_take_files_and_folders(tree, store):
    for root in (str(tree), store):
        assert names(f"{root}/*.mp4") == ["b.mp4"]
        assert names(f"{root}/[a]/*") == ["a/copy.webm", "a/x.MOV", "a/z.m4v"]
        assert names(f"{root}/**/*.m*") == ["a/z.m4v", "b.mp4"]
        assert names(f"{root}/?") == ["a/copy.webm", "a/x.MOV", "a/z.m4v"]
    (tree / "odd[1].mp4").write_bytes(b"o")
    assert names(tree / "odd[1].mp4") == ["odd[1].mp4"]


def test_a_store_gives_what_the_disk_gives(tree, store, tmp_path):
    def seen(place):
        return [{**row, "path": None, "cache": None} for row in describe(find([place]), cache=tmp_path / "cache")]

    assert seen(store) == seen(tree)


def test_a_list_names_files_relative_to_itself(tree):
    (tree / "a/list.txt").write_text(f"# mine\nx.MOV\n\n{tree}/b.mp4\nmissing.mp4\n../b.mp4\nnotes.md\nodd://x/y.mp4\n")
    rows = rows_of(tree / "a/list.txt")
    assert "fault" not in rows["x.MOV"] and "fault" not in rows["b.mp4"] and len(rows) == 6
    errors = {name: row["error"] for name, row in rows.items() if row.get("fault") == "unreadable"}
    assert errors["missing.mp4"] == "cannot be read: No such file (list.txt line 5)"
    assert "leads out of the folder" in errors["list.txt line 6"]
    assert "not a video by its name" in errors["list.txt line 7"]
    assert "odd" in errors["list.txt line 8"]


def test_a_list_beside_a_video_is_no_caption(tree):
    (tree / "b.txt").write_text("b.mp4\n")
    assert rows_of(tree / "b.txt")["b.mp4"]["sidecar"] is None
    assert rows_of(tree / "b.mp4")["b.mp4"]["sidecar"] == "b.mp4"


TABLE = [
    {"path": "b.mp4", "license": "CC-BY-4.0", "subject": "Ada", "caption": "She spins.", "take": 3, "tags": ["x", "a"]},
    {"path": "a/x.MOV", "consent": True, "collected_at": "2024-05-01", "url": "https://example.org/x"},
]


def write_table(folder: Path, kind: str) -> Path:
    table = folder / f"table{kind}"
    if kind == ".jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(TABLE, pa.schema([
            ("path", pa.string()), ("license", pa.string()), ("subject", pa.string()), ("caption", pa.string()),
            ("take", pa.int64()), ("tags", pa.list_(pa.string())), ("consent", pa.bool_()),
            ("collected_at", pa.string()), ("url", pa.string()),
        ])), table)  # fmt: skip
    else:
        table.write_text(
            "path,license,subject,caption,take,tags,consent,collected_at,url\n"
            'b.mp4,CC-BY-4.0,Ada,She spins.,3,"[""x"", ""a""]",,,\n'
            "a/x.MOV,,,,,,true,2024-05-01,https://example.org/x\n"
        )
    return table


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_tables_name_sources_and_tell_of_them(tree, kind):
    rows = rows_of(write_table(tree, kind))
    assert list(rows) == ["a/x.MOV", "b.mp4"]
    b, x = rows["b.mp4"], rows["a/x.MOV"]
    assert (b["licence"], b["subject"], b["caption"], b["consent"]) == ("CC-BY-4.0", "Ada", "She spins.", None)
    assert (x["consent"], x["collected_at"], x["provenance"]) == ("true", "2024-05-01", None)
    assert json.loads(x["metadata"]) == {"url": "https://example.org/x"}
    expected = {"take": "3", "tags": '["x", "a"]'} if kind == ".csv" else {"take": 3, "tags": ["x", "a"]}
    assert json.loads(b["metadata"]) == expected and b["metadata"].startswith('{"tags"')


def test_a_table_tells_of_files_found_otherwise(tree):
    meta = tree.parent / "meta"
    meta.mkdir()
    table = write_table(meta, ".jsonl")
    for places in ([tree, table], [table, tree]):
        rows = rows_of(*places)
        assert len(rows) == 4 and rows["b.mp4"]["subject"] == "Ada" and "error" not in rows["a/x.MOV"]
    assert rows_of(table)["b.mp4"]["fault"] == "unreadable"
    (meta / "b.mp4").write_bytes(b"another file of this name")
    rows = [row for row in describe(find([tree, table])) if row["source"] == "b.mp4"]
    assert {row["source_bytes"]: row["subject"] for row in rows} == {1: None, 25: "Ada"}


def test_tables_that_contradict_each_other_in_the_rights(tree):
    (tree / "one.jsonl").write_text('{"path": "b.mp4", "licence": "CC0", "note": 1}\n')
    (tree / "two.jsonl").write_text('{"path": "b.mp4", "licence": "proprietary", "note": 2, "subject": "Ada"}\n')
    row = rows_of(tree / "one.jsonl", tree / "two.jsonl")["b.mp4"]
    assert row["fault"] == "rights" and len(row["source_id"]) == 64
    assert row["error"] == "licence is 'CC0' in one.jsonl line 1, 'proprietary' in two.jsonl line 1"
    assert (row["subject"], row["metadata"]) == ("Ada", '{"note": 1}')


@pytest.mark.parametrize(
    ("name", "text", "errors"),
    [
        ("t.jsonl", '{"path": "b.mp4"}\n{half\n[1]\n{"note": 1}\n{"path": 3}\n{"path": "b.mp4", "x": NaN}\n', {
            "t.jsonl line 2": "not valid JSON", "t.jsonl line 3": "no JSON object", "t.jsonl line 4": "no value in",
            "t.jsonl line 5": "a path that is no text", "t.jsonl line 6": "NaN"}),
        ("t.csv", 'path,note\n"open\nb.mp4,"x"\nshort\na,b,c\n,x\n', {
            "t.csv line 2": "not valid CSV", "t.csv line 4": "1 fields, the header 2", "t.csv line 5": "3 fields",
            "t.csv line 6": "no value in path"}),
        ("t.jsonl", '{"path": "b.mp4"}\n{"path": "\\ud800.mp4"}\n{"path": "nul\\u0000.mp4", "caption": "\\udfff"}\n', {
            "\ufffd.mp4": "cannot be read", "nul\0.mp4": "null byte"}),
    ],
)  # fmt: skip
def test_a_wrong_row_of_a_table_costs_itself(tree, name, text, errors):
    (tree / name).write_text(text)
    rows = rows_of(tree / name)
    assert "fault" not in rows.pop("b.mp4")
    assert {source: row["fault"] for source, row in rows.items()} == dict.fromkeys(errors, "unreadable")
    for source, error in errors.items():
        assert error in rows[source]["error"]
    json.dumps(list(rows.values()), allow_nan=False).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"file,licence\nb.mp4,x\n", "no column that names a file; its columns are file, licence"),
        ("t.csv", b"", "no column that names a file"),
        ("t.csv", b"path\n\0", "not a text file"),
        ("t.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("t.jsonl", b"", "No video found in"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tree, name, content, message):
    (tree / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        find([tree / name])


@settings(deadline=None, max_examples=40)
@given(content=st.binary(max_size=300), kind=st.sampled_from([".csv", ".jsonl", ".txt", ".parquet"]))
def test_no_table_stops_the_rest(content, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    (folder / "b.mp4").write_bytes(b"b")
    (folder / f"t{kind}").write_bytes(b"path\n" * (kind == ".csv") + content)
    try:
        rows = rows_of(folder / "b.mp4", folder / f"t{kind}")
    except SourceError:
        return
    assert "b.mp4" in rows and json.dumps(list(rows.values()), allow_nan=False)


def test_a_table_on_a_store_names_its_neighbours_and_nothing_of_this_machine(tree, store):
    lines = [{"path": "a/x.MOV", "subject": "Bo"}, {"path": str(tree / "b.mp4")}, {"path": "../../b.mp4"}]
    lines += [{"path": f"local://{tree}/b.mp4"}, {"path": f"file://{tree}/b.mp4"}, {"path": "dir:///etc/b.mp4"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    fsspec.filesystem("memory").pipe_file(f"{store}/t.jsonl", text.encode())
    rows = rows_of(f"{store}/t.jsonl")
    assert rows["a/x.MOV"]["subject"] == "Bo" and "fault" not in rows["a/x.MOV"]
    assert "files of this machine" in rows["t.jsonl line 2"]["error"]
    assert "leads out of" in rows["t.jsonl line 3"]["error"]
    assert all("files of this machine" in rows[f"t.jsonl line {number}"]["error"] for number in (4, 5))
    assert rows["t.jsonl line 6"]["fault"] == "unreadable" and len(rows) == 6
    (tree / "t.txt").write_text(f"{store}/b.mp4\n{store}/none.mp4\n")
    rows = rows_of(tree / "t.txt")
    assert rows["b.mp4"]["sidecar"] == "swings her arms" and rows["none.mp4"]["fault"] == "unreadable"
    assert "memory://" not in rows["none.mp4"]["error"]


@pytest.fixture
def reads(monkeypatch):
    read, seen = contents.Contents.read, []

    def counted(self, path, listed=None):
        seen.append(path.rpartition("/")[2])
        return read(self, path, listed)

    monkeypatch.setattr(contents.Contents, "read", counted)
    return seen


def settle(folder: Path):
    """Files that were written just now are not remembered."""
    for path in folder.rglob("*.*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_only_what_is_new_or_changed_is_read_again(tree, tmp_path, reads):
    settle(tree)
    index = tmp_path / "index.jsonl"
    first = rows_of(tree, index=index)
    assert len(reads) == 4
    reads.clear()
    assert rows_of(tree, index=index) == first and reads == []

    (tree / "new.mp4").write_bytes(b"new")
    (tree / "b.mp4").write_bytes(b"B")
    (tree / "a/z.m4v").unlink()
    os.utime(tree / "a/x.MOV", (1_700_000_001, 1_700_000_001))
    again = rows_of(tree, index=index)
    assert sorted(reads) == ["b.mp4", "new.mp4", "x.MOV"]
    assert again["a/x.MOV"]["source_id"] == first["a/x.MOV"]["source_id"]
    assert again["b.mp4"]["source_id"] != first["b.mp4"]["source_id"] and "a/z.m4v" not in again
    assert again == rows_of(tree)
    assert "z.m4v" not in index.read_text()


def test_a_file_that_was_just_written_is_not_trusted_by_its_time(tree, tmp_path, reads):
    rows_of(tree, index=tmp_path / "index.jsonl")
    reads.clear()
    rows_of(tree, index=tmp_path / "index.jsonl")
    assert len(reads) == 4


def test_a_store_is_read_again_only_where_it_changed(store, tmp_path, reads):
    options = {"index": tmp_path / "index.jsonl", "cache": tmp_path / "cache"}
    first = rows_of(store, **options)
    reads.clear()
    fsspec.filesystem("memory").pipe_file(f"{store}/b.mp4", b"changed")
    again = rows_of(store, **options)
    assert reads == ["b.mp4"] and again["b.mp4"]["source_id"] != first["b.mp4"]["source_id"]


def test_a_damaged_index_costs_reading(tree, tmp_path, reads):
    settle(tree)
    index = tmp_path / "index.jsonl"
    first = rows_of(tree, index=index)
    lines = index.read_text().split("\n")
    index.write_text("\n".join([lines[0], lines[1][:20], "[]", "\0", *lines[2:]]))
    reads.clear()
    assert rows_of(tree, index=index) == first and len(reads) == 1


def test_an_interrupted_run_remembers_what_it_read(tree, tmp_path, reads, monkeypatch):
    settle(tree)
    index = tmp_path / "index.jsonl"
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as context:
        context.setattr(contents.Contents, "save", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        rows_of(tree, index=index)
    reads.clear()
    rows_of(tree, index=index)
    assert reads == []


def test_a_file_that_changes_while_it_is_read_is_told(tree, monkeypatch):
    digest = contents.hashlib.file_digest

    def meanwhile(file, name):
        if file.name.endswith("b.mp4"):
            (tree / "b.mp4").write_bytes(b"longer than before")
        return digest(file, name)

    monkeypatch.setattr(contents.hashlib, "file_digest", meanwhile)
    rows = rows_of(tree)
    assert rows["b.mp4"]["fault"] == "unreadable" and "changed while it was read" in rows["b.mp4"]["error"]
    assert "fault" not in rows["a/x.MOV"]


def test_a_file_that_vanishes_after_listing_is_told(tree):
    found = find([tree])
    (tree / "b.mp4").unlink()
    rows = {row["source"]: row for row in describe(found)}
    assert rows["b.mp4"]["fault"] == "unreadable" and len(rows) == 4
