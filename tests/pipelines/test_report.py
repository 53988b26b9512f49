"""The report and its pictures, from rows made by hand."""

import base64
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import FPS, FRAMES, GATES, row, sharded, world
from PIL import Image

from pipelines.checks import validation
from pipelines.columns import BY_NAME
from pipelines.gates import Gate
from pipelines.report import page as report
from pipelines.report.contact_sheet import Pictures
from pipelines.report.plots import BINS, histogram

HOLDS = {"rule": "clip_id is unique", "view": "every row", "severity": "critical", "rows": 9, "passed": True}
WARNS = {"rule": "drift", "view": "drift", "severity": "warning", "rows": 3, "passed": False}
CHECKS = [HOLDS | {"broken_by": []}, WARNS | {"broken_by": ["blur (median 1)"]}]
COSTS = [("scan", 3, 1, 12.0, 20.0), ("pose", 0, 0, 0.0, 0.0)]


@pytest.fixture
def strip(tmp_path):
    path = tmp_path / "strip.jpg"
    Image.fromarray(np.full((40, 120, 3), 90, np.uint8)).save(path)
    return path


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("<main>")[1].split("<script>")[0]))


def test_the_report_names_everything_needs_no_network_and_is_reproducible(tmp_path, strip):
    rows = sharded(tmp_path / "shards", list(world().values()))
    rows[0] |= {"source": "<script>alert(1)</script>.mp4", "licence": None}
    shown = {rows[1]["clip_id"], rows[2]["clip_id"]}
    preview = lambda clip: strip if clip in shown else tmp_path / "no.jpg"  # noqa: E731
    pages = []
    for given_rows in (rows, validation.arrow_table(rows)):
        report.write(tmp_path / "a.html", given_rows, GATES, CHECKS, preview, costs=COSTS, title="Dances & more")
        pages.append((tmp_path / "a.html").read_text())
    assert pages[0] == pages[1]
    page, text = pages[0], text_of(pages[0])
    assert "default-src 'none'" in page and not re.search(r"(src|href)=[\"']?(https?:)?//|@import", page)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "Dances &amp; more" in page
    assert all(made["clip_id"] in page for made in rows)
    assert page.count(base64.b64encode(strip.read_bytes()).decode()) == 2 and "aspect-ratio:120/40" in page
    for reason, number in (("person count", 1), ("too dark", 1), ("unreadable", 1), ("spare", 1), ("duplicate", 2)):
        assert f"{reason} {number} " in text
    for words in ("asked for: brightness 10 to 210", "tier hq", "1 of 2 hold", "warning drift 3 blur (median 1)"):
        assert words in text, words
    assert "41.7% of candidates" in text and BY_NAME["brightness"].definition in page
    assert "scan 3 1 12 100 % 20 4" in text and "Without any value: aesthetic" in text


def test_the_funnel_loses_each_row_once_and_ends_with_what_is_kept(tmp_path):
    rows = [made for number in range(3) for made in world(number).values()]
    report.write(tmp_path / "a.html", rows, GATES, [], lambda clip: None)
    page = (tmp_path / "a.html").read_text()
    steps = re.findall(r'<div class="step">.*?<b>(\d+)</b>', page, re.S)
    # of each world's twelve: unreadable, a copy, too short; too dark; two people; spare, duplicate
    assert steps == ["36", "27", "24", "21", "15"]
    assert sum(made["verdict"] == "kept" for made in rows) == 15


def test_a_large_dataset_makes_no_large_page(tmp_path, strip, monkeypatch):
    monkeypatch.setattr(report, "ROWS_SHOWN", 50)
    rows = [row(f"clip{n}", blur=n / 400) for n in range(400)]
    report.write(tmp_path / "a.html", rows, GATES, [], lambda clip: strip)
    page = (tmp_path / "a.html").read_text()
    assert page.count('<td class="kept">') == 50 and "50 of 400 rows" in page and "24 of 400 clips" in page
    assert page.count("data:image/jpeg") < 24 + 2 * 3 * len(report.MAIN_SCORES) + 1


@pytest.mark.parametrize("rows", [[row("plain")], [row("noise", fault="unreadable", reached="found", error=None)]])
def test_a_report_of_one_row_is_written(rows, tmp_path):
    report.write(tmp_path / "a.html", rows, GATES, [], lambda clip: None)
    assert rows[0]["clip_id"] in (tmp_path / "a.html").read_text()


def test_pictures_are_embedded_once_within_the_budget_and_only_pictures(tmp_path, strip):
    size = strip.stat().st_size
    (tmp_path / "no.jpg").write_text("<svg onload=alert(1)>")
    pictures = Pictures(lambda clip: tmp_path / "no.jpg" if clip == "bad" else strip, budget=2 * size)
    names = [pictures.show(clip) for clip in ("a", "bad", "b", "a", "c")]
    assert names == ["strip-0", None, "strip-1", "strip-0", None]
    assert pictures.left_out == 1 and pictures.style.count("url(") == 2


values = st.lists(st.floats(-1e6, 1e6), max_size=40).map(np.array)


@given(values, values, st.floats(-1e6, 1e6))
def test_a_histogram_shows_every_value_and_gate_inside_its_frame(kept, rejected, bound):
    svg = histogram(kept, rejected, [Gate("blur", "blurred", max=bound)])
    numbers = [float(x) for x in re.findall(r'x1="([^"]+)"', svg)]
    assert all(0 <= x <= 270 for x in numbers) and "nan" not in svg
    bars = svg.count("M") if len(kept) + len(rejected) else 0
    assert bars <= 2 * BINS and bool(bars) == bool(len(kept) + len(rejected))


def test_the_frames_of_made_rows_fit_what_the_report_says(tmp_path):
    report.write(tmp_path / "a.html", [row(f"clip{n}") for n in range(8)], GATES, [], lambda clip: None)
    assert f"<b>{8 * FRAMES / FPS:.3g} s</b><span>kept</span>" in (tmp_path / "a.html").read_text()
