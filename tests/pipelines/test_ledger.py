"""The ledger: whole lines count, whatever else is in the files."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.work.guard import Work
from pipelines.work.ledger import Ledger, Record, Segment, key_of, new_run, record_of


def record(number, value=0, fault=None):
    work = Work([{"value": value, "text": "Zoë\n\u2028"}], {"a.jpg": ["ab" * 32, 7]}, fault, fault and "why", 1.5, 0.5)
    return dataclasses.replace(Record.of(f"{number:032x}", f"clip {number}", work), finished=1.0)


def written(folder, run, numbers, value=0, block="b"):
    segment = Segment(folder, run, block)
    for number in numbers:
        segment.append(record(number, value))
    segment.close()
    return segment.path


def content(folder):
    return {one.identity: one.rows[0]["value"] for one in Ledger(folder).refresh()}


def test_what_is_written_is_read_and_is_plain_json(tmp_path):
    path = written(tmp_path, new_run(), range(3))
    found = Ledger(tmp_path).refresh().find(f"{1:032x}")
    assert dataclasses.replace(found, run="") == record(1)
    assert [json.loads(line)["identity"] for line in path.read_text().splitlines()] == ["clip 0", "clip 1", "clip 2"]
    assert Ledger(tmp_path / "nothing").refresh().find("x") is None


def test_the_latest_run_counts_whatever_a_worker_left_over_from_an_earlier_one_adds(tmp_path):
    first, second = new_run(), new_run()
    written(tmp_path, first, [1, 2], value=1)
    written(tmp_path, second, [2, 3], value=2)
    ledger = Ledger(tmp_path).refresh()
    written(tmp_path, first, [3], value=1)
    assert {one.identity: one.rows[0]["value"] for one in ledger.refresh()} == {"clip 1": 1, "clip 2": 2, "clip 3": 2}
    assert content(tmp_path) == {"clip 1": 1, "clip 2": 2, "clip 3": 2}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_byte_costs_its_line_only(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("ledger")
    path = written(folder, new_run(), range(4))
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :])
    hit = good[:place].count(b"\n")
    left = set(content(folder))
    assert {f"clip {number}" for number in range(4)} - left <= {f"clip {hit}", f"clip {hit + 1}"}
    assert f"clip {hit}" not in left or good[place : place + 1] == b"\n"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_torn_end_is_passed_over_and_written_on_after(tmp_path_factory, data):
    folder, run = tmp_path_factory.mktemp("ledger"), new_run()
    path = written(folder, run, range(3))
    good = path.read_bytes()
    # A line that lacks only its line feed is whole again once the next one is written.
    path.write_bytes(good[: data.draw(st.sampled_from([n for n, byte in enumerate(good) if byte != ord("\n")]))])
    ledger = Ledger(folder).refresh()
    whole = path.read_bytes().count(b"\n")
    assert len(ledger) == whole
    segment = Segment(folder, run, "b")
    assert len(segment.records) == whole
    segment.append(record(7))
    segment.close()
    assert set(content(folder)) == {f"clip {number}" for number in (*range(whole), 7)}
    assert len(ledger.refresh()) == whole + 1


def test_a_line_that_is_damaged_after_it_was_indexed_is_as_if_absent(tmp_path):
    path = written(tmp_path, new_run(), [1])
    ledger = Ledger(tmp_path).refresh()
    path.write_bytes(path.read_bytes().replace(b'"value": 0', b'"value": 9'))
    assert ledger.find(f"{1:032x}") is None


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b'{"crc": "00000000", "key": "', b"\xff" * 90 + b"\n"])
def test_what_is_no_line_of_a_ledger_has_no_key(line):
    assert key_of(line) is None
    assert record_of(record(1).line(), "r").key == key_of(record(1).line()) == f"{1:032x}"
