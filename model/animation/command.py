"""`steadydancer animate`: pictures and drivings in, an mp4 out, or a folder of them with a grid."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from infra.schema import Config
from model import video
from model.animation.grid import Panel, write_grid
from model.animation.parts import Parts, open_parts
from model.animation.rendering import published, render
from model.animation.reporting import Report, reporting
from model.animation.request import Request
from model.animation.scenes import (
    Scene,
    check_driving,
    check_photo,
    open_pair,
    pair_scene,
    read_dance,
    read_photo,
    scene_names,
    scene_of,
    slow_motion,
    wanted_frames,
)
from model.pose.estimator import build_estimator
from model.pose.pair_reading import Pair

Rows = list[list[Scene]]
"""References down, drivings across."""
Made = dict[tuple[str, int], tuple[Path, tuple[int, int]]]
"""Scene's name and seed to the file and the (height, width) of its frames."""


def animate_files(config: Config, request: Request) -> list[Path]:
    """Makes the videos that are asked for, and returns what was written: an mp4, or several and a grid of them.

    A file that is there is replaced once the new one is whole. Of several, what fails is told, the others are made, and
    the SteadyDancerError at the end names what was not; of a single one it is raised as it comes.
    """
    request.checked()
    wanted_frames(config.animate.frames, config.clip.frames)
    with reporting(request.several) as report:
        # What is wrong with the files is told before the model is read, which can take minutes.
        area = config.animate.area
        found = {
            "images": report.read(request.images, lambda path: check_photo(path, area)),
            "drivings": report.read(request.drivings, check_driving),
            "pairs": report.read(request.pairs, lambda path: open_pair(path, area)),
        }
        request = request._replace(**{name: list(paths) for name, paths in found.items()})
        written = []
        if request.pairs or (request.images and request.drivings):
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            with report.task("Reading the model"):
                parts = open_parts(config, request.checkpoint, request.loras, device)
            report.note(*parts.notes)
            rows = (
                _pair_rows(found["pairs"], request, parts, report)
                if request.pairs
                else _rows(config, request, parts, report)
            )
            written = _make(config, request, parts, rows, report)
    for line in report.made:
        Console().print(line, markup=False, highlight=False, soft_wrap=True)
    report.refuse_failures()
    return written


def _make(config: Config, request: Request, parts: Parts, rows: Rows, report: Report) -> list[Path]:
    orders = [(scene, seed) for row in rows for scene in row for seed in request.seeds]
    made: Made = {}
    for number, (scene, seed) in enumerate(orders, 1):
        name = scene.name if len(request.seeds) == 1 else f"{scene.name}-seed{seed}"
        path = request.out / f"{name}.mp4" if request.several else request.out
        title = f"Animating {name} ({number} of {len(orders)})" if request.several else "Animating"
        with report.tolerating(name):
            made[scene.name, seed] = path, render(config, request, parts, scene, seed, path, report, title)
    written = [path for path, _ in made.values()]
    if request.several and made:
        panel = tuple(np.max([size for _, size in made.values()], axis=0).tolist())
        grid = request.out / "grid.mp4"
        with report.tolerating(grid.name), report.task("Joining them in a grid"):
            published(grid, lambda path: write_grid(path, _panels(rows, request, made), parts.clip.fps, panel))
            report.made.append(f"{grid}: {'references down, drivings across' if request.images else 'pairs down'}.")
            written.append(grid)
    return written


def _rows(config: Config, request: Request, parts: Parts, report: Report) -> Rows:
    estimator, fps = build_estimator(config.pose), parts.clip.fps
    people, frames = request.people, wanted_frames(config.animate.frames, parts.clip.frames)
    with report.task("Finding people in the pictures"):
        photos = report.read(request.images, lambda path: read_photo(path, estimator, config.pose, people))
    dances = {}
    for path in request.drivings if photos else ():
        with report.task(f"Finding poses in {path.name}", frames and frames / fps) as update:
            dances |= report.read([path], lambda p: read_dance(p, estimator, config.pose, fps, people, frames, update))
    for each in [*photos.values(), *dances.values()]:
        report.note(*each.notes)
    moves = [path.stem.removesuffix(".pose") for path in dances]
    names = iter(scene_names([f"{image.stem}-{move}" for image in photos for move in moves]))
    prompt = request.prompt or ""
    return [
        [scene_of(next(names), photo, dance, config, prompt) for dance in dances.values()] for photo in photos.values()
    ]


def _pair_rows(pairs: dict[Path, Pair], request: Request, parts: Parts, report: Report) -> Rows:
    for path, pair in pairs.items():
        report.note(*pair.notes, slow_motion(path, pair, parts.clip.fps))
    names = scene_names([path.resolve().name for path in pairs])
    return [
        [pair_scene(name, path, pair, request.prompt)] for name, (path, pair) in zip(names, pairs.items(), strict=True)
    ]


def _panels(rows: Rows, request: Request, made: Made) -> list[list[Panel]]:
    """The videos with their references on the left, and their drivings above; a pair's driving stands beside it."""
    seeds = request.seeds

    def of(scene: Scene) -> list[Panel]:
        videos = [made.get((scene.name, seed)) for seed in seeds]
        return [entry and (image for _, image in video.frames(entry[0])) for entry in videos]

    def driving(scene: Scene) -> Panel:
        return islice(scene.frames(), scene.poses)

    if request.pairs:
        return [[[scene.reference], driving(scene), *of(scene)] for (scene,) in rows]
    above = [None, *(panel for scene in rows[0] for panel in (driving(scene), *[None] * (len(seeds) - 1)))]
    return [above, *([[row[0].reference], *(panel for scene in row for panel in of(scene))] for row in rows)]
