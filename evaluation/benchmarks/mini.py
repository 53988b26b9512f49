"""The embedded benchmark: rendered drivers with known joints, and references that are misaligned with them on purpose.

A committed artifact of kind "benchmark": ``benchmark.yaml`` with its references, drivings and poses, and
``contact_sheet.jpg``, every pair's reference beside its driver's first frame.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from evaluation.benchmarks import cast
from evaluation.benchmarks.cast import KINDS, Take
from evaluation.benchmarks.manifest import FILE, checked, write_manifest
from infra import commits
from infra.commits import Commit
from infra.config import identity
from infra.errors import CorruptArtifact
from infra.schema import Config
from model import video

SHEET_HEIGHT = 160


def mini_benchmark(folder: Path, config: Config) -> Commit:
    """The benchmark at ``folder``, rendered if it is not there or made by other settings."""
    settings = {
        "seed": config.seed,
        "mini": identity(config.evaluate.mini),
        "frames": config.clip.frames,
        "fps": config.clip.fps,
    }
    try:
        made = commits.find(folder)
        if made and made.kind == "benchmark" and made.config_hash == commits.config_hash(settings):
            return commits.verify(made)
    except CorruptArtifact:
        pass  # rendered again over it
    with commits.write(folder, "benchmark", config=settings, replace=True) as draft:
        render(draft, config)
    return commits.read(folder)


def render(folder: Path, config: Config) -> None:
    """Fills ``folder``. The same settings give the same files."""
    from rich.progress import track

    for name in ("references", "drivings", "poses"):
        (folder / name).mkdir()
    entries, cells = [], []
    drivers = range(config.evaluate.mini.drivers)
    for number in track(drivers, "Rendering the mini benchmark", transient=True):
        take, made = _driver(folder, config, number), []
        if number < config.evaluate.mini.same_source:
            made.append(({"id": f"d{number:02d}_itself", "same_source": True}, "none", take.frames[0]))
        made += _references(folder, config, number)
        for entry, kind, picture in made:
            entries.append(_entry(number, entry, kind))
            cells.append(_cell(picture, take.frames[0]))
    data = {"name": "mini", "source": "rendered", "licence": "that of this package", "pairs": entries}
    write_manifest(folder / FILE, checked(data, folder / FILE))
    cv2.imwrite(str(folder / "contact_sheet.jpg"), _sheet(cells)[..., ::-1])


def _driver(folder: Path, config: Config, number: int) -> Take:
    take = cast.driver(config, number)
    video.write(folder / "drivings" / f"d{number:02d}.mp4", take.frames, config.evaluate.mini.fps)
    take.track.save(folder / "poses" / f"d{number:02d}.npz")
    return take


def _references(folder: Path, config: Config, number: int) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    count = config.evaluate.mini.references
    for place in range(number * count, (number + 1) * count):
        kind = KINDS[place % len(KINDS)]
        take, name = cast.reference(config, number, place, kind), f"r{place:02d}_{kind}"
        cv2.imwrite(str(folder / "references" / f"{name}.png"), take.frames[0][..., ::-1])
        take.track.save(folder / "poses" / f"{name}.npz")
        entry = {
            "id": f"d{number:02d}_{name}",
            "reference": f"references/{name}.png",
            "reference_pose": f"poses/{name}.npz",
        }
        yield entry, kind, take.frames[0]


def _entry(number: int, entry: dict[str, Any], kind: str) -> dict[str, Any]:
    driver = {"driving": f"drivings/d{number:02d}.mp4", "driving_pose": f"poses/d{number:02d}.npz"}
    pace = "slowly" if cast.slow(number) else "fast"
    strata = {"misalignment": kind, "style": "anime" if kind == "style" else "rendered"}
    return {**entry, **driver, "prompt": f"A person dances {pace}.", "strata": strata}


def _cell(reference: np.ndarray, driving: np.ndarray) -> np.ndarray:
    pictures = [
        video.resize(p, (SHEET_HEIGHT, round(p.shape[1] * SHEET_HEIGHT / p.shape[0]))) for p in (reference, driving)
    ]
    return np.pad(np.concatenate(pictures, axis=1), ((4, 4), (4, 4), (0, 0)), constant_values=255)


def _sheet(cells: list[np.ndarray], across: int = 5) -> np.ndarray:
    width = max(cell.shape[1] for cell in cells)
    same = [np.pad(cell, ((0, 0), (0, width - cell.shape[1]), (0, 0)), constant_values=255) for cell in cells]
    same += [np.full_like(same[0], 255)] * (-len(same) % across)
    return np.concatenate([np.concatenate(same[k : k + across], 1) for k in range(0, len(same), across)])
