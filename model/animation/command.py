"""`steadydancer animate`: pictures and drivings in, an mp4 out, or a folder of them with a grid."""

from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from infra.schema import Config
from model import video
from model.animation.grid import Panel, write_grid
from model.animation.out_of_memory import Job, OutOfMemory, doubts, explained
from model.animation.parts import Chosen, Parts, choose, open_parts
from model.animation.provenance import grid_provenance
from model.animation.rendering import published, render
from model.animation.reporting import Report, reporting
from model.animation.request import Request
from model.animation.scenes import (
    Scene,
    check_driving,
    check_photo,
    check_windows,
    frames_of,
    open_pair,
    pair_scene,
    read_dance,
    read_photo,
    scene_names,
    scene_of,
    slow_motion,
    wanted_frames,
)
from model.pose.estimator import PoseEstimator, build_estimator
from model.pose.pair_reading import Pair
from model.pose.reading import size_text
from model.resolution import output_size

Rows = list[list[Scene]]
"""References down, drivings across."""
Made = dict[tuple[str, int], tuple[Path, tuple[int, int]]]
"""Scene's name and seed to the file and the (height, width) of its frames."""
Jobs = dict[str, Job]
"""By the scene's name."""


def animate_files(config: Config, request: Request) -> list[Path]:
    """Makes the videos that are asked for, and returns what was written: an mp4, or several and a grid of them.

    A file that is there is replaced once the new one is whole. Of several, what fails is told, the others are made, and
    the SteadyDancerError at the end names what was not; of a single one it is raised as it comes.
    """
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
            with report.task("Looking at the model"):
                chosen = choose(config, request.checkpoint)
            report.note(*chosen.notes)
            estimator = None if request.pairs else build_estimator(config.pose)
            rows = (
                _rows(config, request, chosen, estimator, report)
                if estimator
                else _pair_rows(found["pairs"], request, chosen, report)
            )
            if jobs := _jobs(config, chosen, rows, report):
                parts = _opened(config, request, chosen, jobs, report)
                written = _make(config, request, parts, rows, jobs, report)
    report.refuse_failures()
    return written


def _jobs(config: Config, chosen: Chosen, rows: Rows, report: Report) -> Jobs:
    """Of every scene of which a video can be made."""
    clip, encode = chosen.clip, chosen.encode
    wanted, notes, jobs = wanted_frames(config.animate.frames, clip.frames), {}, {}
    for scene in chain(*rows):
        with report.tolerating(scene.name):
            frames, shortened = frames_of(scene, wanted, clip.fps)
            check_windows(frames, clip.frames, config.animate.overlap)
            notes[shortened] = None
            size = scene.reference.shape[:2]
            jobs[scene.name] = Job(chosen.found.config, config.animate, encode, size, frames, clip.frames)
    report.note(*notes)
    return jobs


def _opened(config: Config, request: Request, chosen: Chosen, jobs: Jobs, report: Report) -> Parts:
    sizes = sorted({size_text(output_size(config.animate.area, *job.reference_size)) for job in jobs.values()})
    steps, precision = config.animate.steps, config.animate.precision
    report.note(f"animate.steps={steps}, animate.precision={precision}, {', '.join(sizes)} pixels", style="")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    largest = max(jobs.values(), key=lambda job: job.estimate().total)
    report.note(doubts(largest, device))
    with report.task("Reading the model"), explained(largest, device):
        return open_parts(config, chosen, request.loras, device)


def _make(config: Config, request: Request, parts: Parts, rows: Rows, jobs: Jobs, report: Report) -> list[Path]:
    orders = [(scene, seed) for row in rows for scene in row if scene.name in jobs for seed in request.seeds]
    # Layers that were on their way when memory ran out are found neither on the device nor off it.
    final = (OutOfMemory,) if config.animate.offload == "blocks" else ()
    made: Made = {}
    for number, (scene, seed) in enumerate(orders, 1):
        name = scene.name if len(request.seeds) == 1 else f"{scene.name}-seed{seed}"
        path = request.out / f"{name}.mp4" if request.several else request.out
        title = f"Animating {name} ({number} of {len(orders)})" if request.several else "Animating"
        with report.tolerating(name, final):
            request.refuse_input(path)
            size = render(config, request, parts, scene, jobs[scene.name], seed, path, report, title)
            made[scene.name, seed] = path, size
    written = [path for path, _ in made.values()]
    if request.several and made:
        panel = tuple(np.max([size for _, size in made.values()], axis=0).tolist())
        grid = request.out / "grid.mp4"
        with report.tolerating(grid.name), report.task("Joining them in a grid"):
            longest, seeds = max(jobs[name].frames for name, _ in made), request.seeds
            inputs_of = {scene.name: scene.inputs for row in rows for scene in row}
            panels = _panels(rows, request, made, longest)
            about = (
                grid_provenance(parts.id, [inputs_of[name] for name, _ in made], seeds) if request.provenance else {}
            )
            published(grid, lambda path: write_grid(path, panels, parts.clip.fps, panel, about))
            across = "references down, drivings across" if request.images else "pairs down"
            beside = f", seeds {', '.join(map(str, seeds))} beside each other" if len(seeds) > 1 else ""
            report.made(f"{grid}: {across}{beside}.")
            written.append(grid)
    return written


def _rows(config: Config, request: Request, chosen: Chosen, estimator: PoseEstimator, report: Report) -> Rows:
    fps, people = chosen.clip.fps, request.people
    frames = wanted_frames(config.animate.frames, chosen.clip.frames)
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


def _pair_rows(pairs: dict[Path, Pair], request: Request, chosen: Chosen, report: Report) -> Rows:
    for path, pair in pairs.items():
        report.note(*pair.notes, slow_motion(path, pair, chosen.clip.fps))
    names = scene_names([path.resolve().name for path in pairs])
    return [
        [pair_scene(name, path, pair, request.prompt)] for name, (path, pair) in zip(names, pairs.items(), strict=True)
    ]


def _panels(rows: Rows, request: Request, made: Made, longest: int) -> list[list[Panel]]:
    """The videos with their references on the left, and their drivings above; a pair's driving stands beside it.

    A driving ends with the ``longest`` video.
    """
    seeds = request.seeds

    def of(scene: Scene) -> list[Panel]:
        videos = [made.get((scene.name, seed)) for seed in seeds]
        return [entry and (image for _, image in video.frames(entry[0])) for entry in videos]

    def driving(scene: Scene) -> Panel:
        return islice(scene.frames(), longest)

    if request.pairs:
        return [[[scene.reference], driving(scene), *of(scene)] for (scene,) in rows]
    above = [None, *(panel for scene in rows[0] for panel in (driving(scene), *[None] * (len(seeds) - 1)))]
    return [above, *([[row[0].reference], *(panel for scene in row for panel in of(scene))] for row in rows)]
