"""Scores of one video: kept as soon as they are there, computed once, each metric's fault its own."""

from dataclasses import replace

import numpy as np
import pytest
from benchmark_files import clip, estimator, small

from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.poses import Poses
from evaluation.evaluate import SECTIONS
from evaluation.features import Features
from evaluation.metrics import registry
from evaluation.metrics.metric import Metric, Score
from evaluation.video_scoring import Asked, score_video
from infra.config import load

ANY = registry.METRICS["temporal_flickering"]


@pytest.fixture
def pair(tmp_path):
    small(tmp_path / "b")
    clip(tmp_path / "generated.mp4", frames=5)
    benchmark = folder_benchmark(tmp_path / "b", Poses(tmp_path / "poses", load("demo").pose, estimator))
    return tmp_path / "generated.mp4", benchmark.pairs[0], benchmark


def counted(monkeypatch, names, *, fails=()):
    """Metrics that give their place in ``names`` and note that they were asked."""
    asked = []

    def metric(number, name) -> Metric:
        def compute(evidence):
            asked.append(name)
            if name in fails:
                raise fails[name]
            return float(number)

        return replace(ANY, name=name, compute=compute)

    monkeypatch.setattr(registry, "METRICS", {name: metric(n, name) for n, name in enumerate(names)})
    return asked


def everything(tmp_path, names, embedder=None):
    config = load("demo", ["clip.frames=5", "clip.fps=12.0"])
    keys = {name: f"{name}@1" for name in names}
    return Asked(config, keys, {}, embedder, estimator, tmp_path / "scores")


def test_what_was_computed_before_a_kill_is_not_computed_again(tmp_path, pair, monkeypatch):
    names = ["a", "b", "c", "d"]
    asked = counted(monkeypatch, names, fails={"c": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        score_video(*pair, everything(tmp_path, names), True)
    assert asked == ["a", "b", "c"]
    asked = counted(monkeypatch, names)
    scores, _ = score_video(*pair, everything(tmp_path, names), True)
    assert asked == ["c", "d"] and [score.value for score in scores.values()] == [0, 1, 2, 3]
    score_video(*pair, everything(tmp_path, names), True)
    assert asked == ["c", "d"]


def test_a_damaged_book_is_written_anew(tmp_path, pair, monkeypatch):
    names = ["a", "b"]
    counted(monkeypatch, names)
    first, _ = score_video(*pair, everything(tmp_path, names), True)
    (book,) = (tmp_path / "scores").glob("*.json")
    book.write_text(book.read_text()[:-7])
    asked = counted(monkeypatch, names)
    assert score_video(*pair, everything(tmp_path, names), True)[0] == first and asked == names


def test_a_metric_that_breaks_costs_its_own_row_and_is_tried_again(tmp_path, pair, monkeypatch):
    names = ["a", "b", "c"]
    counted(monkeypatch, names, fails={"b": ZeroDivisionError("no pixels")})
    scores, _ = score_video(*pair, everything(tmp_path, names), True)
    assert scores["b"] == Score(None, "error", "ZeroDivisionError: no pixels")
    assert (scores["a"].value, scores["c"].value) == (0, 2)
    asked = counted(monkeypatch, names)
    scores, _ = score_video(*pair, everything(tmp_path, names), True)
    assert asked == ["b"] and scores["b"].value == 1


def test_another_video_pair_or_setting_has_scores_of_its_own(tmp_path, pair):
    video, one, benchmark = pair
    asked = everything(tmp_path, ["psnr"])
    book = asked.book(video, benchmark, one, True)
    clip(tmp_path / "other.mp4", frames=4)
    others = [
        asked.book(tmp_path / "other.mp4", benchmark, one, True),
        asked.book(video, benchmark, benchmark.pairs[1], True),
        asked.book(video, benchmark, one, False),
        replace(asked, config=load("demo", ["clip.frames=9", "clip.fps=12.0"])).book(video, benchmark, one, True),
    ]
    assert len({book, *others}) == 5
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(video.read_bytes())
    assert asked.book(copy, benchmark, one, True) == book
    assert "evaluate" in SECTIONS  # which metrics are asked for decides nothing about any of them


def test_features_are_kept_by_content_and_a_cut_file_is_made_again(tmp_path, monkeypatch):
    from evaluation import features

    class Weights:
        def id_of(self, backbone):
            return backbone

    monkeypatch.setattr(features, "BACKBONES", {"mean": "mean@1", "other": "other@1"})
    shown = []

    def forward(backbone, pictures, others):
        shown.append(backbone)
        return pictures.mean((1, 2, 3))[:, None]

    kept = Features(tmp_path, Weights(), forward)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    first = kept("mean", pictures)
    assert (kept("mean", pictures.copy()) == first).all() and shown == ["mean@1"]
    assert first.dtype == np.float32
    kept("mean", pictures, pictures)
    kept("mean", pictures[:, ::-1])
    kept("mean", pictures.reshape(3, 4, 16, 3))
    kept("other", pictures)
    assert len(shown) == 5
    for path in tmp_path.rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:-1])
    assert (kept("mean", pictures) == first).all() and len(shown) == 6
