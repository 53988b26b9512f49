"""`steadydancer pose`: a video in; its poses, an overlay and a summary out, and on request an official pair folder."""

import glob
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from infra import commits
from infra.errors import SteadyDancerError, UsageError
from infra.schema import Config
from infra.version import code_version
from model import video
from model.pose.drawing import overlay
from model.pose.estimator import build_estimator
from model.pose.pair import refuse_if_short, refuse_unless_new, write_pair
from model.pose.proportions import MEASURES
from model.pose.quality import jitter, visibility
from model.pose.reading import (
    Driven,
    Driving,
    bounded,
    frames_shown,
    people_text,
    place_text,
    read_driving,
    read_reference,
    size_text,
)
from model.pose.tracks import PoseTrack
from model.pose.wholebody import neck

COUNTED_FRAMES = 5


def pose_files(
    config: Config,
    path: Path,
    out: Path,
    *,
    people: int = 1,
    seconds: float | None = None,
    reference: Path | None = None,
    pair: Path | None = None,
    prompt: str = "",
) -> list[Path]:
    """Writes ``NAME.pose.npz``, ``NAME.overlay.mp4`` and ``NAME.summary.json`` of the video into ``out``.

    A second and third person go into ``NAME.person2.pose.npz`` and so on. ``pair`` is filled from ``reference`` and the
    main person (see :mod:`model.pose.pair`). Returns what was written. Raises SteadyDancerError for a video or picture
    that cannot be read or shows nobody.
    """
    if (reference is None) != (pair is None):
        raise UsageError("--pair and --reference go together.", "Give the picture and the folder to write.")
    console, info = Console(), video.probe(path)
    length, fps = min(info.seconds, seconds or info.seconds), info.fps if config.pose.compat else config.clip.fps
    if pair is not None:
        refuse_unless_new(pair)
        refuse_if_short(path, math.ceil(length * fps - 0.01), fps, config.clip.frames)
    estimator = build_estimator(config.pose)
    picture = None if reference is None else read_reference(reference, estimator)
    with _draft(out, path) as draft, _progress() as bar:
        task = bar.add_task("Finding poses", total=length)
        driving = read_driving(
            path,
            estimator,
            config.pose,
            config.clip.fps,
            people=people,
            seconds=seconds,
            samples=COUNTED_FRAMES,
            progress=lambda done: bar.update(task, completed=done),
        )
        summary = _summary(config, path, info, driving, estimator.about)
        drawing = bar.add_task("Drawing", total=summary["frames"])
        _write(draft, path, driving, summary, lambda: bar.advance(drawing))
        for old in out.glob(f"{glob.escape(path.stem)}.person*.pose.npz"):
            old.unlink()
        written = [each.replace(out / each.name) for each in sorted(draft.iterdir())]
        if pair is not None:
            pictures = bar.add_task("Writing the pair", total=summary["frames"])
            made = write_pair(
                pair,
                picture,
                driving,
                path,
                prompt,
                frames=config.clip.frames,
                seed=config.seed,
                compat=config.pose.compat,
                progress=lambda: bar.advance(pictures),
            )
            written.append(pair)
    _show(console, summary, written)
    if note := _people_note(driving):
        console.print(note, style="yellow", markup=False)
    if pair is not None:
        if picture.note:
            console.print(picture.note, style="yellow", markup=False)
        guessed = [part for part in MEASURES if not made.meta["ratios"].get(part, {}).get("measured")]
        if guessed and not config.pose.compat:
            parts = ", ".join(part.replace("_", " ") for part in guessed)
            console.print(f"Not seen in both the picture and the video, scaled as the rest of the body: {parts}.")
    return written


