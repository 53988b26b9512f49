"""The steps evaluate and compare on a small written dataset, with stand-in generators on the real engine."""

import hashlib
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from evaluation import compare as comparing
from evaluation import evaluate as evaluating
from evaluation.compare import compare
from evaluation.comparison import held_together
from evaluation.evaluate import evaluate
from evaluation.generation import preprocessed
from evaluation.tables import with_interval
from infra import commits
from infra.config import load
from infra.errors import SteadyDancerError
from infra.workspace import Workspace
from model import video
from model.pose.tracks import PoseTrack
from pipelines import shards

FRAMES, SIZE, FPS = 9, (64, 48), 16.0
CONFIG = load(
    "demo", [f"clip.frames={FRAMES}", "animate.area=3072", "evaluate.same_source=2", "evaluate.different_source=1"]
)


class Recorder:
    """Takes what a step logs."""

    def __init__(self):
        self.metrics, self.artifacts = {}, []

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics

    def log_artifact(self, path, folder=None):
        assert path.is_file()
        self.artifacts.append(path.name)


def moving_square(number: int) -> np.ndarray:
    frames = np.full((FRAMES, *SIZE, 3), 40 + 20 * number, np.uint8)
    for t in range(FRAMES):
        frames[t, 10:26, 4 + 2 * t : 20 + 2 * t] = (200, 30 * number, 90)
    return frames


def swinging(frames: int) -> PoseTrack:
    keypoints, scores = np.zeros((frames, 133, 2), np.float32), np.zeros((frames, 133), np.float32)
    angle = np.sin(np.arange(frames) / 3)
    scores[:, 5:17] = 1
    for joint, place in {5: (30, 12), 6: (18, 12), 11: (28, 34), 12: (20, 34)}.items():
        keypoints[:, joint] = place
    for parent, joint in ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)):
        keypoints[:, joint] = keypoints[:, parent] + 10 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return PoseTrack(keypoints, scores)


def write_dataset(workspace: Workspace, broken: int | None = None) -> None:
    """Three kept clips of three sources and one rejected row. ``broken``: a clip whose hash is not the manifest's."""
    with commits.write(workspace.dataset, "dataset") as folder:
        samples = []
        for number in range(3):
            mp4 = video.write(folder / "clip.mp4", moving_square(number), FPS)
            pose = swinging(FRAMES).save(folder / "pose.npz")
            samples.append((f"clip{number}", [("mp4", mp4.read_bytes()), ("pose.npz", pose.read_bytes())]))
            mp4.unlink(), pose.unlink()
        places = shards.write(folder / "shards", samples, 2, 1.0)
        rows = [{"clip_id": "gone", "source_id": "gone", "verdict": "rejected"}]
        for number, (name, place) in enumerate(places.items()):
            with (folder / "shards" / place.shard).open("rb") as file:
                file.seek(place.offset)
                digest = hashlib.sha256(file.read(place.bytes)).hexdigest()
            rows.append(
                {
                    "clip_id": name,
                    "source_id": f"source{number}",
                    "verdict": "kept",
                    "split": "val" if number == 0 else "train",
                    "caption": f"dance {number}",
                    "bucket": f"{SIZE[0]}x{SIZE[1]}",
                    "fps": FPS,
                    "shard": place.shard,
                    "offset": place.offset,
                    "bytes": place.bytes,
                    "sha256": "0" * 64 if number == broken else digest,
                }
            )
        names = list(rows[-1])
        pq.write_table(pa.table({n: [row.get(n) for row in rows] for n in names}), folder / "manifest.parquet")


def write_checkpoints(workspace: Workspace) -> None:
    for number in (1, 2, 3):
        with commits.write(workspace.stage(number), "checkpoint", meta={"stage": number}) as folder:
            steps = np.arange(20)
            pq.write_table(pa.table({"step": steps, "loss": 2.0 / number - 0.02 * steps}), folder / "history.parquet")


@pytest.fixture(scope="module")
def ray_running(tmp_path_factory):
    from infra.ray_session import session

    with session(CONFIG.resources, Workspace(tmp_path_factory.mktemp("ray"))):
        yield


@pytest.fixture
def workspace(tmp_path, ray_running) -> Workspace:
    workspace = Workspace(tmp_path / "run")
    workspace.folder.mkdir()
    write_dataset(workspace)
    write_checkpoints(workspace)
    return workspace


