"""The comparison page: what is in it, and what cannot get out of it."""

import base64
import json
import math
import re
import time
from itertools import product

import numpy as np
import pytest
from evaluations import dot, pair, scored, written

from evaluation import media
from evaluation.comparison import Comparison, held_together
from evaluation.metrics.registry import METRICS
from evaluation.page import render
from evaluation.page_pairs import pairs_of
from evaluation.page_statistics import gains_of
from evaluation.seeds import averaged
from infra import commits
from model import video

EVIL = "</script><script>alert(1)</script><!-- <b>'\"&"


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def page_of(*evaluations) -> str:
    return render(held_together(evaluations), {})


def test_no_text_leaves_its_place(tmp_path):
    scores = [scored(EVIL, "p", None, reason="broken"), scored("b", "p", None, reason=EVIL)]
    commit = written(tmp_path / "e", [EVIL, "b"], [pair("p", prompt=EVIL, style=EVIL)], scores)
    page = page_of(commit)
    assert "alert(1)</script>" not in page and "<b>'" not in page
    assert page.count("<script") == page.count("</script>") == 2
    (told,) = data_of(page)["pairs"]
    assert (told["prompt"], told["strata"]["style"]) == (EVIL, EVIL)
    assert told["videos"][0]["reason"] == "broken"


def test_metrics_without_any_value_stand_apart_with_their_reason(tmp_path):
    scores = [scored(model, "p", 1.0) for model in "ab"] + [scored(model, "p", None, "lpips") for model in "ab"]
    page = page_of(written(tmp_path / "e", "ab", [pair("p")], scores))
    assert [metric["name"] for metric in data_of(page)["metrics"]] == ["psnr"]
    assert "without a value of any pair: 1" in page and "<b>lpips</b>: no ground truth" in page
    nothing = page_of(written(tmp_path / "n", "a", [pair("p")], [scored("a", "p", None)]))
    assert [metric["name"] for metric in data_of(nothing)["metrics"]] == ["psnr"]


def test_nothing_is_fetched(tmp_path):
    commit = written(tmp_path / "e", ["a"], [pair("p")], [scored("a", "p", 1.0)], videos={"videos/a/p": (dot(4), 16)})
    page = page_of(commit)
    assert "default-src 'none'" in page and "data:video/mp4;base64," in page
    assert not re.search(r'(?:src|href)="|url\(|@import|https?://(?!www\.w3\.org/2000/svg)', page)


def test_a_large_video_is_embedded_as_a_smaller_one(tmp_path, monkeypatch):
    frames = np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), dtype=np.uint8)
    commit = written(tmp_path / "e", ["s"], [pair("p")], [scored("s", "p", 1.0)], videos={"videos/s/p": (frames, 16)})
    sizes = {}
    for name, limit, total in (("whole", 10**9, 10**9), ("small", 1000, 10**9), ("shared", 10**9, 1000)):
        monkeypatch.setattr(media, "LARGEST_BYTES", limit)
        monkeypatch.setattr(media, "LARGEST_TOTAL", total)
        page = page_of(commit)
        (tmp_path / "v.mp4").write_bytes(base64.b64decode(re.search(r"data:video/mp4;base64,([^<]+)", page)[1]))
        sizes[name] = video.probe(tmp_path / "v.mp4")
        assert data_of(page)["pairs"][0]["videos"][0] == {"key": "0/0", "fps": 16, "frames": 4}
    assert (sizes["whole"].width, sizes["whole"].height) == (640, 480)
    for name in ("small", "shared"):
        assert (sizes[name].height, sizes[name].declared_frames) == (media.PREVIEW_SHORT_SIDE, 4)


