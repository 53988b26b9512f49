"""Poses as pictures: the one the model was trained on, and an overlay for people.

The condition picture follows the official one pixel for pixel (specification section 4.3).
Sizes are constants: they do not follow the canvas. Feet and face are never drawn. The official pipeline draws in its
table's colours and swaps red and blue on its way to the video writer; here they are swapped from the start: RGB.
"""

import colorsys
import math

import cv2
import numpy as np

from model.pose.tracks import JOINTS, PoseTrack
from model.pose.wholebody import (
    FACE,
    HAND_EDGES,
    LEFT_BONES,
    LEFT_HAND,
    MIDDLE_BONES,
    RIGHT_BONES,
    RIGHT_EAR,
    RIGHT_HAND,
    OpenPose,
    to_openpose,
)

LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)]
LIMBS += [(1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
LIMB_HALF_WIDTH, JOINT_RADIUS, HAND_THICKNESS, FACE_RADIUS = 4, 4, 2, 3
LIMB_BRIGHTNESS = 0.6

# The hue circle in 18 steps as the official table has it, red and blue swapped: blue to red, then on to a last blue.
COLOURS = [(0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255), (0, 255, 170), (0, 255, 85)]
COLOURS += [(0, 255, 0), (85, 255, 0), (170, 255, 0), (255, 255, 0), (255, 170, 0), (255, 85, 0)]
COLOURS += [(255, 0, 0), (255, 0, 85), (255, 0, 170), (255, 0, 255), (170, 0, 255), (85, 0, 255)]
LIMB_COLOURS = [tuple(int(LIMB_BRIGHTNESS * channel) for channel in colour) for colour in COLOURS]
HAND_COLOURS = [tuple(255 * channel for channel in colorsys.hsv_to_rgb(edge / 20, 1, 1)[::-1]) for edge in range(20)]
HAND_JOINT_COLOUR, FACE_COLOUR = (255, 0, 0), (255, 255, 255)

# The overlay's sides of a person, left and right; persons after the last start again.
SIDES = [((255, 140, 0), (0, 170, 255)), ((255, 90, 160), (150, 110, 255)), ((235, 220, 0), (0, 210, 160))]
MIDDLE_COLOUR, OUTLINE_COLOUR = (120, 230, 90), (30, 30, 30)

# OpenCV draws in 32-bit integers with a fractional part: a joint further away than this is drawn towards it.
FAR = 1 << 14


def draw_openpose(pose: OpenPose, canvas: tuple[int, int], *, face: bool = False) -> np.ndarray:
    """One frame and person of ``pose``, in fractions of width and height, on a black canvas of (height, width).

    Returns (height, width, 3) uint8 RGB. ``face`` is never used for conditions.
    """
    return _drawn(pose, np.zeros((*canvas, 3), np.uint8), face=face)


def _drawn(pose: OpenPose, image: np.ndarray, *, face: bool = False) -> np.ndarray:
    height, width = image.shape[:2]
    body, hands = (np.clip(points * (width, height), -FAR, FAR) for points in (pose.body, pose.hands))
    body, body_visible = body.tolist(), pose.body_visible.tolist()

    for colour, (start, end) in zip(LIMB_COLOURS, LIMBS, strict=False):
        if body_visible[start] and body_visible[end]:
            (x0, y0), (x1, y1) = body[start], body[end]
            centre = int((x0 + x1) / 2), int((y0 + y1) / 2)
            axes = int(math.hypot(x0 - x1, y0 - y1) / 2), LIMB_HALF_WIDTH
            angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
            cv2.fillConvexPoly(image, cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1), colour)

    for colour, (x, y), visible in zip(COLOURS, body, body_visible, strict=True):
        if visible:
            cv2.circle(image, (int(x), int(y)), JOINT_RADIUS, colour, thickness=-1)

    for hand, visible in zip(hands.astype(int), pose.hands_visible, strict=True):
        visible = visible & (hand > 0).all(axis=1)
        points = hand.tolist()
        for colour, (start, end) in zip(HAND_COLOURS, HAND_EDGES, strict=True):
            if visible[start] and visible[end]:
                cv2.line(image, points[start], points[end], colour, thickness=HAND_THICKNESS)
        for point in hand[visible].tolist():
            cv2.circle(image, point, JOINT_RADIUS, HAND_JOINT_COLOUR, thickness=-1)

    if face:
        points = np.clip(pose.face * (width, height), -FAR, FAR).astype(int)
        for point in points[pose.face_visible & (points > 0).all(axis=1)].tolist():
            cv2.circle(image, point, FACE_RADIUS, FACE_COLOUR, thickness=-1)
    return image


def draw_pose(
    keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int], canvas: tuple[int, int] | None = None
) -> np.ndarray:
    """The condition picture of one frame, (H, W, 3) uint8 RGB.

    ``keypoints`` (133, 2) in pixels of a frame of ``size`` (height, width), ``scores`` (133,), or those of several
    persons, (P, 133, 2) and (P, 133), drawn one over the other; ``canvas`` (height, width) is what is drawn on (the
    official pipeline takes twice the target size). None: the frame's own size.
    """
    pose = to_openpose(keypoints, scores).in_units_of(size[1], size[0])
    image = np.zeros((*(canvas or size), 3), np.uint8)
    for person in [pose] if keypoints.ndim == 2 else [pose[n] for n in range(len(keypoints))]:
        _drawn(person, image)
    return image


