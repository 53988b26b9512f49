"""MediaPipe's landmarks (33 body, 468 face, 21 per hand) as COCO-WholeBody 133, left and right the person's own.

| joints | from | score |
|---|---|---|
| body 0-16 | the pose landmarks of the same name | the landmark's visibility |
| big toe, heel | foot index, heel | visibility |
| small toe | derived: foot index + 0.3 of the way from the other hip to the own | half of the foot index's |
| face 23-90 | 68 of the mesh's points (FACE_68) | agreement of the mesh's nose with the pose's |
| hands 91-132 | the hands' 21 landmarks, same order | agreement of the hand's wrist with the pose's |

MediaPipe gives a hand or face no confidence of its own, only finds it or not. Agreement is 1 - d / (torso / 2), at
least 0: d is the distance between the two estimates of the same point, torso the distance between the middles of
shoulders and hips. It falls to 0 where a hand was found on the wrong arm. Outside the frame MediaPipe guesses: there
scores fall with the distance from the frame, to 0 at a fifth of the torso (knees and wrists on the border are found a
little to either side of it). What was not found has score 0 and the coordinates 0.
"""

import numpy as np

from model.pose.tracks import JOINTS
from model.pose.wholebody import (
    BODY,
    FACE,
    LEFT_BIG_TOE,
    LEFT_HAND,
    LEFT_HEEL,
    LEFT_HIP,
    LEFT_SHOULDER,
    LEFT_SMALL_TOE,
    LEFT_WRIST,
    NOSE,
    RIGHT_BIG_TOE,
    RIGHT_HAND,
    RIGHT_HEEL,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    RIGHT_SMALL_TOE,
    RIGHT_WRIST,
)

# Index of the pose landmark for each of the 17 body joints; then those of the feet.
BODY_17 = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
FEET_INDEX = {LEFT_BIG_TOE: 31, LEFT_HEEL: 29, RIGHT_BIG_TOE: 32, RIGHT_HEEL: 30}

# Index of the mesh point for each of iBUG's 68: jaw from the person's right ear, brows, nose, eyes, lips.
FACE_68 = [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389]
FACE_68 += [71, 63, 105, 66, 107] + [336, 296, 334, 293, 301]
FACE_68 += [168, 197, 5, 4] + [75, 97, 2, 326, 305]
FACE_68 += [33, 160, 158, 133, 153, 144] + [362, 385, 387, 263, 373, 380]
FACE_68 += [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181] + [78, 82, 13, 312, 308, 317, 14, 87]
MESH_NOSE = 1

OUTSIDE = 0.2  # torsos
SMALL_TOE_OUTWARD = 0.3  # a foot is about a third as wide as the hips


def to_wholebody(
    body: np.ndarray, face: np.ndarray, left_hand: np.ndarray, right_hand: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (..., 133, 2) px and scores (..., 133), float32, of landmarks in fractions of a frame of ``size``
    (height, width).

    ``body`` (..., 33, 3): x, y, visibility; ``face`` (..., 468, 2); hands (..., 21, 2). NaN where nothing was found.
    """
    height, width = size
    unit = np.array([width, height])
    body_px, visibility = body[..., :2] * unit, body[..., 2]
    keypoints = np.full((*body.shape[:-2], JOINTS, 2), np.nan)
    scores = np.zeros((*body.shape[:-2], JOINTS))

    keypoints[..., BODY, :], scores[..., BODY] = body_px[..., BODY_17, :], visibility[..., BODY_17]
    for joint, landmark in FEET_INDEX.items():
        keypoints[..., joint, :], scores[..., joint] = body_px[..., landmark, :], visibility[..., landmark]
    hips = keypoints[..., LEFT_HIP, :] - keypoints[..., RIGHT_HIP, :]
    for small, big, outward in (
        (LEFT_SMALL_TOE, LEFT_BIG_TOE, SMALL_TOE_OUTWARD),
        (RIGHT_SMALL_TOE, RIGHT_BIG_TOE, -SMALL_TOE_OUTWARD),
    ):
        keypoints[..., small, :], scores[..., small] = keypoints[..., big, :] + outward * hips, scores[..., big] / 2

    shoulders = keypoints[..., [LEFT_SHOULDER, RIGHT_SHOULDER], :].mean(axis=-2)
    torso = np.linalg.norm(shoulders - keypoints[..., [LEFT_HIP, RIGHT_HIP], :].mean(axis=-2), axis=-1)
    for where, found, anchor, joint in (
        (FACE, face * unit, MESH_NOSE, NOSE),
        (LEFT_HAND, left_hand * unit, 0, LEFT_WRIST),
        (RIGHT_HAND, right_hand * unit, 0, RIGHT_WRIST),
    ):
        apart = np.linalg.norm(found[..., anchor, :] - keypoints[..., joint, :], axis=-1)
        keypoints[..., where, :] = found[..., FACE_68, :] if where is FACE else found
        scores[..., where] = (1 - apart / np.maximum(torso / 2, 1e-6))[..., None]

    known = np.isfinite(keypoints).all(axis=-1) & np.isfinite(scores)
    beyond = np.linalg.norm(keypoints - np.clip(keypoints, 0, unit), axis=-1)
    reach = np.maximum(OUTSIDE * np.nan_to_num(torso), 1e-6)
    scores = np.clip(scores, 0, 1) * np.clip(1 - beyond / reach[..., None], 0, 1)
    keypoints = np.where(known[..., None], keypoints, 0).astype(np.float32)
    return keypoints, np.where(known, scores, 0).astype(np.float32)
