"""The person in a window, from their track: where they stand, how much of them is seen, how they move.

Distances are in body heights, so that no score of motion depends on the size of the picture or person. Columns are
defined in :mod:`pipelines.columns`; a thing that is not there has None, a share of it 0.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from model.pose.quality import visibility
from model.pose.tracks import PoseTrack
from model.pose.wholebody import (
    BODY,
    FACE,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_SHOULDER,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    VISIBLE,
)
from pipelines.columns import rounded
from pipelines.scan.sharpness import blur
from pipelines.work.stage import Row, Stage

JOINTS_FOR_A_BODY = 10
TORSO_SHARE_OF_HEIGHT = 0.288  # Drillis and Contini 1966: shoulder to hip, of standing height
BORDER = 0.01  # of the picture's shorter side: a joint so near has its limb outside
UPRIGHT_WITHIN = math.radians(60)
START_FRAMES = 5
PART_SIDE, PART_MARGIN, PART_FRAMES = 128, 1.2, 16


@dataclass(frozen=True)
class MeasureBody(Stage):
    """How large the body is, where it stands, how much of it is seen and how surely."""

    reads: ClassVar = ("images", "track")
    writes: ClassVar = (
        "person_height", "person_area", "person_x", "person_y", "clipped", "body_confidence", "body_visibility",
        "hand_visibility", "face_visibility", "upright", "start_clarity",
    )  # fmt: skip
    version: ClassVar = 2

    def __call__(self, row: Row) -> Row:
        track: PoseTrack | None = row["track"]
        if track is None:
            nothing = ("body_confidence", "body_visibility", "hand_visibility", "face_visibility", "start_clarity")
            return dict.fromkeys(self.writes) | dict.fromkeys(nothing, 0.0)
        size, scores, seen = row["images"].shape[1:3], track.scores[:, BODY], visibility(track)
        return {
            **prominence(track, size),
            "clipped": clipped(track, size),
            "body_confidence": rounded(scores.mean()),
            "body_visibility": rounded(((scores > VISIBLE).sum(axis=1) >= JOINTS_FOR_A_BODY).mean()),
            "hand_visibility": rounded((seen["left_hand"] + seen["right_hand"]) / 2),
            "face_visibility": rounded(seen["face"]),
            "upright": upright(track),
            "start_clarity": rounded(scores[:START_FRAMES].mean()),
        }


def prominence(track: PoseTrack, size: tuple[int, int]) -> dict[str, float | None]:
    """``person_height``, ``person_area``, ``person_x``, ``person_y``: the box of the visible joints, as far as it lies
    in the picture of ``size`` (height, width), in shares of it; medians over the frames that show a joint.
    """
    visible = track.scores > VISIBLE
    shown = visible.any(axis=1)
    if not shown.any():
        return dict.fromkeys(("person_height", "person_area", "person_x", "person_y"))
    points = np.clip(track.keypoints[shown].astype(np.float64) / (size[1], size[0]), 0, 1)
    visible = visible[shown, :, None]
    low = np.where(visible, points, np.inf).min(axis=1)
    high = np.where(visible, points, -np.inf).max(axis=1)
    (width, height), (x, y) = (high - low).T, ((low + high) / 2).T
    medians = {"person_height": height, "person_area": width * height, "person_x": x, "person_y": y}
    return {name: rounded(np.median(values)) for name, values in medians.items()}


def clipped(track: PoseTrack, size: tuple[int, int]) -> float | None:
    """Share, of the frames that show somebody, in which a body joint, seen or guessed, reaches the left, right or top
    border. None where nobody is. Joints below the picture say nothing: a half body is cut there, and its legs are
    guessed. Neither does a joint that was not found (score and coordinates 0).
    """
    points = track.keypoints[:, BODY].astype(np.float64)
    found = (track.scores[:, BODY] > 0) | points.any(axis=-1)
    somebody = (track.scores[:, BODY] > VISIBLE).any(axis=1)
    if not somebody.any():
        return None
    (height, width), margin = size, BORDER * min(size)
    x, y = points[..., 0], points[..., 1]
    reaches = (x <= margin) | (x >= width - 1 - margin) | (y <= margin)
    outside = (reaches & found & (y < height)).any(axis=1)
    return rounded(outside[somebody].mean())


def trunk(track: PoseTrack) -> np.ndarray:
    """(n, 2) px from the middle of the hips to the middle of the shoulders, in the n frames that show all four."""
    points, seen = track.keypoints.astype(np.float64), track.scores > VISIBLE
    shoulders, hips = [LEFT_SHOULDER, RIGHT_SHOULDER], [LEFT_HIP, RIGHT_HIP]
    points = points[seen[:, shoulders + hips].all(axis=1)]
    return points[:, shoulders].mean(axis=1) - points[:, hips].mean(axis=1)


def upright(track: PoseTrack) -> float | None:
    """Share, of the frames that show shoulders and hips, in which the trunk stands within 60 degrees of upright, head
    up. None without such a frame.
    """
    right, down = trunk(track).T
    return rounded((np.abs(np.arctan2(right, -down)) <= UPRIGHT_WITHIN).mean()) if len(right) else None


@dataclass(frozen=True)
class MeasureMotion(Stage):
    """How the body moves; None throughout for a body that is not there."""

    reads: ClassVar = ("track", "fps")
    writes: ClassVar = ("body_speed", "motion_energy", "fastest_motion", "jerk")

    def __call__(self, row: Row) -> Row:
        if row["track"] is None:
            return dict.fromkeys(self.writes)
        return {**speeds(row["track"], row["fps"]), "jerk": jerk(row["track"])}


def speeds(track: PoseTrack, fps: float) -> dict[str, float | None]:
    """``body_speed`` (mean), ``motion_energy`` (mean square) and ``fastest_motion`` (99th percentile) of the speed, in
    body heights per second, of the 17 body joints between frames that both show them.

    The body height is the median distance from the middle of the shoulders to the middle of the hips, divided by
    0.288. None where no frame shows shoulders and hips, or no joint is seen twice in a row.
    """
    lengths = np.linalg.norm(trunk(track), axis=1)
    height = np.median(lengths) / TORSO_SHARE_OF_HEIGHT if len(lengths) else 0.0
    seen = track.scores[:, BODY] > VISIBLE
    steps = np.linalg.norm(np.diff(track.keypoints[:, BODY].astype(np.float64), axis=0), axis=2)[seen[1:] & seen[:-1]]
    if not len(steps) or height == 0:
        return dict.fromkeys(("body_speed", "motion_energy", "fastest_motion"))
    speed = steps * fps / height
    return {
        "body_speed": rounded(speed.mean()),
        "motion_energy": rounded((speed**2).mean()),
        "fastest_motion": rounded(np.percentile(speed, 99)),
    }


def jerk(track: PoseTrack) -> float | None:
    """Root mean square of the body joints' third difference x[t+3] - 3 x[t+2] + 3 x[t+1] - x[t], divided by that of the
    first, x[t+2] - x[t+1], over the places where a joint is seen four frames in a row.

    Steady motion gives 0, a swing of f Hz (2 sin(pi f / fps))^2 (0.15 for 1 Hz at 16 fps), independent noise
    sqrt(20 / 2) = 3.16. None where nothing moves, or no joint is seen so long.
    """
    points, seen = track.keypoints[:, BODY].astype(np.float64), track.scores[:, BODY] > VISIBLE
    if len(points) < 4:
        return None
    whole = seen[:-3] & seen[1:-2] & seen[2:-1] & seen[3:]
    third, first = (np.diff(points, 3, axis=0)[whole] ** 2).sum(), (np.diff(points, axis=0)[1:-1][whole] ** 2).sum()
    return rounded(math.sqrt(third / first)) if first > 0 else None


@dataclass(frozen=True)
class MeasureParts(Stage):
    """How sharp the hands and the face are, on PART_FRAMES frames spread evenly over the window."""

    reads: ClassVar = ("images", "track")
    writes: ClassVar = ("hand_sharpness", "face_sharpness")

    def __call__(self, row: Row) -> Row:
        images, track = row["images"], row["track"]
        if track is None:
            return dict.fromkeys(self.writes)
        hands, face = [], []
        for place in np.unique(np.linspace(0, len(images) - 1, PART_FRAMES).round().astype(int)):
            for joints, found in ((LEFT_HAND, hands), (RIGHT_HAND, hands), (FACE, face)):
                part = cut_out(images[place], track.keypoints[place, joints], track.scores[place, joints])
                if part is not None:
                    found.append(1 - blur(part))
        return {
            "hand_sharpness": rounded(np.median(hands)) if hands else None,
            "face_sharpness": rounded(np.median(face)) if face else None,
        }


def cut_out(image: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """Luma (128, 128) uint8 of the square around a part's visible joints, out of an ``image`` (H, W, 3) uint8 RGB.

    ``keypoints`` (n, 2) px, ``scores`` (n,). None where fewer than half of the joints are visible, or the square is not
    a pixel wide inside the picture.
    """
    import cv2

    from model import video

    visible = scores > VISIBLE
    if 2 * visible.sum() < len(visible):
        return None
    low, high = keypoints[visible].min(axis=0), keypoints[visible].max(axis=0)
    middle, half = (low + high) / 2, PART_MARGIN * (high - low).max() / 2
    corners = np.stack([middle - half, middle + half + 1]).clip(0, (image.shape[1], image.shape[0]))
    (left, top), (right, bottom) = corners.astype(int).tolist()
    if right <= left or bottom <= top:
        return None
    return video.resize(cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY), (PART_SIDE, PART_SIDE))
