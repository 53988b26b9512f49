"""Poses as pictures: the one the model was trained on, and an overlay for people.

The condition picture follows the official one pixel for pixel (specification section 4.3).
Sizes are constants: they do not follow the canvas. Feet and face are never drawn. The last step swaps red and blue, as
the official pipeline does on its way to the video writer; the result is RGB.
"""

import colorsys
import math

import cv2
import numpy as np

from model.pose.tracks import PoseTrack
from model.pose.wholebody import (
    FACE,
    HAND_EDGES,
    LEFT_BONES,
    LEFT_HAND,
    MIDDLE_BONES,
    RIGHT_BONES,
    RIGHT_HAND,
    OpenPose,
    to_openpose,
)

LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)]
LIMBS += [(1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
LIMB_HALF_WIDTH, JOINT_RADIUS, HAND_THICKNESS, FACE_RADIUS = 4, 4, 2, 3
BODY_BRIGHTNESS = 0.6

# The hue circle in 18 steps as the official table has it: red to blue, then on to a last red.
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)]
COLOURS += [(0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)]
COLOURS += [(0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)]
HAND_COLOURS = [tuple(255 * channel for channel in colorsys.hsv_to_rgb(edge / 20, 1, 1)) for edge in range(20)]

# The overlay's: orange is the person's left, blue the right.
LEFT_COLOUR, RIGHT_COLOUR, MIDDLE_COLOUR, FACE_COLOUR = (255, 140, 0), (0, 170, 255), (120, 230, 90), (255, 255, 255)

# OpenCV draws in 32-bit integers with a fractional part: a joint further away than this is drawn towards it.
FAR = 1 << 14


def draw_openpose(pose: OpenPose, canvas: tuple[int, int], *, face: bool = False) -> np.ndarray:
    """One frame of ``pose``, in fractions of width and height, on a black canvas of (height, width).

    Returns (height, width, 3) uint8 before the final swap of channels 0 and 2. ``face`` is never used for conditions.
    """
    height, width = canvas
    image = np.zeros((height, width, 3), np.uint8)
    body, hands = (np.clip(points * (width, height), -FAR, FAR) for points in (pose.body, pose.hands))

    for colour, (start, end) in zip(COLOURS, LIMBS, strict=False):
        if pose.body_visible[start] and pose.body_visible[end]:
            (x0, y0), (x1, y1) = body[start], body[end]
            centre = int((x0 + x1) / 2), int((y0 + y1) / 2)
            axes = int(math.hypot(x0 - x1, y0 - y1) / 2), LIMB_HALF_WIDTH
            angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
            cv2.fillConvexPoly(image, cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1), colour)
    image = (image * BODY_BRIGHTNESS).astype(np.uint8)

    for colour, (x, y), visible in zip(COLOURS, body, pose.body_visible, strict=True):
        if visible:
            cv2.circle(image, (int(x), int(y)), JOINT_RADIUS, colour, thickness=-1)

    for hand, visible in zip(hands.astype(int), pose.hands_visible, strict=True):
        visible = visible & (hand > 0).all(axis=1)
        for colour, (start, end) in zip(HAND_COLOURS, HAND_EDGES, strict=True):
            if visible[start] and visible[end]:
                cv2.line(image, hand[start].tolist(), hand[end].tolist(), colour, thickness=HAND_THICKNESS)
        for point in hand[visible].tolist():
            cv2.circle(image, point, JOINT_RADIUS, (0, 0, 255), thickness=-1)

    if face:
        points = np.clip(pose.face * (width, height), -FAR, FAR).astype(int)
        for point in points[pose.face_visible & (points > 0).all(axis=1)].tolist():
            cv2.circle(image, point, FACE_RADIUS, (255, 255, 255), thickness=-1)
    return image


def draw_pose(
    keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int], canvas: tuple[int, int] | None = None
) -> np.ndarray:
    """The condition picture of one frame, (H, W, 3) uint8 RGB.

    ``keypoints`` (133, 2) in pixels of a frame of ``size`` (height, width), ``scores`` (133,); ``canvas`` (height,
    width) is what is drawn on (the official pipeline takes twice the target size). None: the frame's own size.
    """
    pose = to_openpose(np.asarray(keypoints, np.float64) / (size[1], size[0]), scores)
    return np.ascontiguousarray(draw_openpose(pose, canvas or size)[..., ::-1])


def draw_clip(track: PoseTrack, size: tuple[int, int], canvas: tuple[int, int] | None = None) -> np.ndarray:
    """:func:`draw_pose` of every frame: (T, H, W, 3) uint8 RGB."""
    height, width = canvas or size
    out = np.empty((len(track), height, width, 3), np.uint8)
    for image, keypoints, scores in zip(out, track.keypoints, track.scores, strict=True):
        image[:] = draw_pose(keypoints, scores, size, (height, width))
    return out


def overlay(frame: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB with a pose over it, for people to judge: ``keypoints`` (133, 2) px, ``scores`` (133,).

    Orange is the person's left, blue the right; the fainter a line, the less sure its joints. Widths follow the frame.
    """
    thick = max(1, round(min(frame.shape[:2]) / 120))
    points = np.clip(keypoints, -FAR, FAR).round().astype(int)
    strokes = [
        (start, end, colour, thick)
        for bones, colour in ((LEFT_BONES, LEFT_COLOUR), (RIGHT_BONES, RIGHT_COLOUR), (MIDDLE_BONES, MIDDLE_COLOUR))
        for start, end in bones
    ]
    strokes += [(joint, joint, FACE_COLOUR, max(2, thick // 2)) for joint in range(FACE.start, FACE.stop)]
    strokes += [
        (hand.start + start, hand.start + end, colour, max(1, thick // 2))
        for hand, colour in ((LEFT_HAND, LEFT_COLOUR), (RIGHT_HAND, RIGHT_COLOUR))
        for start, end in HAND_EDGES
    ]
    out = frame.copy()
    tenths = [int(10 * min(scores[start], scores[end])) for start, end, _, _ in strokes]
    for tenth in range(1, 11):  # one blend for all strokes of about the same confidence
        layer = out.copy()
        for (start, end, colour, width), confidence in zip(strokes, tenths, strict=True):
            if confidence == tenth:
                cv2.line(layer, points[start].tolist(), points[end].tolist(), colour, width, cv2.LINE_AA)
        out = cv2.addWeighted(layer, tenth / 10, out, 1 - tenth / 10, 0)
    return out