def test_a_damaged_video_says_so_and_the_rest_is_shown(tmp_path):
    pairs = [pair("p"), pair("q")]
    scores = [scored("a", p.id, 1.0) for p in pairs]
    commit = written(tmp_path / "e", ["a"], pairs, scores, videos={f"videos/a/{p.id}": (dot(4), 16) for p in pairs})
    (commit.path / "videos/a/p.mp4").write_bytes(b"\0" * commit.files["videos/a/p.mp4"]["bytes"])
    broken, sound = (told["videos"][0] for told in data_of(page_of(commit))["pairs"])
    assert broken == {"reason": "videos/a/p.mp4 is not a readable video"} and sound["key"] == "1/0"


def test_curves_lie_at_their_frames(tmp_path):
    psnr = scored("a", "p", 1.0)["metric_id"]
    curves = [("b", "p", "psnr", psnr, *at) for at in ((2, 0.123456), (0, 3.0), (3, None))]
    commit = written(tmp_path / "e", ["a", "b"], [pair("p")], [scored(m, "p", 1.0) for m in "ab"], curves=curves)
    assert data_of(page_of(commit))["pairs"][0]["curves"] == {psnr: [None, [3.0, None, 0.1235, None]]}


def test_costs_are_by_model_and_pair_of_each_run(tmp_path):
    runs = [
        written(
            tmp_path / name / "evaluation",
            ["s"],
            [pair("p"), pair("q")],
            [scored("s", p, 1.0) for p in "pq"],
            costs=[("s", p, n * seconds, n * 100.0, "H200", 40) for p, n in (("p", 1), ("q", 3)) if seconds],
        )
        for name, seconds in (("one", 2.0), ("two", 0), ("three", 5.0))
    ]
    data = data_of(page_of(*runs))
    told = [(c["seconds"], c["peak_mib"], c["nfe"], c["device"], c["videos"]) if c else None for c in data["costs"]]
    assert data["models"] == ["one/s", "two/s", "three/s"]
    assert told == [(4.0, 300.0, "40", "H200", 2), None, (10.0, 300.0, "40", "H200", 2)]
    assert [cost and cost["seconds"] for cost in data["pairs"][1]["costs"]] == [6.0, None, 15.0]


@pytest.mark.parametrize(
    ("metric", "a", "b", "gain"),
    [
        ("psnr", [10, 12], [13, 13], 2.0),
        ("motion_energy_ratio", [0.4, 1.9], [1.1, 1.1], math.log(1.9 / 0.4) / 2 - math.log(1.1)),  # nearer to 1
    ],
)
def test_a_gain_is_positive_where_the_second_is_better(tmp_path, metric, a, b, gain):
    pairs = [pair("p", style="real"), pair("q", style="anime"), pair("only a", style="real")]
    values = {"a": [*a, 5.0], "b": [*b, None]}
    scores = [scored(m, p.id, v, metric) for m in "ab" for p, v in zip(pairs, values[m], strict=True)]
    (told,) = data_of(page_of(written(tmp_path / "e", "ab", pairs, scores)))["gains"].values()
    n, clusters, mean, low, high, *means = told["0 1"][""]
    assert means == [sum(a) / 2, pytest.approx(sum(b) / 2)]
    assert (n, clusters, mean) == (2, 2, pytest.approx(gain)) and low < gain < high
    assert (low + high) / 2 == pytest.approx(gain)
    assert told["0 1"]["style=real"][:2] == [1, 1] and told["0 1"]["style=real"][3] is None


def test_a_stratum_of_numbers_is_parted_in_thirds(tmp_path):
    pairs = [pair(f"p{n}", gap=float(n), shape="square") for n in range(9)]
    data = data_of(page_of(written(tmp_path / "e", ["a"], pairs, [scored("a", p.id, 1.0) for p in pairs])))
    assert set(data["strata"]) == {"gap"}, "one value parts nothing"
    found = [told["strata"]["gap"] for told in data["pairs"]]
    assert [found.count(value) for value in dict.fromkeys(found)] == [3, 3, 3]
    assert found == sorted(found, key=list(dict.fromkeys(found)).index)