@contextmanager
def _draft(out: Path, path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(commits.draft(out / f"{path.stem}.pose"))
        except OSError as error:
            raise SteadyDancerError(f"{out} cannot be written: {error.strerror}.", "Choose another --out.") from None
        yield folder


@contextmanager
def _progress() -> Iterator[Progress]:
    """On an error stream of its own: MediaPipe's notices are kept from the common one, and with them all else."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with (
        os.fdopen(os.dup(2), "w") as terminal,
        Progress(*columns, console=Console(file=terminal), transient=True) as bar,
    ):
        yield bar


def _people_note(driving: Driving) -> str | None:
    """Whom the tracks show, where there are more people than tracks."""
    seen, followed = round(float(np.median(driving.counts or [0]))), len(driving.people)
    if seen <= followed:
        return None
    track = driving.people[0].track
    places, shown = neck(track.keypoints, track.scores)
    where = f", whose neck is at {place_text(places[shown.argmax()])} when first seen" if shown.any() else ""
    who = f"{followed} followed{where}" if followed == 1 else f"{followed} followed"
    return (
        f"{people_text(seen)} are in the video (median of {len(driving.counts)} frames); {who}. "
        f"--people {seen} follows all."
    )


def _summary(
    config: Config, path: Path, info: video.VideoInfo, driving: Driving, about: dict[str, Any]
) -> dict[str, Any]:
    pose = config.pose
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cleaned = pose.clean != "never" and not pose.compat
    return {
        "source": {
            "name": path.name,
            "sha256": digest,
            "size": list(driving.size),
            "fps": round(info.fps, 6),
            "frames": len(driving.times),
        },
        "size": list(driving.size),
        "fps": driving.fps,
        "frames": len(driving.people[0].track),
        "retiming": "frames as they come" if pose.compat else "by time",
        "cleaning": {"fill_seconds": pose.fill_seconds, "smooth_seconds": pose.smooth_seconds} if cleaned else None,
        "estimator": about,
        "detector_calls": driving.detector_calls,
        "people_counted": driving.counts,
        "people": [_person(driven) for driven in driving.people],
        "code": code_version(),
    }


def _person(driven: Driven) -> dict[str, Any]:
    return {
        "visibility": visibility(driven.track),
        "jitter": jitter(PoseTrack(driven.track.keypoints, driven.confidence)),  # of what was seen, not of filled gaps
        "jitter_as_estimated": jitter(driven.uncleaned),
        "filled_joints": driven.filled,
    }


def _write(folder: Path, path: Path, driving: Driving, summary: dict[str, Any], advance: Callable[[], None]) -> None:
    for number, driven in enumerate(driving.people, 1):
        about = {key: value for key, value in summary.items() if key != "people"} | {"person": number}
        name = f"{path.stem}.pose.npz" if number == 1 else f"{path.stem}.person{number}.pose.npz"
        driven.track.save(folder / name, confidence=driven.confidence if summary["cleaning"] else None, about=about)
    video.write(folder / f"{path.stem}.overlay.mp4", _overlaid(path, driving, advance), driving.fps)
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (folder / f"{path.stem}.summary.json").write_text(text + "\n", encoding="utf-8")


def _overlaid(path: Path, driving: Driving, advance: Callable[[], None]) -> Iterator[np.ndarray]:
    """The video at the tracks' frame rate with every person's pose over it."""
    size = tuple(max(2, side // 2 * 2) for side in bounded(driving.size))
    tracks = [driven.track.resized(driving.size, size) for driven in driving.people]
    keypoints, scores = (np.stack([getattr(t, name) for t in tracks], axis=1) for name in ("keypoints", "scores"))
    frames = frames_shown(path, driving.shown)
    for image, points, sure in zip(frames, keypoints, scores, strict=True):
        advance()
        yield overlay(video.resize(image, size), points, sure)


def _show(console: Console, summary: dict[str, Any], written: list[Path]) -> None:
    source, estimator = summary["source"], summary["estimator"]
    table = Table(title=escape(f"Pose of {source['name']}"), show_header=False, title_justify="left")
    table.add_row("video", f"{size_text(source['size'])}, {source['fps']:g} fps, {source['frames']} frames")
    table.add_row("poses", f"{summary['frames']} at {summary['fps']:g} fps, {summary['retiming']}")
    table.add_row("estimator", f"{estimator['name']}, detector calls: {summary['detector_calls']}")
    cleaning = summary["cleaning"]
    for number, person in enumerate(summary["people"], 1):
        who = f"person {number}: " if len(summary["people"]) > 1 else ""
        table.add_row(f"{who}visible", _parts(person["visibility"]))
        table.add_row(f"{who}jitter, of the torso", _parts(person["jitter"]))
        if cleaning:
            table.add_row(f"{who}  as estimated", _parts(person["jitter_as_estimated"]))
            table.add_row(
                f"{who}gaps", f"{person['filled_joints']} joints filled, up to {cleaning['fill_seconds']:g} s"
            )
    console.print(table)
    for path in written:
        console.print(str(path), soft_wrap=True, markup=False)


def _parts(shares: dict[str, float | None]) -> str:
    """Shares of body parts as percentages; a part without a value is left out."""
    shares = {part: share for part, share in shares.items() if share is not None}
    if not shares:
        return "not known"
    digits = 0 if max(filter(None, shares.values()), default=0) > 0.2 else 1
    return ", ".join(
        f"{part.replace('_', ' ')} {share:.{digits}%}" for part, share in shares.items() if share is not None
    )
