"""Where the person is in a picture, from the pose alone: square boxes, crops of them, masks."""

import cv2
import numpy as np

from evaluation.metrics.bones import torso_length
from model.pose import wholebody as joint
from model.pose.tracks import PoseTrack
from model.video import resize

FEWEST_SEEN = 5  # of the 17 body joints, as a face with its shoulders shows
MARGIN = 1.4  # of the longer side of the seen joints: hair, clothes, and what a centre crop of 7/8 takes away
SMALLEST = 8  # pixels
CROP = 256
GREY = 128
REACH = 0.35  # torso lengths from the bones: with it the mask holds hair, hands and loose clothes

NECK = [(joint.NOSE, joint.LEFT_SHOULDER), (joint.NOSE, joint.RIGHT_SHOULDER)]
BONES = joint.LEFT_BONES + joint.RIGHT_BONES + joint.MIDDLE_BONES + NECK
TRUNK = [joint.LEFT_SHOULDER, joint.RIGHT_SHOULDER, joint.RIGHT_HIP, joint.LEFT_HIP]
FURTHEST = 1 << 14  # pixels: OpenCV draws with 16-bit coordinates


def boxes(track: PoseTrack, size: tuple[int, int]) -> np.ndarray:
    """(T, 3): left, top and side of the square around the person in pictures of ``size`` (height, width).

    nan where fewer than 5 of the body's joints are seen inside the picture, or all of them within some pixels.
    """
    height, width = size
    points = track.keypoints.astype(np.float64)
    inside = ((points >= 0) & (points < (width, height))).all(axis=2)
    seen = inside & (track.scores > joint.VISIBLE)
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    side = MARGIN * (high - low).max(axis=1)
    there = (seen[:, joint.BODY].sum(axis=1) >= FEWEST_SEEN) & (side >= SMALLEST)
    out = np.full((len(track), 3), np.nan)
    out[there, :2] = (low[there] + high[there] - side[there, None]) / 2
    out[there, 2] = side[there]
    return out


def crops(pictures: np.ndarray, track: PoseTrack) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, 256, 256, 3): the person's box of each; grey beyond the picture and where nobody is."""
    places = boxes(track, pictures.shape[1:3])
    return np.stack([_cut(picture, place) for picture, place in zip(pictures, places, strict=True)])


def _cut(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    if np.isnan(place).any():
        return np.full((CROP, CROP, 3), GREY, np.uint8)
    left, top, side = place.round().astype(int).tolist()
    height, width = picture.shape[:2]
    right, bottom = left + side, top + side
    inside = picture[max(0, top) : bottom, max(0, left) : right]
    outside = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    return resize(cv2.copyMakeBorder(inside, *outside, cv2.BORDER_CONSTANT, value=(GREY,) * 3), (CROP, CROP))


def masks(track: PoseTrack, size: tuple[int, int]) -> np.ndarray:
    """(T, H, W) bool: the trunk, and all within 0.35 torso lengths of it, of a bone or of a joint that was found.

    Bones count however unsure their joints are: what hides too much of the background harms less than a leg taken for
    background. A frame without a person (as in :func:`boxes`) is True all over, as nobody knows where its background
    is; so are all frames of a track that never shows the shoulders, and so not the person's size.
    """
    torso = torso_length(track)
    if np.isnan(torso):
        return np.ones((len(track), *size), bool)
    reach = max(1, round(REACH * torso))
    there = ~np.isnan(boxes(track, size)).any(axis=1)
    points = track.keypoints.clip(-FURTHEST, FURTHEST).round().astype(np.int32)
    frames = zip(there, points, track.scores > 0, strict=True)
    return np.stack([_drawn(at, found, reach, size) if seen else np.ones(size, bool) for seen, at, found in frames])


def _drawn(at: np.ndarray, found: np.ndarray, reach: int, size: tuple[int, int]) -> np.ndarray:
    out = np.zeros(size, np.uint8)
    if len(trunk := at[TRUNK][found[TRUNK]]):
        hull = cv2.convexHull(trunk)
        cv2.fillConvexPoly(out, hull, 1)
        cv2.polylines(out, [hull], True, 1, 2 * reach + 1)
    for start, end in BONES:
        if found[start] and found[end]:
            cv2.line(out, at[start].tolist(), at[end].tolist(), 1, 2 * reach + 1)
    for place in at[found].tolist():
        cv2.circle(out, place, reach, 1, -1)
    return out.astype(bool)