def generator(fails_on: tuple[str, str] | None = None, log=None):
    """Each stage nearer to the driver's frames; nested, so that Ray sends it by value."""

    def generate(config, model, inputs, seed):
        if fails_on and fails_on == (model.label, inputs.prompt):
            raise RuntimeError("the sampler gave NaN")
        if log is not None:
            (log / f"{model.label}-{inputs.prompt}-{seed}").touch()
        strength = {"untrained": 90, "stage1": 50, "stage2": 25, "stage3": 5}[model.label]
        noise = np.random.default_rng(seed).normal(0, strength, inputs.driving_frames.shape)
        frames = np.clip(inputs.driving_frames + noise, 0, 255).astype(np.uint8)
        frames[0] = np.clip(inputs.reference + noise[0], 0, 255).astype(np.uint8)
        return frames

    return generate


def estimator(nobody: bool = False):
    def build(settings):
        class Fixed:
            def estimate(self, frames):
                return [] if nobody else [track]

        return Fixed()

    track = swinging(FRAMES)
    return build


def scores_of(commit) -> dict:
    with commit.open("scores.parquet") as file:
        return {(r["model"], r["pair"], r["metric"]): r for r in pq.read_table(file).to_pylist()}


def test_evaluation_then_comparison(workspace, capsys):
    run = Recorder()
    evaluation = evaluate(CONFIG, workspace, run, generator=generator(), estimator=estimator())
    assert [p.kind for p in evaluation.parents] == ["dataset"] + ["checkpoint"] * 3
    scores = scores_of(evaluation)
    pairs = sorted({pair for _, pair, _ in scores})
    assert len(scores) == 4 * 3 * 5 and len(pairs) == 3
    for (_, pair, metric), row in scores.items():
        wanted = "not_computable" if pair.startswith("different") and metric in ("psnr", "ssim") else "ok"
        assert row["status"] == wanted and (row["value"] is None) == (wanted != "ok") == (row["reason"] is not None)
    means = {model: run.metrics[f"psnr/{model}"] for model in ("untrained", "stage1", "stage2", "stage3")}
    assert list(means.values()) == sorted(means.values()) and run.metrics["n/psnr/stage1"] == 2
    assert run.metrics["motion_energy_ratio/stage3"] == pytest.approx(1)
    for pair in pairs:
        assert {f"references/{pair}.png", f"drivings/{pair}.mp4", f"poses/{pair}.mp4"} <= evaluation.files.keys()
        assert video.probe(evaluation.path / f"videos/stage2/{pair}.mp4").fps == FPS
    assert not list(workspace.folder.glob(".*draft*"))
    evaluating.show(evaluation, Console(width=200))
    means_shown = capsys.readouterr().out

    run = Recorder()
    comparison = compare(CONFIG, workspace, run)
    table = {(r["model"], r["metric"]): r for r in pq.read_table(comparison.path / "table.parquet").to_pylist()}
    for model, before in (("stage1", "untrained"), ("stage2", "stage1"), ("stage3", "stage2")):
        row = table[model, "psnr"]
        mine, other = (
            np.array([scores[m, p, "psnr"]["value"] for p in pairs if p.startswith("same")]) for m in (model, before)
        )
        assert (row["n"], row["asked"], row["n_common"], row["against"]) == (2, 3, 2, before)
        assert row["mean"] == pytest.approx(mine.mean())
        half = 12.706204736432095 * abs(mine[0] - mine[1]) / 2  # t(0.975, 1) times sd/sqrt(2) of two values
        assert (row["low"], row["high"]) == (pytest.approx(row["mean"] - half), pytest.approx(row["mean"] + half))
        assert with_interval(row["mean"], row["low"], row["high"])[0] in means_shown
        assert row["difference"] == pytest.approx((mine - other).mean())
    assert table["untrained", "psnr"]["difference"] is None
    assert {"comparison.html", "plots/metrics.svg", "plots/losses.svg"} <= comparison.files.keys()
    assert "comparison.html" in run.artifacts
    comparing.show(comparison, Console(width=200))
    shown = capsys.readouterr().out
    change = table["stage3", "psnr"]
    change_text, _ = with_interval(*(change[f"difference{end}"] for end in ("", "_low", "_high")), signed=True)
    assert change_text in shown and "comparison.html" in shown
    page = (comparison.path / "comparison.html").read_text()
    assert page.count("data:video/mp4;base64,") == 3 * (2 + 4) and page.count("data:image/png;base64,") == 3
    assert not re.search(r'(?:src|href)="(?!data:|#)|url\((?!#)|https?://(?!www\.w3\.org/)', page)


