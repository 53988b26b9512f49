"""Copies of sources that lie on a store."""

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from pipelines.ingest import fetching
from pipelines.ingest.describing import describe
from pipelines.ingest.sources import find


@pytest.fixture
def store():
    root, filesystem = f"memory://{uuid.uuid4().hex}", fsspec.filesystem("memory")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        filesystem.pipe_file(f"{root}/{name}", name.encode() * 1000)
    yield root
    filesystem.rm(root, recursive=True)


@pytest.fixture
def rows(store, tmp_path):
    return describe(find([store]), cache=tmp_path / "cache")


@pytest.fixture
def opened(monkeypatch):
    """How often something was downloaded."""
    download, seen = fetching._download, []
    monkeypatch.setattr(fetching, "_download", lambda *args: seen.append(args[0]) or download(*args))
    return seen


def copies(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file() and not p.name.startswith("."))


def test_a_local_path_passes(tmp_path):
    assert fetching.local({"path": str(tmp_path / "a.mp4")}) == tmp_path / "a.mp4"


def test_a_local_file_of_another_size_than_when_it_was_listed_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"listed")
    (listed,) = describe(find([tmp_path]))
    assert fetching.local(listed) == tmp_path / "a.mp4"
    (tmp_path / "a.mp4").write_bytes(b"replaced")
    with pytest.raises(fetching.SourceChanged, match=r"a\.mp4 has 8 bytes now, 6 when"):
        fetching.local(listed)
    (tmp_path / "a.mp4").unlink()
    assert fetching.local(listed) == tmp_path / "a.mp4"  # the decoder says it without the path


def test_describing_keeps_the_copy_that_fetching_gives(rows, opened):
    path = fetching.local(rows[0])
    assert path.read_bytes() == b"a.mp4" * 1000 and path.name == f"{rows[0]['source_id']}.mp4" and opened == []


def test_a_copy_that_is_gone_or_cut_off_is_made_again(rows, opened):
    path = fetching.local(rows[0])
    path.unlink()
    assert fetching.local(rows[0]).read_bytes() == b"a.mp4" * 1000
    path.write_bytes(b"half")
    assert fetching.local(rows[0]).read_bytes() == b"a.mp4" * 1000 and len(opened) == 2


def test_what_changed_since_it_was_listed_is_refused(rows, store, tmp_path):
    fetching.local(rows[0]).unlink()
    fsspec.filesystem("memory").pipe_file(f"{store}/a.mp4", b"another")
    with pytest.raises(fetching.SourceChanged, match=r"a\.mp4 has another content"):
        fetching.local(rows[0])
    assert f"{hashlib.sha256(b'another').hexdigest()}.mp4" not in copies(tmp_path) and len(copies(tmp_path)) == 2


def test_the_copies_not_used_for_longest_make_room(rows, tmp_path):
    for age, row in zip((100, 300, 200), rows, strict=True):
        os.utime(fetching.local(row), (1_700_000_000 - age,) * 2)
    draft = tmp_path / "cache/.draft-dead"
    draft.write_bytes(b"half")
    os.utime(draft, (1_700_000_000,) * 2)
    fetching.make_room(tmp_path / "cache", 10_000)
    assert copies(tmp_path) == sorted(f"{rows[n]['source_id']}.mp4" for n in (0, 2)) and not draft.exists()
    fetching.local(rows[2])
    fetching.make_room(tmp_path / "cache", 0)  # what was asked for just now stays
    assert copies(tmp_path) == [f"{rows[2]['source_id']}.mp4"]


def test_room_is_made_once_in_a_while_and_what_is_beyond_the_bound_stays_small(store, tmp_path, monkeypatch):
    looks, make_room = [], fetching.make_room
    monkeypatch.setattr(fetching, "make_room", lambda *args: looks.append(1) or make_room(*args))
    monkeypatch.setattr(fetching, "IN_USE_SECONDS", 0.0)
    monkeypatch.setattr(fetching, "MARK_BYTES", 1000)
    monkeypatch.setattr(fetching, "CACHE_BYTES", 32 * 20_000)  # looked at every 20,000 bytes, of 5,000 each
    for number in range(24):
        fsspec.filesystem("memory").pipe_file(f"{store}/{number}.mp4", b"%05d" % number * 1000)
        fetching.content(f"{store}/{number}.mp4", tmp_path / "cache")
    assert len(looks) == 6 and len(copies(tmp_path)) == 24
    monkeypatch.setattr(fetching, "CACHE_BYTES", 50_000)
    fetching.content(f"{store}/a.mp4", tmp_path / "cache")
    assert len(copies(tmp_path)) == 10


def test_what_is_larger_than_the_cache_is_hashed_and_not_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "CACHE_BYTES", 100)
    rows = describe(find([store]), cache=tmp_path / "cache")
    assert rows[0]["source_id"] == hashlib.sha256(b"a.mp4" * 1000).hexdigest() and not (tmp_path / "cache").exists()
    assert fetching.local(rows[0]).read_bytes() == b"a.mp4" * 1000


def test_many_that_ask_at_once_download_once(rows, opened):
    fetching.local(rows[0]).unlink()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(fetching.local, [rows[0]] * 16))
    assert len(found) == 1 and len(opened) == 1
