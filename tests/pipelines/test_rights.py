"""What must be known of sources, and lists of what is never used."""

import pytest

from infra.errors import UsageError
from infra.schema import Rights
from pipelines.ingest import rights
from pipelines.ingest.describing import describe
from pipelines.ingest.sources import find

BOTH = {"licence": "CC0", "consent": "written", "collected_at": "2024-05-01"}


def row(source, source_id=None, **facts):
    empty = dict.fromkeys(("licence", "consent", "provenance", "collected_at", "subject", "metadata", "caption"))
    return {
        "path": f"/data/{source}",
        "source": source,
        "source_id": source_id or source.ljust(64, "0"),
        **empty,
        **facts,
    }


def judged(policy, *rows):
    rows = [dict(row) for row in rows]
    policy(rows)
    return [(row.get("fault"), row.get("error")) for row in rows]


def test_what_is_missing_is_named():
    policy = rights.policy(Rights(required=["licence", "consent"]))
    assert judged(policy, row("a", **BOTH), row("b"), row("c", licence="CC0", consent="")) == [
        (None, None),
        ("rights", "its metadata lacks licence, consent"),
        ("rights", "its metadata lacks consent"),
    ]


def test_a_row_with_another_fault_keeps_it():
    policy = rights.policy(Rights(required=["licence"]))
    assert judged(policy, row("a", fault="unreadable", error="gone")) == [("unreadable", "gone")]


@pytest.mark.parametrize("date", ["2024-05-01", "2024-05-01T12:00:00+02:00", "20240501"])
def test_dates(date):
    assert judged(rights.policy(Rights()), row("a", collected_at=date)) == [(None, None)]


@pytest.mark.parametrize("date", ["yesterday", "May 2024", "2024-13-01", "01/05/2024"])
def test_what_is_no_date_is_told(date):
    assert judged(rights.policy(Rights()), row("a", collected_at=date)) == [
        ("rights", f"collected_at is no ISO 8601 date: {date!r}")
    ]


@pytest.mark.parametrize(
    "line",
    ["in/a.mp4", "./in/a.mp4", "AB" * 32, "https://example.org/a", "Jose\u0301", "  in/a.mp4\r", "s3://b/in/a.mp4"],
)
def test_a_source_is_opted_out_by_each_of_its_names(tmp_path, line):
    (tmp_path / "out.txt").write_bytes(f"\ufeffsomebody else\n{line}\n".encode())
    policy = rights.policy(Rights(opt_out=[str(tmp_path / "out.txt")]))
    named = row("in/a.mp4", "ab" * 32, provenance="https://example.org/a", subject="Jos\u00e9", path="s3://b/in/a.mp4")
    assert judged(policy, named, row("in/b.mp4")) == [("opted_out", "opted out by line 2 of out.txt"), (None, None)]


def test_every_copy_of_an_opted_out_content_goes_with_it_and_what_is_personal_is_not_kept(tmp_path):
    (tmp_path / "out.txt").write_text("Ada\n")
    policy = rights.policy(Rights(opt_out=[str(tmp_path / "out.txt")]))
    rows = [row("a", "1" * 64, subject="Ada", metadata='{"name": "Ada"}'), row("b", "1" * 64), row("c", "2" * 64)]
    policy(rows)
    assert [r.get("fault") for r in rows] == ["opted_out", "opted_out", None]
    assert "Ada" not in str(rows)


def test_the_work_folders_own_list_counts_when_it_is_there(tmp_path):
    own = tmp_path / "opt-out.txt"
    assert judged(rights.policy(Rights(), own), row("a")) == [(None, None)]
    own.write_text("a\n")
    assert judged(rights.policy(Rights(), own), row("a")) == [("opted_out", "opted out by line 1 of opt-out.txt")]


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("a\n".encode("utf-16"), "not a text file")])
def test_a_list_that_cannot_be_read_is_never_passed_over(tmp_path, content, message):
    if content:
        (tmp_path / "out.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        rights.policy(Rights(opt_out=[str(tmp_path / "out.txt")]))


def test_of_copies_the_one_with_rights_is_kept(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"same")
    (tmp_path / "t.jsonl").write_text('{"path": "b.mp4", "licence": "CC0"}\n')
    policy = rights.policy(Rights(required=["licence"]))
    rows = describe(find([tmp_path, tmp_path / "t.jsonl"]), policy=policy)
    assert [row.get("fault") for row in rows] == ["rights", None]