def test_what_is_said_of_all_videos_together_is_by_model(tmp_path):
    told = {"metric_id": "fid@1/x<y", "kind": "same_source", "standard_error": None, "videos": 7}
    sets = [
        {"model": "b", "value": 12.5, "reason": None, **told},
        {"model": "a", "value": None, "reason": "no weights", **told},
    ]
    scores = [scored(model, "p", 1.0) for model in "abc"]
    page = page_of(written(tmp_path / "e", "abc", [pair("p")], scores, sets=sets))
    cells = re.search(r'<table id="sets">.*?<tbody>(.*?)</tbody>', page, re.S)[1]
    shown = " ".join(re.sub(r"<.*?>", " ", cells).split())
    assert shown == "fid@1/x&lt;y same source no weights 12.5 7 videos not asked for"
    assert 'id="sets"' not in page_of(written(tmp_path / "f", "abc", [pair("p")], scores))


def test_only_the_first_pairs_have_players(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.page.SHOWN_PAIRS", 1)
    pairs = [pair("p"), pair("q")]
    videos = {f"videos/a/{p.id}": (dot(4), 16) for p in pairs}
    page = page_of(written(tmp_path / "e", ["a"], pairs, [scored("a", p.id, 1.0) for p in pairs], videos=videos))
    first, second = data_of(page)["pairs"]
    assert "key" in first["videos"][0] and "only the first" in second["videos"][0]["reason"]
    assert page.count("data:video/mp4") == 1 and "The last 1 pairs" in page


def test_a_large_reference_is_embedded_as_a_smaller_one(tmp_path, monkeypatch):
    import cv2

    commit = written(tmp_path / "e", ["s"], [pair("p"), pair("q")], [scored("s", p, 1.0) for p in "pq"])
    picture = np.random.default_rng(0).integers(0, 256, (640, 960, 3), dtype=np.uint8)
    with commits.write(tmp_path / "f", "evaluation", meta=commit.meta) as folder:
        for name in commit.files:
            (folder / name).write_bytes((commit.path / name).read_bytes())
        (folder / "references").mkdir()
        cv2.imwrite(str(folder / "references/p.png"), picture)
        (folder / "references/q.png").write_bytes(bytes(200_000))
    monkeypatch.setattr(media, "LARGEST_BYTES", 100_000)
    page = page_of(commits.read(tmp_path / "f"))
    found = re.search(r"data:image/jpeg;base64,([^<]+)", page)[1]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(found), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (media.PREVIEW_SHORT_SIDE, 480, 3) and "data:image/png" not in page
    assert data_of(page)["pairs"][1]["reference"] == {"reason": "references/q.png is not a readable picture"}


def test_curves_of_other_weights_are_by_the_ids_of_their_metrics(tmp_path):
    runs = []
    for name in ("one", "two"):
        score = {**scored("s", "p", 1.0, "lpips"), "weights": f"vgg-{name}"}
        curves = [("s", "p", "lpips", score["metric_id"], 0, 0.5)]
        runs.append(written(tmp_path / name / "evaluation", ["s"], [pair("p")], [score], curves=curves))
    data = data_of(page_of(*runs))
    assert set(data["pairs"][0]["curves"]) == {metric["id"] for metric in data["metrics"]} and len(data["metrics"]) == 2


def test_gains_of_a_large_comparison_are_quick():
    models, one = [f"m{n}" for n in range(6)], [scored("m", "p", 1.0, name) for name in list(METRICS)[:40]]
    pairs = [pair(f"p{n}", driving=f"d{n // 3}", style=f"s{n % 3}", gap=float(n)) for n in range(36)]
    given = product(models, enumerate(pairs), one)
    scores = [{**row, "model": model, "pair": p.id, "value": float(n)} for model, (n, p), row in given]
    comparison = Comparison([], models, pairs, averaged(scores), [], {}, {}, [])
    told = pairs_of(comparison, media.Media(0), 0)
    start = time.process_time()
    gains = gains_of(comparison, told)
    assert time.process_time() - start < 3
    assert len(gains) == 40 and {len(by_two) for by_two in gains.values()} == {15}
