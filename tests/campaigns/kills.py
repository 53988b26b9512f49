"""Kills curation at random moments and lets it go on: the dataset must be, byte for byte, that of an undisturbed run.

    python tests/campaigns/kills.py --kills 20

Every round starts the driver in a process of its own and, at a random moment, ends with SIGKILL either the driver or
one of its Ray workers. After the last kill the same command runs to its end. Exit 1 if a byte differs, or if a kill
came when nothing was being done.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))
import figures

from infra import commits


def run_to_the_end(sources: list[Path], work: Path, cpus: int) -> dict[str, str]:
    text, environment = figures.driver(sources, work, cpus)
    subprocess.run([sys.executable, "-c", text], env=environment, check=True, stdout=subprocess.DEVNULL)
    return figures.content(commits.read(work / "dataset"))


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """Ray workers that run a task: Ray writes the task's name, with its function, into the process's title. (Its own
    agents and actors have none; when these die Ray gives up the node, and the same command goes on.)
    """
    found = []
    for process in driver.children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and "(" in title:
            found.append(process)
    return found


def disturbed(sources: list[Path], work: Path, rng: random.Random, undisturbed_s: float) -> str:
    """One round: what was killed, and when."""
    text, environment = figures.driver(sources, work, rng.choice((1, 2)))
    environment["FIGURE_FINDER_SLEEPS"] = "0.3"
    started = time.monotonic()
    driver = subprocess.Popen([sys.executable, "-c", text], env=environment, stdout=subprocess.DEVNULL)
    try:
        wanted, moment = rng.choice(("driver", "worker")), rng.uniform(0.1, 1.0) * undisturbed_s
        time.sleep(moment)
        while driver.poll() is None:
            if wanted == "driver":
                driver.kill()
                driver.wait()
                return f"driver after {moment:.1f} s"
            if running := workers_of(psutil.Process(driver.pid)):
                rng.choice(running).kill()
                driver.wait(timeout=300)
                if driver.returncode:
                    raise SystemExit(f"a killed worker ended the driver with exit code {driver.returncode}")
                return f"worker after {time.monotonic() - started:.1f} s"
            time.sleep(0.02)
        return "nothing: it was done"
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        (folder / "corpus").mkdir()
        corpus = figures.write_corpus(folder / "corpus")
        started = time.monotonic()
        expected = run_to_the_end([corpus], folder / "one", 1)
        alone = time.monotonic() - started
        print(f"undisturbed, 1 worker: {len(expected)} files in {alone:.0f} s")
        wrong = 0
        shuffled = sorted((path for path in corpus.iterdir() if path.suffix in {".mp4", ".mkv"}), reverse=True)
        places = [*shuffled, corpus / "inner"]
        shutil.copytree(corpus / "inner", folder / "tree" / "inner")
        same = run_to_the_end([*shuffled, folder / "tree"], folder / "two", 2) == expected
        print(f"2 workers, {len(places)} sources in another order: {'the same bytes' if same else 'OTHER BYTES'}")
        wrong += not same
        killed, number = 0, 0
        while killed < options.kills:
            work = folder / f"killed{number}"
            number += 1
            for _ in range(min(rng.randint(1, 4), options.kills - killed)):
                what = disturbed([corpus], work, rng, alone)
                if what.startswith("nothing"):
                    break
                killed += 1
                print(f"  work folder {number}, kill {killed}: {what}", flush=True)
                if commits.find(work / "dataset") is not None:
                    break
            same = run_to_the_end([corpus], work, 2) == expected
            print(f"  work folder {number}: {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
            wrong += not same
            shutil.rmtree(work)
        print(f"{killed} kills in {number} work folders, {wrong} with other bytes")
        return 1 if wrong else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
