"""Figures of a track: how much of a person is seen, how large they are, how much the joints tremble."""

import numpy as np

from model.pose.tracks import PoseTrack
from model.pose.wholebody import (
    FACE,
    FEET,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_SHOULDER,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    VISIBLE,
)

PARTS = {
    "head": slice(0, 5),
    "arms": slice(5, 11),
    "legs": slice(11, 17),
    "feet": FEET,
    "face": FACE,
    "left_hand": LEFT_HAND,
    "right_hand": RIGHT_HAND,
}

TORSO_OF_SHOULDERS = 1.25  # of dancers with known joints: torso length by the breadth of shoulders seen from the front
FRAMES_OF_JITTER, JITTER_OF_WHITE_NOISE = 5, 70**0.5  # of the fourth difference: 1 + 16 + 36 + 16 + 1 variances


def visibility(track: PoseTrack) -> dict[str, float]:
    """Share of frames times joints that are seen (score above VISIBLE), 0..1, of every part in PARTS."""
    return {part: float((track.scores[:, joints] > VISIBLE).mean()) for part, joints in PARTS.items()}


def torso_length(track: PoseTrack) -> float:
    """Pixels from the middle of the shoulders to the middle of the hips: the median over the frames that show all four.

    Where no frame does (a half body), estimated from the shoulders: their breadth in the tenth of the frames where it
    is largest. NaN where no frame shows both shoulders, or all joints lie in one point.
    """
    points, seen = track.keypoints.astype(np.float64), track.scores > VISIBLE
    shoulders, hips = [LEFT_SHOULDER, RIGHT_SHOULDER], [LEFT_HIP, RIGHT_HIP]
    whole, upper = seen[:, shoulders + hips].all(axis=1), seen[:, shoulders].all(axis=1)
    if whole.any():
        between = points[whole][:, shoulders].mean(axis=1) - points[whole][:, hips].mean(axis=1)
        length = float(np.median(np.linalg.norm(between, axis=-1)))
    elif upper.any():
        breadth = np.linalg.norm(points[upper, LEFT_SHOULDER] - points[upper, RIGHT_SHOULDER], axis=-1)
        length = TORSO_OF_SHOULDERS * float(np.quantile(breadth, 0.9))
    else:
        return float("nan")
    return length if length > 0 else float("nan")


def jitter(track: PoseTrack) -> dict[str, float | None]:
    """How far the joints of every part in PARTS tremble about their path, in torso lengths.

    The mean norm of the fourth difference x[t-2] - 4 x[t-1] + 6 x[t] - 4 x[t+1] + x[t+2] over joints seen in five
    frames in a row, divided by sqrt(70): independent noise of standard deviation s on both axes gives 1.25 s, at any
    frame rate. Motion counts less the higher the rate: a swing of 1 Hz and amplitude a gives at most 0.003 a at 16 fps.
    None where no joint is seen five frames in a row or the torso length is unknown.
    """
    torso, seen = torso_length(track), track.scores > VISIBLE
    frames = len(track) - FRAMES_OF_JITTER + 1
    if frames < 1 or np.isnan(torso):
        return dict.fromkeys(PARTS)
    fourth = np.linalg.norm(np.diff(track.keypoints.astype(np.float64), 4, axis=0), axis=-1)
    measured = np.all([seen[k : k + frames] for k in range(FRAMES_OF_JITTER)], axis=0)
    found = {part: fourth[:, joints][measured[:, joints]] for part, joints in PARTS.items()}
    return {
        part: float(values.mean() / JITTER_OF_WHITE_NOISE / torso) if values.size else None
        for part, values in found.items()
    }
