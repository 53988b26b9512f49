"""Takes gaps, single wrong frames and trembling out of a track, and leaves fast motion as it is.

Everything looks both ways in time, so nothing lags. Figures: ``python tests/benchmarks/pose_cleaning.py``.
"""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import uniform_filter1d
from scipy.signal import savgol_filter

from infra.errors import SteadyDancerError
from model.pose.quality import torso_length
from model.pose.retiming import checked_times
from model.pose.tracks import JOINTS, PoseTrack
from model.pose.wholebody import FACE, FEET, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, VISIBLE
from model.video import SAME_MOMENT

# Lengths are in torso lengths.
LEAP, LEAP_OF_STEPS = 0.15, 3.0  # a spike: that far out and back, and that many times the steps around it
DEGREE, SHORTEST = 2, 5  # of the polynomial; the fewest frames over which it smooths
BREAK = 1.5  # median times between two frames: after a longer one the track starts anew, for smoothing and spikes
# What a joint trembles about its smooth path is measured on the path, and taken to lie between these.
LEAST_NOISE, MOST_NOISE = np.full(JOINTS, 0.0075), np.full(JOINTS, 0.0075)
LEAST_NOISE[FACE] = MOST_NOISE[FACE] = 0.003
MOST_NOISE[: FEET.stop] = 0.0125

ROUNDED = 2 * SAME_MOMENT  # seconds: of a step between two times

# Joints and what their gaps hang on: the wrists are clean before the hands' turn comes.
GROUPS = ((slice(0, FACE.stop), None), (LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST))


class Cleaned(NamedTuple):
    track: PoseTrack
    """Cleaned. A filled joint is as sure as the less sure end of its gap; all other scores are the estimator's."""
    filled: np.ndarray
    """(T, 133) bool: positions that were put there by interpolation."""
    confidence: np.ndarray
    """(T, 133) float32: the estimator's own scores."""


def clean(
    track: PoseTrack, fps: float, *, fill_seconds: float, smooth_seconds: float, times: np.ndarray | None = None
) -> Cleaned:
    """Fill gaps of at most ``fill_seconds``, put back single frames that leap out, smooth over ``smooth_seconds``.

    A joint counts as seen with a score above VISIBLE. A gap lies between two frames that show the joint; it is bridged
    by a monotone cubic (PCHIP), in hands relative to the wrist of the body where that is known. A spike, a joint that
    is off for one frame, is a gap of one frame. With ``fill_seconds`` 0 there is neither. Smoothing goes over frames
    seen or filled without interruption: a centred quadratic fit, from which a joint keeps its distance where that is
    more than trembling (Lee's local filter, IEEE PAMI 2(2), 1980: fast motion stays). It does nothing where fewer than
    five frames are in the span, and, as the search for spikes, where the torso length is unknown. What stays unseen
    stays untouched.

    ``times`` (T,), seconds: when each frame is shown (none: evenly, at ``fps``). A gap is then as long as the time that
    lies in it, filled over time; and where a frame is shown for longer than BREAK times the median, neither smoothing
    nor the search for spikes goes across. Steps that differ from whole frames by what containers round are whole.

    Raises SteadyDancerError for fps not above 0, a negative fill_seconds or smooth_seconds, and for times that are not
    one per frame, finite and rising.
    """
    for name, value in (("fps", fps), ("fill_seconds", fill_seconds), ("smooth_seconds", smooth_seconds)):
        if not np.isfinite(value) or value < 0 or (value == 0 and name == "fps"):
            wanted = "a number above 0" if name == "fps" else "a number from 0 on"
            raise SteadyDancerError(f"pose cleaning: {name} is {value}, {wanted} expected.")
    at, fps = _in_frames(times, len(track), fps)
    stretches = [slice(*ends) for ends in pairwise([0, *np.flatnonzero(np.diff(at) > BREAK) + 1, len(track)])]
    points, seen, torso = track.keypoints.astype(np.float64), track.scores > VISIBLE, torso_length(track)
    usable = seen & ~np.concatenate([_spikes(points[each], seen[each], torso) for each in stretches])
    gap, before, after = _gaps(usable, at, longest=fill_seconds * fps + 1e-6 if fill_seconds else -1)
    known = seen | gap
    window = 2 * round((smooth_seconds * fps - 1) / 2) + 1
    for joints, wrist in GROUPS:
        paths, holes = points[:, joints], gap[:, joints]  # a view of the points
        if wrist is not None:
            place, there = points[:, [wrist]], known[:, [wrist]]
            lost = np.concatenate([[0], np.cumsum(~there)])
            follows = holes & (lost[after[:, joints] + 1] == lost[before[:, joints]])  # the wrist is known all through
            from_wrist = paths - place
            _fill(from_wrist, at, usable[:, joints] & there, follows)
            paths[follows] = (from_wrist + place)[follows]
            holes = holes & ~follows
        _fill(paths, at, usable[:, joints], holes)
        noise = LEAST_NOISE[joints] * torso, MOST_NOISE[joints] * torso
        for each in stretches if not np.isnan(torso) else ():
            _smooth(paths[each], known[each, joints], window, *noise)
    ends = (np.take_along_axis(track.scores, each, axis=0) for each in (before, after))
    scores = np.where(gap, np.minimum(*ends), track.scores)
    return Cleaned(PoseTrack(points.astype(np.float32), scores), gap, track.scores)


