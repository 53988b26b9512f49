"""Tracks of a person at rest and in motion, whose torso is TORSO px long."""

import numpy as np

from model.pose import wholebody as wb
from model.pose.tracks import PoseTrack

TORSO, FPS = 100.0, 30
UNUSED = -5e5  # coordinates that nothing visible may lean on


def still(frames=40, scores=0.9):
    """A person whose torso is 100 px long, at rest."""
    points = np.random.default_rng(0).uniform(100, 400, (133, 2))
    points[[wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER]], points[[wb.LEFT_HIP, wb.RIGHT_HIP]] = (
        [[300, 200], [220, 200]],
        [260, 300],
    )
    return np.tile(points, (frames, 1, 1)), np.full((frames, 133), scores)


def track(points, scores):
    return PoseTrack(points.astype(np.float32), scores.astype(np.float32))


def dancing(seed, frames=40, share_seen=0.8):
    """A person in motion, trembling, with gaps, wrong frames, and rubbish where a joint is not seen."""
    rng = np.random.default_rng(seed)
    points, scores = still(frames)
    time = np.arange(frames)[:, None, None] / FPS
    points += 60 * np.sin(2 * np.pi * rng.uniform(0.3, 3, (1, 133, 1)) * time + rng.uniform(0, 6, (1, 133, 2)))
    points += rng.normal(0, 0.6, points.shape)
    points[rng.random((frames, 133)) < 0.02] += 70
    lost = rng.random(((frames + 3) // 4, 133)) > share_seen
    for part in (wb.FACE, wb.LEFT_HAND, wb.RIGHT_HAND):  # as estimators find them: whole or not at all
        lost[:, part] = lost[:, part.start : part.start + 1]
    seen = np.repeat(~lost, 4, axis=0)[:frames]
    seen[:, [wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, wb.LEFT_HIP, wb.RIGHT_HIP]] = True
    scores = np.where(seen, rng.uniform(0.4, 1, seen.shape), rng.uniform(0, 0.34, seen.shape))
    points[~seen] = UNUSED
    return track(points, scores)
