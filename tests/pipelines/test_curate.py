"""The curate step on the real engine, with a stand-in that finds white figures instead of people."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra import commits, config
from infra.errors import SteadyDancerError
from infra.ray_session import session
from infra.workspace import Workspace
from model import video
from pipelines.curate import curate
from pipelines.validation import DatasetRefused

SIZE = 96, 64


class Run:
    def __init__(self):
        self.metrics, self.artifacts = {}, []

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics

    def log_artifact(self, path, folder=None):
        self.artifacts.append(Path(path).name)


def build_figure_finder(pose):
    """Figures are white blocks of at least 10 pixels' width; a pose is a grid of joints over the leftmost one."""
    import time

    import cv2
    import numpy as np

    from model.pose.tracks import PoseTrack

    class FigureFinder:
        def _boxes(self, frame):
            mask = (frame.min(axis=2) > 200).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            return sorted(tuple(box[:4]) for box in stats[1:] if box[2] >= 10)

        def count_people(self, frames):
            return np.array([len(self._boxes(frame)) for frame in frames])

        def estimate(self, frames):
            time.sleep(float(os.environ.get("FIGURE_FINDER_SLEEPS", "0")))
            boxes = [self._boxes(frame) for frame in frames]
            if not all(boxes):
                return []
            if any(box[2] > 45 for (box, *_) in boxes):
                os.kill(os.getpid(), signal.SIGKILL)  # what a decoder's crash looks like
            grid = np.stack(np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 19)), -1).reshape(133, 2)
            tracks = [(np.array(first[:2]) + grid * first[2:4]) for (first, *_) in boxes]
            return [PoseTrack(np.float32(tracks), np.ones((len(frames), 133), np.float32))]

    import os
    import signal

    return FigureFinder()


def film(path, *, seconds=1.2, figures=1, speed=20.0, fps=30.0, width=14, shade=40, cut_at=None):
    """White blocks that swing at up to ``speed`` px/s on grey; after ``cut_at`` the background is another."""
    images = []
    for number in range(round(seconds * fps)):
        moment = number / fps
        image = np.full((*SIZE, 3), shade if cut_at is None or moment < cut_at else 150 - shade, np.uint8)
        image[::8] = image[::8] // 2
        for figure in range(figures):
            left = round(8 + 28 * figure + speed / 6.28 * np.sin(6.28 * moment))
            image[20:80, left : left + width] = 255
        images.append(image)
    return video.write(path, images, fps)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(4):
        film(folder / f"good{number}.mp4", shade=30 + 10 * number, fps=(24.0, 25.0, 30.0, 60.0)[number])
    (folder / "inner").mkdir()
    film(folder / "inner" / "two.mp4", figures=2)
    film(folder / "nobody.mp4", figures=0)
    film(folder / "static.mp4", speed=0.0)
    film(folder / "short.mp4", seconds=0.4)
    film(folder / "cut.mp4", seconds=2.4, cut_at=1.2, shade=20)
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "zz copy of good0.mp4").write_bytes((folder / "good0.mp4").read_bytes())
    (folder / "good1.txt").write_text("A figure swings.\n")
    return folder


def settings(sources):
    overrides = ["clip.frames=9", "clip.fps=10", "clip.area=4096", "pose.people_samples=3", "curate.shard_clips=2"]
    overrides += ["curate.min_shot_seconds=0.3", "curate.trim_seconds=0.05", f"sources={[str(s) for s in sources]}"]
    return config.load("demo", overrides)


def curated(sources, work):
    """The step on the running Ray."""
    import ray  # not before the session has set up its token

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    work.mkdir(exist_ok=True)
    run = Run()
    return curate(settings(sources), Workspace(work), run, build_estimator=build_figure_finder), run


@contextmanager
def ray_with(cpus, folder):
    with session(config.load("demo", [f"resources.cpus={cpus}"]).resources, Workspace(folder)):
        yield


def content(commit):
    return {name: facts["sha256"] for name, facts in commit.files.items() if name.startswith(("manifest", "shards"))}


@pytest.fixture(scope="module")
def one_worker(corpus, tmp_path_factory):
    work = tmp_path_factory.mktemp("one")
    with ray_with(1, work):
        return curated([corpus], work)


@pytest.fixture(scope="module")
def two_workers(one_worker, tmp_path_factory):
    with ray_with(2, tmp_path_factory.mktemp("two")):
        yield


