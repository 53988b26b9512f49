"""Kills training at random moments and lets it go on: the stage must be, bit for bit, that of an undisturbed run.

    python tests/campaigns/training_kills.py --kills 20

The command `train --stage 1` runs in a process of its own, with two workers on encoded noise. At random moments, half
of them while a checkpoint is being written, it or one of its workers is sent SIGKILL or SIGTERM; where it ended, the
same command runs again, at last to its end. Then the same on two workers, on one, and on two again, which has to train
on the same clips in the same order and come to the same losses within 1e-5. Exit 1 where something differs.
"""

import argparse
import atexit
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from encoded_noise import write_encoded

from infra import commits

NEAR = 1e-5
PATIENCE_S = 300
SETTINGS = (
    "clip.frames=9",
    "clip.area=3072",
    "train.checkpoint_every=5",
    "train.max_failures=9",
    "train.timeout_s=60",
    "train.preview_every=null",
)


class Run:
    """The command in a process of its own, on a work folder."""

    def __init__(self, folder: Path, encoded: Path, steps: int, workers: int = 2):
        self.folder, self.checkpoints = folder, folder / "checkpoints" / "stage1"
        command = [sys.executable, "-m", "steadydancer", "train", "--stage", "1", *SETTINGS]
        of_this_run = f"train.stages.0.steps={steps}", f"train.workers={workers}"
        self.log = folder.with_suffix(".log").open("a")
        self.process = subprocess.Popen(
            [*command, f"work={folder}", f"train.encoded={encoded}", *of_this_run],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "COLUMNS": "200"},
            stdout=self.log,
            stderr=self.log,
        )
        atexit.register(self.process.kill)  # of one that has ended this is nothing

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def writing(self) -> bool:
        return any(self.checkpoints.glob(".step-*.draft~*"))

    @property
    def step(self) -> int:
        """Of the newest checkpoint."""
        return max((int(path.name.removeprefix("step-")) for path in self.checkpoints.glob("step-*")), default=0)

    def workers(self) -> list[psutil.Process]:
        found = []
        with suppress(psutil.NoSuchProcess):  # it has just ended
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if "RayTrainWorker" in "".join(process.cmdline()):
                        found.append(process)
        return found

    def wait(self) -> int:
        """The exit code. It must end by itself, and soon."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise SystemExit(f"it did not end within {PATIENCE_S} s: {self.log.name}") from None
        finally:
            self.log.close()


def strike(run: Run, rng: random.Random, alone_s: float) -> str | None:
    """Waits for a moment and kills; says what and when, or None where it was done before."""
    started, moment = time.monotonic(), rng.uniform(0, alone_s)
    inside, victim, how = rng.random() < 0.5, rng.choice(("driver", "worker")), rng.choice(("SIGKILL", "SIGTERM"))
    while time.monotonic() - started < moment and not run.ended:
        time.sleep(0.01)
    known: list[psutil.Process] = []  # looking for them takes longer than a checkpoint
    while not run.ended:
        if victim == "worker":
            known = [each for each in known if each.is_running()] or run.workers()
        if (known or victim == "driver") and (run.writing or not inside):
            pid = rng.choice(known).pid if known else run.process.pid
            where = "inside a checkpoint write" if run.writing else f"after {time.monotonic() - started:.1f} s"
            said = f"{how} to the {victim} {where}, the last checkpoint that of step {run.step}"
            try:
                os.kill(pid, signal.Signals[how])
            except ProcessLookupError:
                continue
            return said
        time.sleep(0.002)
    return None


def content(folder: Path) -> tuple[dict[str, str], list[tuple], list[float]]:
    """Of the finished stage: hashes of its weights, clips of every step, losses."""
    commit = commits.verify(folder / "stage1")
    files = sorted((commit.path / "model").glob("*.safetensors"))
    weights = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    history = pq.read_table(commit.path / "history.parquet")
    return weights, history["clips"].to_pylist(), history["loss"].to_pylist()


def to_the_end(folder: Path, encoded: Path, steps: int) -> None:
    run = Run(folder, encoded, steps)
    if run.wait():
        raise SystemExit(f"the command failed: {run.log.name}\n{Path(run.log.name).read_text()[-3000:]}")


def killed(folder: Path, encoded: Path, steps: int, rng: random.Random, alone_s: float, most: int) -> int:
    """Kills in one work folder, ``most`` of them at most, until its stage is finished. How many there were."""
    kills = 0
    while kills < most and not (folder / "stage1").exists():
        run = Run(folder, encoded, steps)
        while kills < most and (said := strike(run, rng, alone_s)):
            kills += 1
            print(f"  {folder.name}, kill {kills}: {said}", flush=True)
            if "driver" in said:
                break
        code = run.wait()
        if code > 0 and code not in (130, 143) and not (folder / "stage1").exists():
            print(f"    it ended with exit code {code}: {Path(run.log.name).read_text()[-600:]}", flush=True)
    return kills


def elastic(folder: Path, encoded: Path, steps: int) -> None:
    """A third each on two workers, on one, and on two."""
    for workers, until in ((2, steps // 3), (1, 2 * steps // 3)):
        run = Run(folder, encoded, steps, workers)
        while run.step < until and not run.ended:
            time.sleep(0.01)
        if run.ended:
            raise SystemExit(f"it ended before it could be killed: {run.log.name}")
        run.process.kill()
        print(f"  SIGKILL on {workers} worker(s), checkpoint of step {run.step}", flush=True)
        run.wait()
    to_the_end(folder, encoded, steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    steps = options.steps
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with what is started here ended
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="training-kills-"))
    try:
        write_encoded(encoded := folder / "encoded", clips=7)
        started = time.monotonic()
        to_the_end(folder / "undisturbed", encoded, steps)
        alone_s = time.monotonic() - started
        expected = content(folder / "undisturbed")
        print(f"undisturbed: {steps} steps in {alone_s:.0f} s", flush=True)

        kills, number, wrong = 0, 0, 0
        while kills < options.kills:
            work = folder / f"work{number}"
            most = min(rng.randint(1, 4), options.kills - kills)
            started, before = time.monotonic(), kills
            kills += killed(work, encoded, steps, rng, alone_s, most)
            if kills == before:  # the machine has become faster, and the moment came after the end
                alone_s = min(alone_s, time.monotonic() - started)
            if not (work / "stage1").exists():
                to_the_end(work, encoded, steps)
            same = content(work) == expected
            print(f"  {work.name}: {'the same bits' if same else 'OTHER BITS'}", flush=True)
            wrong += not same
            shutil.rmtree(work)
            number += 1
        print(f"{kills} kills in {number} work folders, {wrong} with other bits", flush=True)

        elastic(folder / "elastic", encoded, steps)
        _, clips, losses = content(folder / "elastic")
        apart = max(abs(ours - theirs) / theirs for ours, theirs in zip(losses, expected[2], strict=True))
        ordered = clips == expected[1]
        print(f"2, 1, 2 workers: {'the same clips' if ordered else 'OTHER CLIPS'}, losses differ by {apart:.1e}")
        return int(wrong > 0 or not ordered or apart > NEAR)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
