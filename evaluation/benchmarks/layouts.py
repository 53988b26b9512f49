"""Published folder layouts as manifests: X-Dance, TikTok, RealisDance-Val.

What a layout cannot say, a benchmark.yaml in the folder can: where there is one, it counts and the layout is not read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.benchmarks.manifest import FILE
from evaluation.benchmarks.reading import PICTURES, pictures_of

VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
TIKTOK_FPS = 30.0
TIKTOK_PROMPT = "A person dances."
"""The data set brings no texts."""


@dataclass(frozen=True)
class Problem:
    """``path`` is relative to the benchmark's folder."""

    path: str
    expected: str
    found: str


@dataclass
class Layout:
    """What was read of a folder: the manifest's plain data, and what is not as the layout has it."""

    name: str
    source: str
    licence: str
    pairs: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def missing(self, path: str, expected: str, found: str = "nothing") -> None:
        self.problems.append(Problem(path, expected, found))

    @property
    def manifest(self) -> dict[str, Any]:
        return {"name": self.name, "source": self.source, "licence": self.licence, "pairs": self.pairs}


def xdance(folder: Path) -> Layout:
    """``data/images/00001.png``, ``data/videos/00001/{video.mp4,prompt.txt}``: every picture moved by every video.

    The layout is that of the examples of the SteadyDancer repository. Which pairs X-Dance consists of is not published
    with it: take out of the manifest those that it does not have. ``pose.mp4`` there is a drawing and not read.
    """
    layout = Layout("x-dance", "MCG-NJU/SteadyDancer, X-Dance", "not stated; ask the authors")
    images = [path for path in _entries(folder / "data/images") if path.suffix.lower() in PICTURES]
    videos = [path for path in _entries(folder / "data/videos") if path.is_dir()]
    if not images:
        layout.missing("data/images", "pictures such as 00001.png", _told(folder / "data/images"))
    if not videos:
        layout.missing("data/videos", "folders such as 00001", _told(folder / "data/videos"))
    for video in videos:
        prompt, driving = _text(layout, folder, video / "prompt.txt"), _file(layout, folder, video / "video.mp4")
        for image in images:
            name = f"video{video.name}_img{image.stem}"
            reference = image.relative_to(folder).as_posix()
            layout.pairs.append({"id": name, "reference": reference, "driving": driving, "prompt": prompt})
    return layout


def tiktok(folder: Path) -> Layout:
    """``<name>.mp4``, or folders ``<name>`` (or ``<name>/images``) of numbered frames at 30 fps; each drives itself."""
    layout = Layout("tiktok", "TikTok dataset (Jafarian and Park, CVPR 2021)", "research only; see its page")
    for path in _entries(folder):
        entry = {"id": path.stem, "same_source": True, "prompt": TIKTOK_PROMPT}
        if path.suffix.lower() in VIDEOS:
            layout.pairs.append(entry | {"driving": path.name})
        elif path.is_dir():
            frames = path / "images" if (path / "images").is_dir() else path
            if not pictures_of(frames):
                layout.missing(frames.relative_to(folder).as_posix(), "frames such as 0001.png")
            driving = frames.relative_to(folder).as_posix()
            layout.pairs.append(entry | {"id": path.name, "driving": driving, "fps": TIKTOK_FPS})
    if not layout.pairs:
        layout.missing(".", "videos, or folders of frames", _told(folder))
    return layout


def realisdance_val(folder: Path) -> Layout:
    """A folder per item: ``<name>/{reference.png,driving.mp4,prompt.txt}``.

    Ours: the published layout could not be looked at. Where it is another, write a benchmark.yaml.
    """
    layout = Layout("realisdance-val", "RealisDance-Val (damo-cv/RealisDance)", "not stated; ask the authors")
    for item in (path for path in _entries(folder) if path.is_dir()):
        pictures = [p for p in _entries(item) if p.stem == "reference" and p.suffix.lower() in PICTURES]
        reference = pictures[0].relative_to(folder).as_posix() if pictures else f"{item.name}/reference.png"
        if not pictures:
            layout.missing(reference, "the picture of the person")
        driving, prompt = _file(layout, folder, item / "driving.mp4"), _text(layout, folder, item / "prompt.txt")
        layout.pairs.append({"id": item.name, "reference": reference, "driving": driving, "prompt": prompt})
    if not layout.pairs:
        layout.missing(".", "a folder per item", _told(folder))
    return layout


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "x-dance": xdance,
    "tiktok": tiktok,
    "realisdance-val": realisdance_val,
}


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != FILE)


def _told(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    count = sum(1 for _ in _entries(folder))
    return f"{count} other entries" if count else "an empty folder"


def _file(layout: Layout, folder: Path, path: Path) -> str:
    name = path.relative_to(folder).as_posix()
    if not path.is_file():
        layout.missing(name, "a video")
    return name


def _text(layout: Layout, folder: Path, path: Path) -> str:
    name = path.relative_to(folder).as_posix()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        layout.missing(name, "the prompt")
    except (OSError, UnicodeDecodeError) as error:
        layout.missing(name, "the prompt, UTF-8", str(error))
    else:
        if not text:
            layout.missing(name, "the prompt", "an empty file")
        return text
    return ""
