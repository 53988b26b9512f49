"""Finding videos and telling contents apart."""

import os

import pytest

from pipelines.sources import SourceError, describe, find


@pytest.fixture
def tree(tmp_path):
    for name, content in {
        "b.mp4": b"b",
        "a/x.MOV": b"x",
        "a/copy.webm": b"b",
        "notes.md": b"",
        "a/z.m4v": b"z",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b.txt").write_text(" swings her arms \n")
    return tmp_path


def test_folders_are_searched_to_the_bottom_in_one_order(tree):
    assert [source for _, source in find([tree])] == ["a/copy.webm", "a/x.MOV", "a/z.m4v", "b.mp4"]
    assert find([tree / "a", tree / "b.mp4"]) == find([tree / "b.mp4", tree / "a", tree / "a"])


def test_same_content_is_one_source_the_rest_are_duplicates(tree):
    rows = {row["source"]: row for row in describe(find([tree]))}
    assert "fault" not in rows["a/copy.webm"]
    assert rows["b.mp4"]["fault"] == "duplicate" and rows["b.mp4"]["error"] == "same content as a/copy.webm"
    assert rows["b.mp4"]["source_id"] == rows["a/copy.webm"]["source_id"]
    assert rows["b.mp4"]["sidecar"] == "swings her arms" and rows["a/x.MOV"]["sidecar"] is None


def test_one_folder_named_by_two_paths_gives_duplicates_that_are_told_apart(tree):
    again = tree.parent / "again"
    again.mkdir()
    (again / "b.mp4").write_bytes(b"b")
    rows = [row for row in describe(find([tree, again])) if row["source"] == "b.mp4"]
    assert [(row["copy"], row["fault"]) for row in rows] == [(0, "duplicate"), (1, "duplicate")]


def test_the_order_of_places_does_not_matter(tree):
    rows = describe(reversed(find([tree])))
    assert rows == describe(find([tree]))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("notes.md", "not a video by its name"),
        ("bare", "No video found in .*bare"),
    ],
)
def test_places_without_videos_are_named(tree, place, message):
    (tree / "bare").mkdir()
    with pytest.raises(SourceError, match=message):
        find([tree / place])


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
    rows = {row["source"]: row for row in describe(find([tree]))}
    assert rows["gone.mp4"]["fault"] == "unreadable" and "No such file" in rows["gone.mp4"]["error"]
    assert len(rows) == 5