def test_everything_found_is_in_the_manifest_with_its_reason(one_worker, corpus):
    commit, run = one_worker
    rows = pq.read_table(commit.path / "manifest.parquet").to_pylist()
    found = sorted((row["source"], row["reason"] or "kept") for row in rows)
    assert found == sorted(
        [(f"good{n}.mp4", "kept") for n in range(4)]
        + [("inner/two.mp4", "person_count"), ("nobody.mp4", "person_count"), ("static.mp4", "motion")]
        + [("short.mp4", "too_short"), ("cut.mp4", "kept"), ("cut.mp4", "kept"), ("text.mp4", "unreadable")]
        + [("empty.mkv", "unreadable"), ("zz copy of good0.mp4", "duplicate")]
    )
    assert [row["clip_id"] for row in rows] == sorted({row["clip_id"] for row in rows})
    assert str(corpus) not in str(rows), "the manifest tells where the data lay"
    assert next(row["caption"] for row in rows if row["source"] == "good1.mp4") == "A figure swings."
    cuts = sorted((row["start"], row["shot_end"]) for row in rows if row["source"] == "cut.mp4")
    assert cuts[0][0] + 0.9 <= 1.2 - 0.05 + 1e-9 and cuts[1][0] >= 1.2 + 0.05 - 1e-9
    assert run.metrics["kept"] == 6 and run.metrics["rejected.person_count"] == 2 and run.artifacts == ["report.html"]
    commits.verify(commit)


def test_the_same_bytes_from_two_workers_shuffled_sources_and_another_place(one_worker, two_workers, corpus, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in sorted(corpus.rglob("*"), reverse=True):
        if path.is_file():
            (moved / path.relative_to(corpus)).parent.mkdir(exist_ok=True)
            (moved / path.relative_to(corpus)).write_bytes(path.read_bytes())
    places = sorted((p for p in moved.iterdir() if p.suffix in {".mp4", ".mkv"}), reverse=True)
    (moved / "tree").mkdir()
    (moved / "inner").rename(moved / "tree" / "inner")
    commit, _ = curated([moved / "tree", *places], tmp_path / "work")
    assert content(commit) == content(one_worker[0])
    assert commit.id == one_worker[0].id


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import test_curate
if __name__ == "__main__":
    with test_curate.ray_with(1, Path({work!r})):
        test_curate.curated([Path({corpus!r})], Path({work!r}))
"""


def test_killed_at_any_moment_and_started_again_gives_the_bytes_of_an_undisturbed_run(
    one_worker, two_workers, corpus, tmp_path
):
    work = tmp_path / "killed"
    work.mkdir()
    script = DRIVER.format(folder=str(Path(__file__).parent), corpus=str(corpus), work=str(work))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")} | {
        "FIGURE_FINDER_SLEEPS": "0.3"
    }
    driver = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL)
    units = lambda: {p.parent.name for p in work.rglob("COMMIT.json")}  # noqa: E731
    deadline = time.monotonic() + 120
    while not (work / "units").exists() or len(units()) < 15:
        assert driver.poll() is None and time.monotonic() < deadline, "the driver ended before it could be killed"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = units()
    assert commits.find(work / "dataset") is None
    before = {p: p.stat().st_mtime_ns for p in work.rglob("COMMIT.json")}
    commit, _ = curated([corpus], work)
    assert content(commit) == content(one_worker[0])
    assert len(units()) > len(done), "the kill came too late to prove anything"
    assert all(p.stat().st_mtime_ns == before[p] for p in before), "a finished unit was done again"


def test_a_source_that_kills_its_worker_costs_itself_only(two_workers, corpus, tmp_path):
    film(tmp_path / "killer.mp4", width=50)
    commit, _ = curated([tmp_path / "killer.mp4", corpus / "good0.mp4"], tmp_path / "work")
    rows = {row["source"]: row for row in pq.read_table(commit.path / "manifest.parquet").to_pylist()}
    assert rows["good0.mp4"]["verdict"] == "kept"
    assert rows["killer.mp4"]["reason"] == "failed" and "worker process died" in rows["killer.mp4"]["error"]


def test_no_clip_kept_is_an_error_with_the_reasons_and_nothing_is_committed(two_workers, corpus, tmp_path):
    with pytest.raises(SteadyDancerError, match=r"No clip was kept: 1 found.*1 motion"):
        curated([corpus / "static.mp4"], tmp_path / "work")
    assert commits.find(tmp_path / "work" / "dataset") is None


def test_a_breach_refuses_the_commit_and_names_rule_and_clip(two_workers, corpus, tmp_path, monkeypatch):
    splits = iter(["train", None])
    monkeypatch.setattr("pipelines.dataset.splits", lambda ids: dict(zip(sorted(set(ids)), splits, strict=True)))
    with pytest.raises(DatasetRefused, match=r"kept: split is there: clips [0-9a-f]{20}"):
        curated([corpus / "good0.mp4", corpus / "good1.mp4"], tmp_path / "work")
    assert commits.find(tmp_path / "work" / "dataset") is None
    assert not (tmp_path / "work" / "dataset").exists()
