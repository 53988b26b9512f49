"""White figures on grey instead of people, and a stand-in that finds them: the whole of curation within seconds."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from infra import config
from infra.ray_session import session
from infra.workspace import Workspace
from model import video
from pipelines.curate import curate

SIZE = 96, 64
GATES = Path(__file__).with_suffix(".yaml")


class Run:
    """What a step tells MLflow."""

    def __init__(self):
        self.metrics, self.artifacts = {}, []

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics

    def log_artifact(self, path, folder=None):
        self.artifacts.append(Path(path).name)


def build_figure_finder(pose):
    """Figures are white blocks of at least 10 pixels' width; a pose is a grid of joints over the leftmost one.

    One wider than 45 pixels kills the process, which is what a decoder's crash looks like.
    """
    import os
    import signal
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

        def estimate(self, frames, people=1):
            time.sleep(float(os.environ.get("FIGURE_FINDER_SLEEPS", "0")))
            boxes = [self._boxes(frame) for frame in frames]
            if not all(boxes):
                return []
            if any(box[2] > 45 for (box, *_) in boxes):
                os.kill(os.getpid(), signal.SIGKILL)
            grid = np.stack(np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 19)), -1).reshape(133, 2)
            tracks = [(np.array(first[:2]) + grid * first[2:4]) for (first, *_) in boxes]
            return [PoseTrack(np.float32(tracks), np.ones((len(frames), 133), np.float32))]

    return FigureFinder()


def film(path, *, seconds=1.2, figures=1, speed=20.0, fps=30.0, width=14, shade=40, cut_at=None, look=0):
    """White blocks that swing at up to ``speed`` px/s on grey; after ``cut_at`` the background is another.

    ``look`` seeds the pattern of the wall behind and the phase, so that videos are no near-duplicates.
    """
    wall = np.random.default_rng(look).integers(-70, 70, (6, 4))
    wall = np.kron(wall, np.ones((16, 16), int))[..., None]
    images = []
    for number in range(round(seconds * fps)):
        moment = number / fps
        grey = shade if cut_at is None or moment < cut_at else 150 - shade
        image = np.clip(np.full((*SIZE, 3), grey) + (wall if grey == shade else -wall[::-1]), 12, 180).astype(np.uint8)
        for figure in range(figures):
            left = round(8 + 28 * figure + speed / 6.28 * np.sin(6.28 * moment + look))
            image[20:80, left : left + width] = 255
        images.append(image)
    return video.write(path, images, fps)


def write_corpus(folder):
    """Four good videos and some that are not, one of two shots, one twice."""
    for number in range(4):
        path = folder / f"good{number}.mp4"
        film(path, shade=40 + 10 * number, fps=(24.0, 25.0, 30.0, 60.0)[number], look=number)
    (folder / "inner").mkdir()
    film(folder / "inner" / "two.mp4", figures=2, look=10)
    film(folder / "nobody.mp4", figures=0, look=11)
    film(folder / "static.mp4", speed=0.0, look=12)
    film(folder / "short.mp4", seconds=0.4, look=13)
    film(folder / "cut.mp4", seconds=2.4, cut_at=1.2, shade=40, look=14)
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "zz copy of good0.mp4").write_bytes((folder / "good0.mp4").read_bytes())
    (folder / "good1.txt").write_text("A figure swings.\n")
    return folder


def settings(sources, work, overrides=()):
    """A config for such films."""
    common = ["clip.frames=9", "clip.fps=10", "clip.area=4096", "pose.people_samples=3", "curate.shard_clips=2"]
    common += ["curate.min_shot_seconds=0.3", "curate.trim_seconds=0.05", f"curate.gates={GATES}", f"work={work}"]
    return config.load("demo", [*common, f"sources={[str(s) for s in sources]}", *overrides])


def curated(sources, work, overrides=(), *, estimator=build_figure_finder):
    """The step on the running Ray: its commit and what it told MLflow."""
    import ray  # not before the session has set up its token

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    work.mkdir(exist_ok=True)
    run = Run()
    loaded = settings(sources, work, overrides)
    return curate(loaded, Workspace(work, loaded.store), run, build_estimator=estimator), run


@contextmanager
def ray_with(cpus, folder):
    with session(config.load("demo", [f"resources.cpus={cpus}"]).resources, Workspace(folder)):
        yield


def content(commit):
    """What must not differ from run to run: the hashes of manifest and shards."""
    return {name: facts["sha256"] for name, facts in commit.files.items() if name.startswith(("manifest", "shards"))}


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import figures
if __name__ == "__main__":
    with figures.ray_with({cpus}, Path({work!r})):
        figures.curated([Path(p) for p in {sources!r}], Path({work!r}))
"""


def driver(sources, work, cpus):
    """(program text, environment) of a curation in a process of its own."""
    work.mkdir(exist_ok=True)
    places = [str(source) for source in sources]
    text = DRIVER.format(folder=str(Path(__file__).parent), sources=places, work=str(work), cpus=cpus)
    return text, {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
