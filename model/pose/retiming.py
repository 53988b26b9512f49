"""A track at another frame rate: by time, not by taking frames as they come.

The released pipeline feeds the frames of a 24, 25 or 30 fps driving video to a model of 16 fps, so people move in slow
motion (specification section 8, point 3).
"""

import numpy as np

from infra.errors import SteadyDancerError
from model.pose.tracks import PoseTrack
from model.pose.wholebody import VISIBLE
from model.video import SAME_MOMENT


def retime(track: PoseTrack, times: np.ndarray, fps: float) -> PoseTrack:
    """The track at the moments 0, 1/fps, 2/fps, ... of a clip whose frames are shown at ``times`` (T,), seconds from 0.

    A joint moves on a straight line from frame to frame while both show it, and is then as sure as the less sure of
    the two; otherwise it is as in the nearer frame (of two equally near ones, the less sure), so nothing unseen becomes
    visible. The last frame lasts as long as the mean one, but at most 1/fps, and is held: as many moments as lie in
    the clip are returned, and :func:`model.video.read_at` has the pictures to them (start 0, same count and fps).
    Raises SteadyDancerError for times that are not one per frame, finite, from 0 and rising, and for fps not above 0.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise SteadyDancerError(f"retiming: {fps} fps asked for, a number above 0 expected.")
    times = checked_times(times, len(track))
    if abs(times[0]) > SAME_MOMENT:
        raise SteadyDancerError(
            f"retiming: the first frame is at {times[0]} s, 0 expected.",
            fix="Subtract the first frame's time from all.",
        )
    lasts = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / fps
    moments = np.arange(int(np.ceil((times[-1] + lasts) * fps)) + 1) / fps
    moments = moments[(moments < times[-1] + lasts - SAME_MOMENT) & (moments <= times[-1] + 1 / fps)]

    after = np.clip(np.searchsorted(times, moments), 1, max(len(times) - 1, 1))
    before, after = after - 1, np.minimum(after, len(times) - 1)
    share = np.clip((moments - times[before]) / np.where(after > before, times[after] - times[before], 1), 0, 1)
    share[np.abs(moments - times[before]) <= SAME_MOMENT] = 0
    share[np.abs(moments - times[after]) <= SAME_MOMENT] = 1
    share = share[:, None]

    scores = np.stack([track.scores[before], track.scores[after]])
    points = np.stack([track.keypoints[before], track.keypoints[after]]).astype(np.float64)
    between = (scores > VISIBLE).all(axis=0) & (share > 0) & (share < 1)
    later = np.where(np.isclose(share, 0.5), scores[1] < scores[0], share > 0.5)
    straight = points[0] + share[..., None] * (points[1] - points[0])
    nearer = np.where(later[..., None], points[1], points[0])
    return PoseTrack(
        np.where(between[..., None], straight, nearer).astype(np.float32),
        np.where(between, scores.min(axis=0), np.where(later, scores[1], scores[0])),
    )


def checked_times(times: np.ndarray, frames: int) -> np.ndarray:
    """``times`` as float64 (frames,). Raises SteadyDancerError unless there is one per frame, all finite and rising."""
    times = np.asarray(times, np.float64)
    if times.shape != (frames,):
        raise SteadyDancerError(
            f"pose: {times.shape} times given for a track of {frames} frames.",
            fix="Give the time of each frame that the track was estimated on, in seconds.",
        )
    wrong = ~np.isfinite(times)
    wrong[1:] |= ~(np.diff(times) > 0)
    if wrong.any():
        at = int(wrong.argmax())
        raise SteadyDancerError(
            f"pose: frame {at} is at {times[at]} s after {times[max(at - 1, 0)]} s; finite, rising times expected.",
            fix="Read the video with model.video.frames, which refuses damaged ones.",
        )
    return times
