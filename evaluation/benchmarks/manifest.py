"""A benchmark as a folder with a readable file: ``benchmark.yaml`` lists its pairs.

::

    name: mine
    source: https://example.org/where-it-is-from
    licence: CC BY 4.0
    time_map: time
    pairs:
      - id: video00001_img00001
        reference: images/00001.png
        driving: videos/00001/video.mp4
        prompt: A person dances.
        strata: {style: anime}

Paths are relative to the folder and may not lead out of it.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.errors import SteadyDancerError

FILE = "benchmark.yaml"
PATHS = ("reference", "driving", "reference_pose", "driving_pose")
SEED = re.compile(r"(.+)-(\d{1,18})$")
"""``<pair>-<seed>``: one of several videos of a pair."""


class InvalidManifest(SteadyDancerError):
    """A benchmark.yaml that cannot be read, or says what it may not."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Entry(_Strict):
    """One pair. ``reference`` None: the driver's first frame, in a pair of the ``same_source``."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    reference: str | None = None
    driving: str
    """a video, or a folder of numbered frames, which needs ``fps``"""
    prompt: str
    same_source: bool = False
    fps: float | None = Field(None, gt=0, le=1000)
    reference_pose: str | None = None
    driving_pose: str | None = None
    """.npz of PoseTrack, a pose per frame in pixels of the frames; None: estimated"""
    strata: dict[str, str | float] = {}
    """what only people know, such as the style; the others are measured"""

    @field_validator(*PATHS)
    @classmethod
    def _stays_inside(cls, path: str | None) -> str | None:
        if path is not None and (path.startswith("/") or "\\" in path or ".." in path.split("/") or ":" in path):
            raise ValueError(f"{path!r} leads out of the folder; a relative path inside it was expected")
        return path if path is None else PurePosixPath(path).as_posix()

    @model_validator(mode="after")
    def _has_a_reference(self):
        if self.same_source and self.reference is not None:
            raise ValueError("same_source takes the driver's first frame as reference; name no other")
        if self.same_source and self.reference_pose is not None:
            raise ValueError("same_source takes the driver's first pose as that of the reference; name no other")
        if not self.same_source and self.reference is None:
            raise ValueError("reference must be set, or same_source: true")
        return self


class Manifest(_Strict):
    name: Annotated[str, Field(min_length=1)]
    source: str = ""
    licence: str = ""
    time_map: Literal["time", "index"] = "time"
    """How drivers are played: by the second, or frame by frame as the official release does."""
    pairs: list[Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self):
        ids = [entry.id.lower() for entry in self.pairs]  # some file systems take no notice of case
        for entry in self.pairs:
            if ids.count(entry.id.lower()) > 1:
                raise ValueError(f"pair {entry.id!r} is there twice (upper and lower case count as one)")
            if (seeded := SEED.match(entry.id.lower())) and seeded[1] in ids:
                raise ValueError(f"pair {entry.id!r} would be taken for seed {seeded[2]} of pair {seeded[1]!r}")
        return self


def read_manifest(folder: Path) -> Manifest:
    """The benchmark.yaml of ``folder``. Raises InvalidManifest naming the file, the pair and the field."""
    path = folder / FILE
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidManifest(
            f"{folder} holds no {FILE}.", "Write one, or have it written: steadydancer benchmark NAME FOLDER."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidManifest(f"{path} cannot be read as YAML: {error}") from None
    return checked(data, path)


def checked(data: Any, path: Path) -> Manifest:
    """Plain ``data`` as a Manifest. Raises InvalidManifest listing everything that is wrong."""
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(problem, data)}" for problem in error.errors())
        raise InvalidManifest(f"{path} is not valid:\n{lines}") from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    data = manifest.model_dump(exclude_defaults=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000), encoding="utf-8")


def inside(folder: Path, name: str) -> Path:
    """A file of the folder, or a folder of pictures in it. Raises SteadyDancerError where a link leads out of it, or
    nothing is there.
    """
    path, root = folder / name, folder.resolve()
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        if not each.resolve().is_relative_to(root):
            raise SteadyDancerError(
                f"{each} is a link out of its folder.", "Put the file itself there (hf download: with --local-dir)."
            )
    if not path.exists():
        raise SteadyDancerError(f"{path} is missing.")
    return path


def _explain(problem: dict[str, Any], data: Any) -> str:
    where = list(problem["loc"])
    named = ""
    if len(where) > 1 and where[0] == "pairs":
        named = f"pair {_id(data['pairs'], where[1])}: "
        where = where[2:]
    field = ".".join(str(part) for part in where)
    if problem["type"] == "missing":
        return f"{named}{field} must be set."
    if problem["type"] == "extra_forbidden":
        return f"{named}{field} is no field of it."
    given = problem["input"]
    shown = (
        f", not {given!r}" if isinstance(given, (str, int, float, bool)) and problem["type"] != "value_error" else ""
    )
    return f"{named}{field + ': ' if field else ''}{problem['msg'].removeprefix('Value error, ')}{shown}."


def _id(pairs: Sequence[Any], number: int) -> str:
    entry = pairs[number]
    given = entry.get("id") if isinstance(entry, dict) else None
    return f"{number + 1} ({given})" if given is not None else str(number + 1)