def test_one_failing_pair_is_error_rows_and_the_rest_goes_on(workspace, capsys):
    failing = generator(fails_on=("stage2", "dance 0"))
    evaluation = evaluate(CONFIG, workspace, Recorder(), generator=failing, estimator=estimator(nobody=True))
    rows = scores_of(evaluation).values()
    errors = [row for row in rows if row["status"] == "error"]
    assert errors and {row["model"] for row in errors} == {"stage2"}
    assert all(row["reason"] == "RuntimeError: the sampler gave NaN" for row in errors)
    assert sum(row["status"] == "ok" for row in rows) > 20
    nobody = [row for row in rows if row["metric"] == "motion_energy_ratio" and row["status"] != "error"]
    assert nobody and all("nobody" in row["reason"] and row["status"] == "not_computable" for row in nobody)
    evaluating.show(evaluation, Console(width=200))
    assert "failed stage2" in capsys.readouterr().out
    page = compare(CONFIG, workspace, Recorder()).path / "comparison.html"
    assert "the sampler gave NaN" in page.read_text()

    # the next run makes what is missing and nothing else
    log = workspace.folder / "log"
    log.mkdir()
    mended = evaluate(CONFIG, workspace, Recorder(), generator=generator(log=log), estimator=estimator())
    assert {path.name.split("-")[0] for path in log.iterdir()} == {"stage2"}
    assert len(list(log.iterdir())) == len({row["pair"] for row in errors})
    assert not [row for row in scores_of(mended).values() if row["status"] == "error"]


def test_a_damaged_clip_costs_its_pairs_only(workspace):
    shutil.rmtree(workspace.dataset)
    write_dataset(workspace, broken=0)
    config = CONFIG.model_copy(update={"evaluate": CONFIG.evaluate.model_copy(update={"same_source": 4})})
    evaluation = evaluate(config, workspace, Recorder(), generator=generator(), estimator=estimator())
    rows = scores_of(evaluation).values()
    errors = {row["pair"] for row in rows if row["status"] == "error"}
    assert errors and errors < {row["pair"] for row in rows}
    assert all("CorruptArtifact" in row["reason"] for row in rows if row["status"] == "error")
    assert any(row["status"] == "ok" for row in rows)
    assert evaluation.meta["notices"] == held_together([evaluation]).notices[:1]
    assert "3 of 4 same source" in evaluation.meta["notices"][0]


def test_a_damaged_unit_is_made_again_and_nothing_scored_is_an_error(workspace):
    first = evaluate(CONFIG, workspace, Recorder(), generator=generator(), estimator=estimator())
    unit = next((workspace.folder / "evaluation-units").glob("stage1-*"))
    content = bytearray((unit / "generated.mp4").read_bytes())
    content[-1] ^= 1  # of the same size
    (unit / "generated.mp4").write_bytes(content)
    again = evaluate(CONFIG, workspace, Recorder(), generator=generator(), estimator=estimator())
    assert again.id == first.id

    def always(config, model, inputs, seed):
        raise ValueError("no model")

    shutil.rmtree(workspace.folder / "evaluation-units")
    with pytest.raises(SteadyDancerError, match="ValueError: no model"):
        evaluate(CONFIG, workspace, Recorder(), generator=always, estimator=estimator())
    assert commits.read(workspace.evaluation).id == first.id  # a failed run leaves what was there


def test_missing_parents_are_named(tmp_path):
    with pytest.raises(SteadyDancerError, match="stage1"):
        evaluate(CONFIG, Workspace(tmp_path), Recorder())
    with pytest.raises(SteadyDancerError, match="evaluation"):
        compare(CONFIG, Workspace(tmp_path), Recorder())
    with commits.write(tmp_path / "other", "dataset"):
        pass
    with pytest.raises(SteadyDancerError, match="kind 'dataset'"):
        held_together([commits.read(tmp_path / "other")])


def test_the_reference_is_held_against_what_the_model_is_given():
    from model.inputs import resize, to_signed

    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    ours = preprocessed(image, 64 * 48)
    theirs = ((resize(to_signed(image)[None], ours.shape[:2])[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert ours.shape == (48, 48, 3) or ours.shape == (64, 48, 3)
    assert np.abs(ours - theirs).max() <= 0.51
    assert (preprocessed(image[:64, :48], 64 * 48) == image[:64, :48]).all()
