"""The rendered sample corpus: dancers whose every joint is known, and files with one planted fault each.

A committed artifact of kind "sample":

- ``videos/<name>.mp4``: ``dancer_00`` and on are good, the others are named after their fault.
- ``joints/<name>.npz`` of the videos with dancers: ``keypoints`` (T, 133, 2) float32 in pixels of the upright video
  frame, COCO-WholeBody order (several people: (P, T, 133, 2)); ``scores`` (T, 133) float32, 1 where the point is
  seen, 0.5 where something in front hides it, 0 outside of the picture; ``times`` (T,) float64, seconds.
- ``labels.json``: file name -> :class:`pipelines.sample.labels.Label`, what must become of the file and why. Labels
  follow from the settings: with videos shorter than a clip (``seconds`` below 5.0625) all readable ones are too short.
- ``contact_sheet.jpg``: frames of every file with its label.

The same settings and seed give the same bytes, whatever the number of workers.
"""

import json
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2
import numpy as np

from infra import commits
from infra.commits import Commit
from infra.schema import Config, Sample
from infra.tracking import StepRun
from infra.workspace import Workspace
from model import video
from pipelines.sample.faults import DAMAGES, FAULTY_SHOTS, near_duplicate
from pipelines.sample.film import Script
from pipelines.sample.labels import Label
from pipelines.sample.record import Take, record

GOOD = (
    Script("9:16", "full", "fixed", "room", 30),
    Script("9:16", "full", "pan", "street", 25),
    Script("9:16", "full", "fixed", "stage", 60),
    Script("16:9", "half", "fixed", "plaster", 24),
    Script("3:4", "full", "zoom", "park", 30),
    Script("9:16", "full", "zoom", "plaster", 24),
    Script("16:9", "full", "pan", "stage", 30),
    Script("3:4", "half", "fixed", "room", 25),
    Script("16:9", "half", "pan", "street", 30),
    Script("9:16", "full", "fixed", "park", 30),
)


def takes(settings: Sample, seed: int) -> list[Take]:
    """Every video that is rendered. A take's generator is seeded by (seed, its place here, faults after 1000)."""
    good = [
        Take(f"dancer_{k:02d}", (GOOD[k % len(GOOD)],), settings.seconds, settings.short_side, (seed, k))
        for k in range(settings.dancers)
    ]
    faulty = [make(settings, (seed, 1000 + k)) for k, make in enumerate(FAULTY_SHOTS)] if settings.faults else []
    return [*good, *faulty]


def write_sample(
    folder: str | Path, settings: Sample, seed: int, *, workers: int = 2, replace: bool = False, progress: bool = True
) -> Commit:
    """The corpus as a commit at ``folder``. Raises SteadyDancerError if one is there already and ``replace`` is not
    set."""
    config = {"seed": seed, "sample": settings.model_dump(mode="json")}
    with commits.write(folder, "sample", config=config, replace=replace) as draft:
        labels = render_sample(draft, settings, seed, workers=workers, progress=progress)
        cv2.imwrite(str(draft / "contact_sheet.jpg"), contact_sheet(draft, labels)[..., ::-1])
    return commits.read(folder)


def sample(config: Config, workspace: Workspace, run: StepRun) -> Commit:
    """The step `sample`: the corpus that a chain without sources of its own starts from."""
    commit = write_sample(workspace.sample, config.sample, config.seed, workers=config.resources.cpus)
    run.log_metrics({"videos": len(json.loads((commit.path / "labels.json").read_text()))})
    run.log_artifact(commit.path / "contact_sheet.jpg")
    return commit


def render_sample(
    folder: Path, settings: Sample, seed: int, *, workers: int = 2, progress: bool = True
) -> dict[str, Label]:
    """Fill ``folder`` with videos, joints and labels.json; returns the labels by file name."""
    (folder / "videos").mkdir()
    (folder / "joints").mkdir()
    planned = takes(settings, seed)
    labels = {}
    with _progress(progress, len(planned)) as advance:
        for name, label in _recorded(folder, planned, workers):
            labels[f"{name}.mp4"] = label
            advance(name)
    if settings.faults:
        labels |= near_duplicate(folder, labels)
        for damage in DAMAGES:
            labels |= damage(folder, settings.dancers, np.random.default_rng((seed, 2000)))
    labels = {name: labels[name] for name in sorted(labels)}
    rows = {name: label.as_dict() for name, label in labels.items()}
    (folder / "labels.json").write_text(json.dumps(rows, indent=1) + "\n")
    return labels


def _recorded(folder: Path, planned: list[Take], workers: int) -> Iterable[tuple[str, Label]]:
    """Longest first, so that the workers end together."""
    if workers == 1:
        for take in planned:
            yield take.name, record(folder, take)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
        longest = sorted(planned, key=lambda take: -take.seconds * take.scripts[0].fps)
        running = {pool.submit(record, folder, take): take.name for take in longest}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    """One thread, quiet on Ctrl-C (the parent answers for it), and ended with its parent even where that was killed."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _progress(shown: bool, total: int):
    if not shown:
        return nullcontext(lambda name: None)
    return _Bar(total)


class _Bar:
    def __init__(self, total: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("Rendering {task.fields[name]:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns)
        self.task = self.progress.add_task("", total=total, name="")

    def __enter__(self):
        self.progress.start()
        return lambda name: self.progress.update(self.task, advance=1, name=name)

    def __exit__(self, *error):
        self.progress.stop()


def contact_sheet(folder: Path, labels: dict[str, Label], *, height: int = 200, across: int = 5) -> np.ndarray:
    """(H, W, 3) uint8: early, middle and late frame of every file of ``folder``/videos under its name and label."""
    cells = []
    for name, label in labels.items():
        cell = np.full((height + 44, 3 * height // 2 + 90, 3), 250, np.uint8)
        x = 0
        for picture in _three_frames(folder / "videos" / name, label):
            width = min(round(picture.shape[1] * height / picture.shape[0]), (cell.shape[1] - 4) // 3)
            tall = round(picture.shape[0] * width / picture.shape[1])
            cell[40 : 40 + tall, x : x + width] = video.resize(picture, (tall, width))
            x += width + 2
        good = label.verdict == "keep"
        told = "keep" if good else f"{label.verdict}: {label.reason}"
        for line, text, colour in ((14, name, (20, 20, 20)), (31, told, (20, 120, 40) if good else (170, 40, 30))):
            cv2.putText(cell, text, (3, line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
        cells.append(cell)
    blank = np.full_like(cells[0], 250)
    cells += [blank] * (-len(cells) % across)
    return np.concatenate([np.concatenate(cells[k : k + across], 1) for k in range(0, len(cells), across)])


def _three_frames(path: Path, label: Label) -> list[np.ndarray]:
    """Frames at 15, 50 and 85 % of the time; of a damaged file what comes before the damage; of an unreadable one
    none."""
    wanted = [share * (label.seconds or 1.0) for share in (0.15, 0.5, 0.85)]
    found: list[np.ndarray] = []
    try:
        for time, picture in video.frames(path):
            if len(found) < len(wanted) and time >= wanted[len(found)]:
                found.append(picture)
    except video.UnreadableVideo:
        return found
    return found