def _in_frames(times: np.ndarray | None, count: int, fps: float) -> tuple[np.ndarray, float]:
    """(T,): when each frame is shown, counted in frames; and how many of these a second has: fps where all times are
    evenly spaced at it, else as the median step has it, which a few frames shown for long leave alone."""
    if times is None:
        return np.arange(count, dtype=np.float64), fps
    steps = np.diff(checked_times(times, count))
    if (np.abs(steps - 1 / fps) > ROUNDED).any():
        fps = 1 / float(np.median(steps))
    steps = steps * fps
    whole = np.maximum(np.round(steps), 1)
    steps = np.where(np.abs(steps - whole) <= ROUNDED * fps, whole, steps)
    return np.concatenate([[0.0], np.cumsum(steps)]), fps


def _gaps(usable: np.ndarray, at: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (T, J) bool, frames ``at`` (T,): where a gap of at most ``longest`` is; the usable frames around every frame.

    These are the frame itself where it is usable, and the clip's first or last frame where there is none.
    """
    frame = np.arange(len(usable))[:, None]
    before = np.maximum.accumulate(np.where(usable, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(usable, frame, len(usable))[::-1], axis=0)[::-1]
    gap = ~usable & (before >= 0) & (after < len(usable))
    before, after = np.maximum(before, 0), np.minimum(after, len(usable) - 1)
    return gap & (at[after] - at[before] - 1 <= longest), before, after


def _fill(paths: np.ndarray, at: np.ndarray, known: np.ndarray, gap: np.ndarray) -> None:
    """Put ``paths`` (T, J, 2), ``at`` (T,), in ``gap`` (T, J) on a curve through what is ``known`` (T, J)."""
    for joint in np.flatnonzero(gap.any(axis=0)):
        frames, holes = np.flatnonzero(known[:, joint]), np.flatnonzero(gap[:, joint])
        paths[holes, joint] = PchipInterpolator(at[frames], paths[frames, joint], axis=0)(at[holes])


def _spikes(points: np.ndarray, seen: np.ndarray, torso: float) -> np.ndarray:
    """(T, 133) bool: off for one frame between two seen ones, also by left and right changing places."""
    out = np.zeros_like(seen)
    if len(points) < 3 or np.isnan(torso):
        return out
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    moved = np.pad(np.where(seen[1:] & seen[:-1], steps, 0), ((1, 1), (0, 0)))  # nothing before the first step
    across = np.linalg.norm(points[2:] - points[:-2], axis=-1)
    around = np.maximum(across, np.maximum(moved[:-3], moved[3:]))
    leap = np.minimum(steps[:-1], steps[1:])
    out[1:-1] = seen[1:-1] & seen[:-2] & seen[2:] & (leap > LEAP * torso) & (leap > LEAP_OF_STEPS * around)
    return out


def _smooth(paths: np.ndarray, known: np.ndarray, window: int, least: np.ndarray, most: np.ndarray) -> None:
    """Smooth ``paths`` (T, J, 2) over ``window`` frames, each stretch of frames that is ``known`` (T, J) by itself.

    ``least``, ``most`` (J,) px: bounds of the noise, the root mean square distance from the true path.
    """
    stretches = defaultdict(list)
    for joint in range(known.shape[1]):
        edges = np.flatnonzero(np.diff(known[:, joint], prepend=False, append=False)).tolist()
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            stretches[first, end].append(joint)
    for (first, end), joints in stretches.items():
        span = min(window, end - first - (end - first + 1) % 2)  # odd
        if span < SHORTEST:
            continue
        path = paths[first:end, joints]
        smooth = savgol_filter(path, span, DEGREE, axis=0)
        varies = uniform_filter1d(((path - smooth) ** 2).sum(axis=-1), span, axis=0, mode="nearest")
        # Four differences leave little of motion, and 70 times the variance of noise.
        noise = (np.diff(path, 4, axis=0) ** 2).sum(axis=-1)
        noise = np.clip(np.median(noise, axis=0) / (70 * np.log(2)), least[joints] ** 2, most[joints] ** 2)
        kept = np.clip(1 - noise / np.maximum(varies, np.finfo(float).tiny), 0, 1)
        paths[first:end, joints] = smooth + kept[..., None] * (path - smooth)