def draw_clip(track: PoseTrack, size: tuple[int, int], canvas: tuple[int, int] | None = None) -> np.ndarray:
    """:func:`draw_pose` of every frame: (T, H, W, 3) uint8 RGB."""
    images = np.zeros((len(track), *(canvas or size), 3), np.uint8)
    clip = to_openpose(track.keypoints, track.scores).in_units_of(size[1], size[0])
    for t, image in enumerate(images):
        _drawn(clip[t], image)
    return images


def overlay(frame: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB with poses over it, for people to judge: ``keypoints`` px (133, 2), ``scores`` (133,).

    Several persons as (P, 133, 2) and (P, 133). The first one's left is orange, their right blue; every other person
    has a pair of shades of their own. The fainter a line, the less sure its joints. Widths follow the frame.
    """
    out = frame.copy()
    persons = zip(keypoints.reshape(-1, JOINTS, 2), scores.reshape(-1, JOINTS), strict=True)
    for person, (points, sure) in enumerate(persons):
        _lay_over(out, np.clip(points, -FAR, FAR).round().astype(int), sure, SIDES[person % len(SIDES)])
    return out


def _lay_over(image: np.ndarray, points: np.ndarray, sure: np.ndarray, sides: tuple) -> None:
    thick = max(2, round(min(image.shape[:2]) / 120))
    thin, left, right = max(1, thick // 2), *sides
    strokes = [
        (start, end, colour, thin if end <= RIGHT_EAR else thick)  # a head is small
        for bones, colour in ((LEFT_BONES, left), (RIGHT_BONES, right), (MIDDLE_BONES, MIDDLE_COLOUR))
        for start, end in bones
    ]
    strokes += [(joint, joint, FACE_COLOUR, thin) for joint in range(FACE.start, FACE.stop)]
    strokes += [
        (hand.start + start, hand.start + end, colour, thin)
        for hand, colour in ((LEFT_HAND, left), (RIGHT_HAND, right))
        for start, end in HAND_EDGES
    ]
    fifths = [int(5 * min(sure[start], sure[end])) for start, end, _, _ in strokes]
    drawn = points[
        sorted({joint for stroke, fifth in zip(strokes, fifths, strict=True) if fifth for joint in stroke[:2]})
    ]
    if not drawn.size:
        return
    (x0, y0), (x1, y1) = np.maximum(drawn.min(axis=0) - thick, 0), np.maximum(drawn.max(axis=0) + thick + 1, 0)
    region = image[y0:y1, x0:x1]
    if not region.size:
        return
    places = (points - (x0, y0)).tolist()
    for fifth in sorted(set(fifths) - {0}):  # one blend for all strokes of about the same confidence
        layer = region.copy()
        for outline in (True, False):
            for (start, end, colour, width), confidence in zip(strokes, fifths, strict=True):
                if confidence == fifth and not (outline and width < thick):
                    shown = (OUTLINE_COLOUR, width + 2) if outline else (colour, width)
                    cv2.line(layer, places[start], places[end], *shown, cv2.LINE_AA if start != end else cv2.LINE_8)
        region[:] = cv2.addWeighted(layer, fifth / 5, region, 1 - fifth / 5, 0)
