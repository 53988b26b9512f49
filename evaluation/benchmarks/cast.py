"""Who dances in the mini benchmark: a driver, and the people it is put onto, each unlike it in one way.

Shapes: T frames, H W pixels.
"""

from dataclasses import dataclass, replace

import numpy as np

from evaluation.metrics.start_gap import start_gap
from infra.schema import Config
from model.pose.tracks import PoseTrack
from pipelines.sample.canvas import Canvas
from pipelines.sample.choreography import Curves, dance
from pipelines.sample.dancer import Dancer, Outfit, View
from pipelines.sample.film import Script, Shot, frame_size
from pipelines.sample.skeleton import Body

KINDS = ("plain", "style", "half_body", "proportions", "start_gap")
"""Somebody else who stands as the driver begins; drawn like an anime; cut at the hips; a child or somebody long-limbed;
somebody who stands quite otherwise.
"""
SLOW = 0.3
"""Of the tempo: every third driver hardly moves."""
CHILD = {"legs": 0.80, "arms": 0.82, "shoulders": 0.094, "head": 0.105}
LONG_LIMBED = {"legs": 1.20, "arms": 1.30, "shoulders": 0.100, "head": 0.060}
STANCES = 48
"""Moments of another dance among which the one farthest from the driver's start is taken."""
_BACKDROPS = ("room", "street", "stage", "plaster", "park")
_VIVID = (((255, 120, 170), (70, 200, 220)), ((120, 150, 255), (255, 210, 90)), ((160, 110, 230), (120, 225, 150)))
_FLAT_WALL = (236, 240, 250)


@dataclass(frozen=True, eq=False)
class Take:
    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB"""
    track: PoseTrack
    """where every joint is in truth, in pixels"""


class CelCanvas(Canvas):
    """Two tones and a dark outline, as animation cels are painted."""

    def shade(self, towards_light: np.ndarray, towards_camera: np.ndarray) -> np.ndarray:
        tone = np.where(towards_light > 0.3, np.float32(1.06), np.float32(0.80))
        return np.where(towards_camera < 0.2, np.float32(0.25), tone)


def slow(number: int) -> bool:
    """Whether the driver of that number is one that hardly moves."""
    return number % 3 == 2


def driver(config: Config, number: int) -> Take:
    """The driving video of that number, somewhat longer than a clip."""
    return _film(_script(number), _motion(config, number), config, (config.seed, number, 0), {})


def reference(config: Config, number: int, place: int, kind: str) -> Take:
    """The picture of pair ``place``, one frame: somebody else, in the other format, misaligned as ``kind`` says."""
    rng = np.random.default_rng((config.seed, number, 1 + place))
    standing = {name: curve[:1] for name, curve in _motion(config, number).items()}
    if kind == "start_gap":
        standing = _far_from(standing, dance(np.linspace(0, 20, STANCES), rng, narrow=True))
    body, outfit = {}, {}
    if kind == "proportions":
        body = CHILD if place % 2 else LONG_LIMBED
    if kind == "style":
        hair, cloth = (np.array(colour, float) for colour in _VIVID[place % len(_VIVID)])
        outfit, body = {"hair": hair, "shirt": cloth, "stripe": cloth}, {"head": 0.098, "girth": 0.86}
    script = replace(_script(number + 1), framing="half" if kind == "half_body" else "full")
    return _film(script, standing, config, (config.seed, number, 1 + place), body, outfit, cel=kind == "style")


def _script(number: int) -> Script:
    return Script(("9:16", "3:4")[number % 2], "full", "fixed", _BACKDROPS[number % len(_BACKDROPS)])


def _motion(config: Config, number: int) -> Curves:
    fps = config.evaluate.mini.fps
    count = max(int(np.ceil(config.clip.seconds * fps)) + 1, config.clip.frames)
    rng = np.random.default_rng((config.seed, number))
    return dance(np.arange(count) / fps * (SLOW if slow(number) else 1.0), rng, narrow=True)


def _far_from(start: Curves, others: Curves) -> Curves:
    """Of ``others`` the moment whose pose is farthest from ``start``."""
    here, there = (_joints(curves) for curves in (start, others))
    gaps = [start_gap(there[t : t + 1], here) for t in range(len(there))]
    farthest = int(np.argmax(gaps))
    return {name: curve[farthest : farthest + 1] for name, curve in others.items()}


def _joints(curves: Curves) -> PoseTrack:
    count = len(curves["x"])
    somebody = Shot(Script(), (64, 64), np.zeros(1), np.random.default_rng(0)).dancers[0]
    dancer = Dancer(Body(), somebody.outfit, curves, View(np.full(count, 100.0), np.zeros((count, 2))))
    points = dancer.points()[..., :2].astype(np.float32)
    return PoseTrack(points, np.ones(points.shape[:2], np.float32))


def _film(
    script: Script,
    motion: Curves,
    config: Config,
    seed: tuple[int, ...],
    body: dict[str, float],
    colours: dict[str, np.ndarray] | None = None,
    cel: bool = False,
) -> Take:
    height, width = size = frame_size(script.aspect, config.evaluate.mini.short_side)
    times = np.zeros(len(motion["x"]))
    shot = Shot(script, size, times, np.random.default_rng(seed))
    somebody = shot.dancers[0]
    if cel:
        shot.canvas = CelCanvas(height, width)
        shot.scene.backdrop[:] = _FLAT_WALL
    half = script.framing == "half"
    stature = (1.3 if half else 0.74) * height
    feet = np.tile([width / 2, 0.16 * height + stature if half else 0.93 * height], (len(times), 1))
    view = View(np.full(len(times), stature), feet)
    outfit = _dressed(somebody.outfit, **(colours or {}))
    shot.dancers = [Dancer(replace(somebody.body, **body), outfit, motion, view)]
    pictures, points, seen = zip(*((p, k[0], s[0]) for p, k, s in shot.frames()), strict=True)
    return Take(np.stack(pictures), PoseTrack(np.stack(points), np.stack(seen)))


def _dressed(outfit: Outfit, hair: np.ndarray | None = None, **colours: np.ndarray) -> Outfit:
    complexion = outfit.complexion if hair is None else replace(outfit.complexion, hair=hair)
    return replace(outfit, complexion=complexion, **colours)
