"""One small walk of the whole chain through the command line.

That what is killed goes on to the same bytes is tested where it happens: curation in tests/pipelines/test_curate.py,
training (of a worker) in tests/training/test_zero_and_resume.py; of whole commands, many times, in tests/campaigns.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra import commits

ROOT = Path(__file__).parents[1]
SMALL = [
    "resources.memory_gb=2",
    "resources.disk_gb=0.2",
    "sample.dancers=2",
    "sample.faults=false",
    "sample.seconds=2",
    "sample.short_side=240",
    "clip.frames=17",
    "pose.people_samples=2",
    "train.workers=1",
    "train.stages.0.steps=2",
    "train.stages.1.steps=4",
    "train.stages.2.steps=2",
    "train.checkpoint_every=2",
    "animate.steps=2",
    "evaluate.same_source=1",
    "evaluate.different_source=1",
    "evaluate.models=[untrained, stage3]",
]


def steadydancer(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "steadydancer.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> tuple[Path, str]:
    work = tmp_path_factory.mktemp("walk") / "w"
    command = ["run", f"work={work}", *SMALL]
    done = steadydancer(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return work, done.stdout


def test_a_rerun_passes_over_all_of_it(walk):
    work, _ = walk
    before = {p: p.stat().st_mtime_ns for p in work.rglob("COMMIT.json")}
    again = steadydancer("run", f"work={work}", *SMALL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("committed before") == 8
    assert {p: p.stat().st_mtime_ns for p in work.rglob("COMMIT.json")} == before


def test_every_number_leads_back_to_the_videos(walk):
    work, _ = walk
    done = steadydancer("lineage", work / "comparison")
    assert done.returncode == 0, done.stdout
    kinds = ("comparison", "evaluation", "checkpoint", "encoded", "dataset", "sample")
    assert all(f"✓ {kind} " in done.stdout for kind in kinds)
    assert "✗" not in done.stdout


def test_anyone_can_read_the_dataset(walk):
    import webdataset

    work, _ = walk
    rows = pq.read_table(work / "dataset/manifest.parquet").to_pylist()
    kept = {row["clip_id"]: row for row in rows if row["verdict"] == "kept"}
    assert len(kept) == 2
    shards = sorted(str(p) for p in (work / "dataset/shards").glob("*.tar"))
    samples = {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False)}
    assert samples.keys() == kept.keys()
    for sample in samples.values():
        assert {"mp4", "pose.npz", "txt", "json"} <= sample.keys()
        assert json.loads(sample["json"])["bucket"] == kept[sample["__key__"]]["bucket"]
    with tarfile.open(shards[0]) as tar:
        assert {(m.mtime, m.uid, m.gid) for m in tar} == {(0, 0, 0)}


def test_a_stage_keeps_what_it_trained_beside_the_merged_weights(walk):
    from safetensors.torch import load_file

    work, _ = walk
    for stage, names in ((1, {"lora_A", "lora_B"}), (3, {"lora_A", "lora_B"})):
        trained = load_file(work / f"stage{stage}/trained.safetensors")
        assert all(tensor.isfinite().all() for tensor in trained.values())
        assert {name for name in names if any(f".{name}." in key for key in trained)} == names
    assert not (work / "stage2/trained.safetensors").exists(), "it trained everything: that is the model"
    history = pq.read_table(work / "stage2/history.parquet").to_pylist()
    assert [row["step"] for row in history] == [1, 2, 3, 4] and all(len(row["clips"]) == 2 for row in history)


def test_stages_start_from_their_parents(walk):
    work, _ = walk
    stages = [commits.read(work / f"stage{n}") for n in (1, 2, 3)]
    for before, after in zip(stages, stages[1:], strict=False):
        assert before.id in [p.id for p in after.parents]
    assert len({s.files["model/diffusion_pytorch_model.safetensors"]["sha256"] for s in stages}) == 3


def test_a_checkpoint_animates_a_picture(walk, tmp_path):
    import av
    from PIL import Image

    from model import video

    work, _ = walk
    picture = next(iter(video.frames(work / "sample/videos/dancer_00.mp4")))[1]
    Image.fromarray(picture).save(tmp_path / "photo.png")
    driving = work / "sample/videos/dancer_01.mp4"
    inputs = ["--image", tmp_path / "photo.png", "--driving", driving, "--checkpoint", work / "stage3"]
    done = steadydancer("animate", *inputs, "--out", tmp_path / "new/out.mp4", "animate.steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    frames = [image for _, image in video.frames(tmp_path / "new/out.mp4")]
    assert len(frames) == 17, "as long as the clips the checkpoint was trained on, whatever config is loaded"
    with av.open(str(tmp_path / "new/out.mp4")) as container:
        assert commits.read(work / "stage3").id in container.metadata["comment"]


def test_mlflow_holds_one_run_per_step_under_one_parent(walk):
    from mlflow import MlflowClient

    work, _ = walk
    client = MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'steadydancer'")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    steps = ["sample", "curate", "encode", "stage1", "stage2", "stage3", "evaluate", "compare"]
    assert sorted(runs) == sorted(["w", *steps]), "one run for each step"
    assert {runs[s].data.tags["mlflow.parentRunId"] for s in steps} == {runs["w"].info.run_id}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    history = client.get_metric_history(runs["stage2"].info.run_id, "loss")
    assert {m.step for m in history} == {1, 2, 3, 4}
    assert any(a.path.endswith(".html") for a in client.list_artifacts(runs["compare"].info.run_id))


def test_the_stages_are_compared(walk):
    work, out = walk
    scores = pq.read_table(work / "evaluation/scores.parquet").to_pandas()
    assert set(scores["model"]) == {"untrained", "stage3"}
    assert scores["pair"].nunique() == 2
    assert "comparison.html" in out and "mlflow" in out


def test_a_corrupted_commit_is_named_with_both_hashes(walk, tmp_path):
    work, _ = walk
    manifest = work / "dataset/manifest.parquet"
    good = manifest.read_bytes()
    try:
        manifest.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
        done = steadydancer("run", f"work={work}", *SMALL)
    finally:
        manifest.write_bytes(good)
    assert done.returncode == 1
    assert "manifest.parquet was changed" in done.stderr
    assert "expected sha256" in done.stderr and "found    sha256" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_work_folder_of_another_config_is_refused(walk):
    work, _ = walk
    done = steadydancer("run", f"work={work}", *SMALL, "train.stages.0.lr=0.5")
    assert done.returncode == 2
    assert "train.stages.0.lr" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_source_folder_is_told(tmp_path):
    (tmp_path / "videos").mkdir(mode=0)
    done = steadydancer("curate", f"work={tmp_path / 'w'}", *SMALL, f"sources={tmp_path / 'videos'}")
    assert done.returncode == 1 and str(tmp_path / "videos") in done.stderr
