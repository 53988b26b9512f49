"""Poses made wrong on purpose: the negative pose of guidance, and the discontinuity that stage 3 learns to bridge."""

import random

import numpy as np

from infra.errors import SteadyDancerError
from model.pose.tracks import PoseTrack
from model.pose.wholebody import FACE, neck

OFFSET = (-0.2, 0.2)
SCALE = (0.7, 1.3)
ASPECT = (0.6, 1.4)


def rescale(points: np.ndarray, neck: np.ndarray, scale: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """(T, N, 2) points about the neck (T, 2): x' = n_x + a s (x - n_x), y' = n_y + s (y - n_y), s and a (T,).

    Specification section 4.5. Any unit of length, also one per axis, gives the same pose.
    """
    centre = neck[:, None]
    return centre + np.stack([aspect * scale, scale], axis=-1)[:, None] * (points - centre)


def negative(track: PoseTrack, rng: np.random.Generator) -> PoseTrack:
    """The negative pose: every frame drawn anew, scale U(0.7, 1.3) and horizontal aspect U(0.6, 1.4) (section 4.5).

    Frame after frame, so that a longer track begins as a shorter one.
    """
    draws = rng.uniform(*zip(SCALE, ASPECT, strict=True), (len(track), 2))
    return stretched(track, *draws.T)


def stretched(track: PoseTrack, scale: np.ndarray, aspect: np.ndarray) -> PoseTrack:
    """The negative pose of given ``scale`` and ``aspect``, (T,) each.

    The face is moved by the same re-centring but not scaled, as the official code has it; it is not drawn.
    """
    if not len(scale) == len(aspect) == len(track):
        raise SteadyDancerError(
            f"negative pose: {len(scale)} scales and {len(aspect)} aspects for {len(track)} frames.",
            fix="Draw one scale and one aspect for every frame.",
        )
    keypoints = track.keypoints.astype(np.float64)
    place, _ = neck(keypoints, track.scores)
    out = rescale(keypoints, place, scale, aspect)
    out[:, FACE] = keypoints[:, FACE] + rescale(np.zeros((1, 1, 2)), place, scale, aspect)
    return PoseTrack(out.astype(np.float32), track.scores)


def official_uniforms(seed: int, frames: int) -> np.ndarray:
    """(T, 4) float64: what the released code draws per frame after ``random.seed(seed)``, in its order.

    Offset x, offset y (drawn and never used), scale, aspect.
    """
    generator = random.Random(seed)
    ranges = (OFFSET, OFFSET, SCALE, ASPECT)
    return np.array([[generator.uniform(*each) for each in ranges] for _ in range(frames)])


def official_draws(seed: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and aspect, (T,) each, of an official run with this seed: what :func:`stretched` takes."""
    _, _, scale, aspect = official_uniforms(seed, frames).T
    return scale, aspect


def simulate_discontinuity(track: PoseTrack, t_star: int) -> PoseTrack:
    """A jump after the first frame: p1 becomes p0 + (p_t* - p0) / t*, all other frames stay (section 6.1).

    A joint of the new p1 is as sure as the less sure of the two it lies between. Raises SteadyDancerError for a clip
    that does not reach frame t*.
    """
    if not 2 <= t_star < len(track):
        raise SteadyDancerError(
            f"pose simulation: t_star {t_star} needs a clip of at least {max(t_star, 2) + 1} frames and a t_star of at "
            f"least 2; the clip has {len(track)}.",
            fix="Use clip.frames=5 or more.",
        )
    keypoints, scores = track.keypoints.copy(), track.scores.copy()
    keypoints[1] = keypoints[0] + (keypoints[t_star] - keypoints[0]) / t_star
    scores[1] = np.minimum(scores[0], scores[t_star])
    return PoseTrack(keypoints, scores)
