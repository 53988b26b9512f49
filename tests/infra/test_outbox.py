"""The journal on disk and its delivery, to a store of this file."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import commits
from infra.delivery import Delivery
from infra.errors import SteadyDancerError
from infra.mlflow_store import Away, Refused
from infra.outbox import DAMAGED, Outbox


class FakeStore:
    """Takes what is not in ``refuses``, unless it is ``away``; keeps what came, in order."""

    uri = "http://store"

    def __init__(self, refuses=()):
        self.came, self.requests, self.refuses, self.away, self.asked = [], 0, set(refuses), False, []

    def send(self, journal, entries):
        self.asked.append(time.monotonic())
        if self.away:
            raise Away("no route")
        self.requests += 1
        items = [(journal.name, e.kind, n, v, e.step) for e in entries for n, v in e.values.items()]
        if any(item[2] in self.refuses for item in items):
            raise Refused("invalid name")
        self.came += items


@pytest.fixture
def said():
    return []


def _delivery(outbox, store, said, **options):
    return Delivery(outbox, store, said.append, every=0.01, pauses=(0.01, 0.04), **{"patience": 5.0, **options})


def _values(store, kind="metrics"):
    return [(name, value, step) for _, k, name, value, step in store.came if k == kind]


def test_entries_arrive_once_in_order_and_in_few_requests(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("stage1")
    for step in range(300):
        journal.append("metrics", {f"m{i}": step + i / 10 for i in range(10)}, step)
    journal.append("metrics", {f"w{i}": 0.0 for i in range(2500)}, 300)
    journal.append("status", {"status": "FINISHED"})
    _delivery(outbox, store, said).deliver()
    expected = [(f"m{i}", step + i / 10, step) for step in range(300) for i in range(10)]
    assert _values(store) == expected + [(f"w{i}", 0.0, 300) for i in range(2500)]
    assert store.came[-1][1:4] == ("status", "status", "FINISHED")
    assert store.requests == 3 + 3 + 1, "metrics by the thousand"
    _delivery(Outbox(tmp_path), store, said).deliver()
    assert store.requests == 7 and outbox.count() == 0 and not said


def test_a_kill_between_sending_and_noting_sends_again_and_nothing_else(tmp_path, said, monkeypatch):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("s")
    for kind in ("params", "tags", "params"):
        journal.append(kind, {kind: "1"})

    def killed(batch):
        if batch.entries[0].kind == "tags":
            raise KeyboardInterrupt

        type(journal).passed(journal, batch)

    monkeypatch.setattr(journal, "passed", killed)
    with pytest.raises(KeyboardInterrupt):
        _delivery(outbox, store, said).deliver()
    _delivery(Outbox(tmp_path), store, said).deliver()
    assert [item[1] for item in store.came] == ["params", "tags", "tags", "params"]


def test_away_the_work_goes_on_and_the_rest_is_said_and_sent_by_the_next(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("s")
    with _delivery(outbox, store, said) as delivery:
        journal.append("metrics", {"a": 1.0}, 1)
        delivery.flush()
        assert _values(store) == [("a", 1.0, 1)]
        store.away = True
        store.asked.clear()
        for step in range(2, 40):
            journal.append("metrics", {"a": float(step)}, step)
            time.sleep(0.01)
        started = time.monotonic()
        delivery.flush()
        assert time.monotonic() - started < 1, "no wait for what is known to be away"
        pauses = [b - a for a, b in zip(store.asked, store.asked[1:], strict=False)]
        assert max(pauses[3:]) > 0.03, "pauses grow"
    assert said[0].startswith("MLflow at http://store does not answer (no route)")
    assert said[1:] == [
        f"MLflow at http://store is away: 38 entries wait in {tmp_path}/outbox; "
        "the next command on this work folder delivers them."
    ]
    store.away = False
    with _delivery(Outbox(tmp_path), store, said):
        pass
    assert _values(store) == [("a", float(step), step) for step in range(1, 40)] and len(said) == 2


def test_a_store_that_comes_back_is_told_and_said(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore()
    store.away = True
    with _delivery(outbox, store, said):
        outbox.journal("s").append("tags", {"a": "b"})
        while not said:
            time.sleep(0.005)
        store.away = False
    assert _values(store, "tags") == [("a", "b", 0)]
    assert len(said) == 2 and "answers again" in said[1]


class Split(FakeStore):
    """Its files have a store of their own, which is away."""

    files_away = True

    def answers(self):
        return True

    def send(self, journal, entries):
        if entries[0].kind == "artifact" and self.files_away:
            raise Away("no bucket")
        super().send(journal, entries)


def test_files_whose_store_is_away_hold_up_no_other_journal_nor_other_process(tmp_path, said):
    outbox, store = Outbox(tmp_path), Split()
    journal, worker, other = outbox.journal("chain"), Outbox(tmp_path).journal("chain"), outbox.journal("stage1")
    for name in ("first", "second"):
        journal.append("artifact", {"file": journal.keep_text(name, name), "folder": None})
    worker.append("metrics", {"a": 0.0}, 0)
    for step in (1, 2):
        other.append("metrics", {"a": float(step)}, step)
        with pytest.raises(Away, match="no bucket"):
            _delivery(outbox, store, said).deliver()
        assert _values(store) == [("a", float(done), done) for done in range(step + 1)]
    assert outbox.count() == 2


def test_files_whose_store_is_away_hold_up_nothing_else(tmp_path, said):
    outbox, store = Outbox(tmp_path), Split()
    journal = outbox.journal("s")
    places = [journal.keep_text(name, name) for name in ("first", "second")]
    for place in places:
        journal.append("artifact", {"file": place, "folder": None})
    journal.append("tags", {"a": "b"})
    for _ in range(3):
        with pytest.raises(Away, match="no bucket"):
            _delivery(outbox, store, said).deliver()
    assert store.came == [("s", "tags", "a", "b", 0)] and outbox.count() == 2
    assert all(journal.kept(place) for place in places)
    store.files_away = False
    _delivery(Outbox(tmp_path), store, said).deliver()
    assert [value for *_, name, value, _ in store.came if name == "file"] == places and outbox.count() == 0
    assert not any(journal.kept(place) for place in places)


def test_a_request_that_hangs_does_not_hold_up_the_end(tmp_path, said):
    class Hanging(FakeStore):
        hold = threading.Event()

        def send(self, journal, entries):
            self.hold.wait(10)
            super().send(journal, entries)

    outbox, store = Outbox(tmp_path), Hanging()
    outbox.journal("s").append("tags", {"a": "b"})
    outbox.journal("s").append("params", {"c": "d"})
    started = time.monotonic()
    with _delivery(outbox, store, said, patience=0.1) as delivery:
        delivery.flush()
    assert time.monotonic() - started < 2 and "2 entries wait" in said[0]
    store.hold.set()
    delivery._thread.join(5)
    assert [item[1] for item in store.came] == ["tags"], "a request under way may end, and no other begins"


def test_what_is_refused_is_set_aside_and_the_rest_goes_on(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore(refuses={"bad", "worse"})
    journal = outbox.journal("stage1")
    for step in range(50):
        journal.append("metrics", {"loss": 1.0, **({"bad": 2.0} if step == 20 else {}), "lr": 3.0}, step)
    journal.append("tags", {"worse": "x"})
    journal.append("tags", {"fine": "x"})
    _delivery(outbox, store, said).deliver()
    assert _values(store) == [(name, value, step) for step in range(50) for name, value in (("loss", 1.0), ("lr", 3.0))]
    assert _values(store, "tags") == [("fine", "x", 0)]
    refused = [json.loads(line) for line in (tmp_path / "outbox/stage1/refused.jsonl").read_text().splitlines()]
    assert [(r["reason"], r["values"], r["step"]) for r in refused] == [
        ("invalid name", {"bad": 2.0}, 20),
        ("invalid name", {"worse": "x"}, 0),
    ]
    assert len(said) == 1 and "stage1" in said[0] and "refused.jsonl" in said[0], "said once"


def test_a_line_torn_by_a_kill_is_told_apart_from_one_being_written(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("s")
    journal.append("metrics", {"a": 1.0}, 1)
    journal.append("metrics", {"a": 2.0}, 2)
    (segment,) = (tmp_path / "outbox/s").glob("*.jsonl")
    os.truncate(segment, segment.stat().st_size - 9)

    living = _delivery(outbox, store, said)
    living._began = 0
    living.deliver()
    assert _values(store) == [("a", 1.0, 1)] and not said and outbox.count() == 0

    Outbox(tmp_path).journal("s").append("metrics", {"a": 3.0}, 3)
    _delivery(Outbox(tmp_path), store, said).deliver()
    assert _values(store) == [("a", 1.0, 1), ("a", 3.0, 3)]
    assert "this line is damaged" in said[0]
    _delivery(Outbox(tmp_path), store, said).deliver()
    assert len(said) == 1 and store.requests == 2


@settings(max_examples=60, deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_anywhere_costs_its_own_lines_only(tmp_path_factory, damage):
    tmp_path, said, store = tmp_path_factory.mktemp("o"), [], FakeStore()
    journal = Outbox(tmp_path).journal("s")
    for step in range(6):
        journal.append("metrics", {"a": float(step)}, step)
    (segment,) = (tmp_path / "outbox/s").glob("*.jsonl")
    clean = segment.read_bytes()
    data = bytearray(clean)
    for place, byte in damage:
        data[place % len(data)] = byte
    segment.write_bytes(data)
    _delivery(Outbox(tmp_path), store, said).deliver()
    came = {json.dumps(item) for item in store.came}
    untouched = [
        step
        for step, (old, line) in enumerate(zip(clean.split(b"\n"), bytes(data).split(b"\n"), strict=False))
        if old == line and old and data.count(b"\n") == clean.count(b"\n")
    ]
    assert all(json.dumps(("s", "metrics", "a", float(step), step)) in came for step in untouched)
    assert Outbox(tmp_path).count() == 0, "nothing blocks what follows"


def test_a_full_disk_is_told_and_leaves_the_file_readable(tmp_path, said, monkeypatch):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("s")
    write, calls = os.write, []

    def full(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            return write(descriptor, data[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SteadyDancerError, match="No space left on device"):
        journal.append("metrics", {"a": 1.0}, 1)
    monkeypatch.setattr(os, "write", write)
    journal.append("metrics", {"a": 2.0}, 2)
    _delivery(outbox, store, said).deliver()
    assert _values(store) == [("a", 2.0, 2)] and "damaged" in said[0]


def test_artifacts_are_kept_as_they_were(tmp_path):
    outbox = Outbox(tmp_path / "work")
    journal = outbox.journal("s")
    picture = tmp_path / "picture.png"
    picture.write_text("before")
    with commits.write(tmp_path / "made", "thing") as folder:
        (folder / "page.html").write_text("page")
    places = [journal.keep(picture), journal.keep(tmp_path / "made/page.html"), journal.keep_text("{}", "COMMIT.json")]
    picture.write_text("after")
    kept = [journal.kept(place) for place in places]
    assert [path.read_text() for path in kept] == ["before", "page", "{}"]
    assert [path.name for path in kept] == ["picture.png", "page.html", "COMMIT.json"]
    assert kept[1].samefile(tmp_path / "made/page.html"), "a second name, not a copy"
    commits.verify(commits.read(tmp_path / "made"))
    (tmp_path / "made/page.html").unlink()
    assert kept[1].read_text() == "page"
    for place in places:
        journal.append("artifact", {"file": place, "folder": None})
    _delivery(outbox, FakeStore(), []).deliver()
    assert not any(path.exists() for path in kept), "gone once sent"
    assert journal.kept("../../../../picture.png") is None
    with pytest.raises(SteadyDancerError, match="nothing.png"):
        journal.keep(tmp_path / "nothing.png")


def test_processes_write_side_by_side(tmp_path, said):
    outbox, store = Outbox(tmp_path), FakeStore()
    journal = outbox.journal("a/../b")
    journal.append("tags", {"who": "driver"})
    code = (
        "import pickle, sys\n"
        "journal = pickle.loads(sys.stdin.buffer.read())\n"
        "for step in range(1000): journal.append('metrics', {'loss': 0.5}, step)\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    workers = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=root) for _ in range(2)]
    for worker in workers:
        worker.stdin.write(pickle.dumps(journal))
        worker.stdin.close()
    for step in range(200):
        journal.append("metrics", {"load": 1.0}, step)
    for worker in workers:
        assert worker.wait(20) == -9
    _delivery(outbox, store, said).deliver()
    steps = [step for name, _, step in _values(store) if name == "loss"]
    assert sorted(steps) == sorted([*range(1000), *range(1000)])
    assert [step for name, _, step in _values(store) if name == "load"] == list(range(200))
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["a%2F%2E%2E%2Fb"], "no name leaves the folder"
    assert {entry.kind for entry in journal.entries()} == {"tags", "metrics"} and DAMAGED not in said
