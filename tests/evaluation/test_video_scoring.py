"""Scores of one video: kept as soon as they are there, computed once, each metric's fault its own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_files import clip, estimator, small

import model.video
from evaluation import generation, set_scoring, video_scoring
from evaluation.benchmarks.benchmark import played
from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.poses import Poses
from evaluation.features import Features, Here
from evaluation.metrics import registry
from evaluation.metrics.metric import Metric, Score
from evaluation.metrics.sets.registry import SET_METRICS
from evaluation.tasks import Failure
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


def everything(tmp_path, names, embedder=None, *overrides):
    config = load("demo", ["clip.frames=5", "clip.fps=12.0", *overrides])
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
    counted(monkeypatch, names, fails={"b": ZeroDivisionError("no pixels\nin process 4711")})
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
        asked.book(video, played(benchmark, "index"), one, True),
    ]
    assert len({book, *others}) == 6
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(video.read_bytes())
    assert asked.book(copy, benchmark, one, True) == book
    more = replace(benchmark, name="larger", pairs=benchmark.pairs[:3])
    assert asked.book(video, more, one, True) == book
    # which metrics are asked for decides nothing about any of them
    fewer = everything(tmp_path, ["psnr"], None, "evaluate.metrics=[ssim]", "evaluate.sets=[kid]")
    assert fewer.book(video, benchmark, one, True) == book


def test_another_file_in_place_of_one_that_the_settings_name_is_noticed(tmp_path, pair):
    video, one, benchmark = pair
    for key in ("pose.weights", "pose.detector", "encode.codec_weights"):
        file = tmp_path / key / "file.bin"
        file.parent.mkdir()
        named = file.parent if key == "encode.codec_weights" else file
        books, units = set(), set()
        for content in (b"one", b"two", b"one"):
            file.write_bytes(content)
            asked = everything(tmp_path, ["psnr"], None, f"{key}={named}")
            books.add(asked.book(video, benchmark, one, True))
            units.add(generation._unit_name(asked.config, generation.ModelUnderTest("m", None), benchmark, one, 0))
        assert len(books) == len(units) == 2


def test_a_set_metric_that_breaks_costs_itself_only(tmp_path, pair, monkeypatch):
    def breaks(evidence):
        raise ZeroDivisionError("no rows")

    broken = {name: replace(SET_METRICS[name], rows=breaks) for name in ("kid", "fid")}
    monkeypatch.setitem(set_scoring.SET_METRICS, "kid", broken["kid"])
    asked = replace(everything(tmp_path, ["psnr"]), set_keys={"kid": "kid@1", "fid": "fid@1"})
    scores, rows = score_video(*pair, asked, True)
    assert scores["psnr"].status != "error" and rows["kid"] == Failure("ZeroDivisionError: no rows")
    table = set_scoring.score_sets({("m", "p"): rows}, {"p": "same_source"}, {"kid": "", "fid": ""}).to_pylist()
    assert [(row["status"], row["reason"]) for row in table] == [
        ("error", "1 of 1 videos: ZeroDivisionError: no rows"),
        ("not_computable", "no backbone: inception_fid"),
    ]


def test_rows_that_were_cut_short_are_taken_for_none(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, real=np.ones((2, 3)), generated=np.ones((2, 3)), fps=12.0, size=(4, 6), reason="")
    content = path.read_bytes()
    assert set_scoring.read(path).size == (4, 6)
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert set_scoring.read(path) is None
    assert set_scoring.read(tmp_path / "nowhere.npz") is None


@pytest.mark.parametrize(("most_frames", "most_pixels"), [(4, 10**9), (100, 5 * 48 * 32 - 1)])
@pytest.mark.parametrize("said", [True, False])
def test_too_large_a_video_is_refused_and_the_limits_are_told(
    tmp_path, pair, monkeypatch, most_frames, most_pixels, said
):
    monkeypatch.setattr(video_scoring, "MOST_FRAMES", most_frames)
    monkeypatch.setattr(video_scoring, "MOST_PIXELS", most_pixels)
    decoded, true, decode = [], model.video.probe, model.video.frames
    monkeypatch.setattr(model.video, "frames", lambda path: decoded.append(path) or decode(path))
    if not said:  # by the header
        monkeypatch.setattr(model.video, "probe", lambda path: replace(true(path), declared_frames=0))
    with pytest.raises(model.video.UnreadableVideo, match=f"5 frames of 32x48.*up to 4.*{most_frames} frames"):
        score_video(*pair, everything(tmp_path, ["psnr"]), True)
    assert (pair[0] in decoded) == (not said)


def test_the_estimator_and_the_codec_are_built_once(monkeypatch):
    from model.pose import estimator as estimators

    built = []
    monkeypatch.setattr(estimators, "build_estimator", lambda settings: built.append(settings) or object())
    config = load("demo")
    video_scoring._estimator.cache_clear()
    assert video_scoring.pose_estimator(config.pose) is video_scoring.pose_estimator(load("demo").pose)
    video_scoring.pose_estimator(load("demo", ["pose.detect_every=3"]).pose)
    assert [settings.detect_every for settings in built] == [config.pose.detect_every, 3]
    video_scoring._estimator.cache_clear()
    video_scoring._codec.cache_clear()
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first = video_scoring._round_trip(picture, config)
    assert first.shape == picture.shape and (video_scoring._round_trip(picture, config) == first).all()
    assert video_scoring._codec.cache_info().misses == 1


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

    forward.device = "cpu"
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
    forward.device = "cuda"  # which rounds differently
    assert (kept("mean", pictures) == first).all() and len(shown) == 7


def test_networks_are_used_in_full_precision():
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    backbone = SimpleNamespace(network="n", load=lambda files: torch.nn.Identity(), embed=lambda n, p, o: p)
    Here(SimpleNamespace(of=lambda backbone: {}))(backbone, np.zeros(3))
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
