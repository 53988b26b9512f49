"""A script becomes a shot: who dances what, where, before which camera; then frames with the true joints."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.sample.canvas import Canvas
from pipelines.sample.choreography import dance
from pipelines.sample.dancer import Dancer, Outfit, View
from pipelines.sample.face import Complexion
from pipelines.sample.scene import Camera, Scene
from pipelines.sample.skeleton import Body

ASPECTS = {"9:16": 9 / 16, "3:4": 3 / 4, "4:3": 4 / 3, "16:9": 16 / 9, "5:2": 5 / 2}
SKINS = ((250, 214, 186), (236, 190, 156), (216, 164, 126), (182, 128, 94), (140, 96, 70), (104, 72, 54))
HAIRS = ((36, 28, 26), (74, 50, 36), (122, 82, 48), (186, 148, 92), (128, 52, 36), (120, 118, 120))
IRISES = ((92, 128, 160), (96, 118, 78), (108, 74, 46), (70, 50, 38))
CLOTHS = ((196, 60, 58), (58, 104, 178), (236, 232, 222), (54, 128, 92), (232, 178, 66), (122, 78, 152), (44, 48, 58))
TROUSERS = ((52, 62, 88), (40, 40, 46), (128, 112, 92), (84, 96, 78), (96, 110, 140))


@dataclass(frozen=True)
class Script:
    """What a shot shows. ``people`` dancers, ``ball`` instead of any; ``still`` freezes the dancers."""

    aspect: str = "9:16"
    framing: str = "full"
    camera: str = "fixed"
    backdrop: str = "room"
    fps: float = 30.0
    people: int = 1
    still: bool = False
    ball: bool = False


def frame_size(aspect: str, short_side: int) -> tuple[int, int]:
    """(height, width), both even."""
    ratio = ASPECTS[aspect]
    long_side = 2 * round(short_side * max(ratio, 1 / ratio) / 2)
    short = 2 * round(short_side / 2)
    return (short, long_side) if ratio > 1 else (long_side, short)


def _body(rng: np.random.Generator) -> Body:
    return Body(
        legs=rng.uniform(0.95, 1.04),
        arms=rng.uniform(0.95, 1.04),
        shoulders=rng.uniform(0.100, 0.120),
        hips=rng.uniform(0.052, 0.060),
        head=rng.uniform(0.070, 0.077),
        hand=rng.uniform(0.110, 0.120),
        girth=rng.uniform(0.92, 1.12),
    )


def _outfit(rng: np.random.Generator, framing: str) -> Outfit:
    def pick(colours) -> np.ndarray:
        return np.asarray(colours[rng.integers(len(colours))], float)

    skin = pick(SKINS)
    lips = np.clip(skin * 0.55 + np.array([190, 70, 75]) * 0.45, 0, 255)
    shirt, stripe = (np.asarray(CLOTHS[k], float) for k in rng.permutation(len(CLOTHS))[:2])
    skirt = bool(rng.random() < 0.35)
    return Outfit(
        complexion=Complexion(skin, pick(HAIRS), pick(IRISES), lips),
        hair_style=("short", "bob", "long", "bun")[rng.integers(1 if skirt else 0, 4)],
        shirt=shirt,
        stripe=shirt if rng.random() < 0.5 else stripe,
        sleeve=(0.12, 0.5, 0.6, 1.85)[rng.integers(4)],
        bottom=pick(TROUSERS),
        leg=0.25 if skirt else (0.75, 1.85, 1.9, 1.95)[rng.integers(4)],
        skirt=skirt,
        shoes=pick(CLOTHS),
    )


class Shot:
    """A script with its people cast and dressed; the same script, times and generator give the same shot."""

    def __init__(self, script: Script, size: tuple[int, int], times: np.ndarray, rng: np.random.Generator):
        self.script, self.size, self.times = script, size, times
        height, width = size
        camera = Camera.moving(script.camera, times, rng)
        half = script.framing == "half"
        self.scene = Scene(script.backdrop, size, camera, rng, floor=1.04 if half else 0.80)
        if half:
            crown = 0.17
            stature = height * (1.32 if width > height else 1.12)
        else:
            crown = 0.0
            stature = height * min(0.78, 0.70 + 0.10 * max(width / height - 9 / 16, 0) / 0.4)
        feet = crown * height + stature if half else 0.935 * height
        self.dancers = []
        for k in range(script.people):
            place = width * (0.5 if script.people == 1 else 0.24 + 0.52 * k / (script.people - 1))
            narrow = width < 1.05 * stature * script.people
            compact = half or script.people > 1
            motion = dance(np.zeros_like(times) if script.still else times, rng, compact=compact, narrow=narrow)
            origin = self.scene.place(np.tile([place, feet], (len(times), 1)))
            view = View(stature * (0.96 if script.people > 1 else 1) * camera.zoom, origin)
            self.dancers.append(Dancer(_body(rng), _outfit(rng, script.framing), motion, view))
        self.ball = rng.uniform(0.7, 1.1) if script.ball else None
        self.canvas = Canvas(height, width, light=(rng.uniform(-0.6, 0.6), -0.55, 0.75), ambient=rng.uniform(0.5, 0.6))

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(H, W, 3) uint8, keypoints (P, 133, 2) float32 in its pixels, scores (P, 133) float32."""
        points = [dancer.points() for dancer in self.dancers]
        for frame in range(len(self.times)):
            background = self.scene.background(frame)
            for dancer in self.dancers:
                _shadow(background, dancer, frame)
            if self.ball is not None:
                self._bounce(background, frame)
            if not self.dancers:
                yield background, np.empty((0, 133, 2), np.float32), np.empty((0, 133), np.float32)
                continue
            self.canvas.begin(background)
            surfaces = [surface for dancer in self.dancers for surface in dancer.surfaces(self.canvas, frame)]
            self.canvas.paint(surfaces)
            keypoints = np.stack([p[frame, :, :2] for p in points]).astype(np.float32)
            seen = [d.scores(p[frame], self.canvas.depth, frame) for d, p in zip(self.dancers, points, strict=True)]
            yield self.canvas.picture(), keypoints, np.stack(seen)

    def _bounce(self, picture: np.ndarray, frame: int) -> None:
        height, width = self.size
        beat = self.times[frame] * self.ball
        x = width * (0.5 + 0.35 * np.sin(2.1 * beat))
        y = height * (0.86 - 0.55 * abs(np.sin(np.pi * beat)))
        radius = 0.075 * min(height, width)
        for share, colour in ((1.0, (150, 60, 30)), (0.86, (215, 105, 50)), (0.45, (242, 158, 100))):
            at = int((x - (1 - share) * 0.4 * radius) * 16), int((y - (1 - share) * 0.5 * radius) * 16)
            cv2.circle(picture, at, int(share * radius * 16), colour, -1, cv2.LINE_AA, 4)


def _shadow(picture: np.ndarray, dancer: Dancer, frame: int) -> None:
    """A soft dark spot on the floor between the feet."""
    feet = (dancer.joints["left_heel"][frame] + dancer.joints["right_heel"][frame]) / 2
    ground = max(dancer.joints["left_heel"][frame][1], dancer.joints["right_heel"][frame][1])
    across, up = int(0.30 * dancer.scale[frame]), int(0.045 * dancer.scale[frame])
    x0, y0 = int(feet[0]) - across, int(ground) - up + 2
    height, width = picture.shape[:2]
    left, right, top, bottom = max(x0, 0), min(x0 + 2 * across, width), max(y0, 0), min(y0 + 2 * up, height)
    if left >= right or top >= bottom:
        return
    x = (np.arange(left, right) - x0 - across) / across
    y = (np.arange(top, bottom)[:, None] - y0 - up) / up
    dark = 1 - 0.45 * np.maximum(1 - x * x - y * y, 0)
    part = picture[top:bottom, left:right]
    part[:] = (part * dark[..., None]).astype(np.uint8)
