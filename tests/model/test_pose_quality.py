"""The figures of a track: what is seen, how large the person is, how much the joints tremble."""

import numpy as np
import pytest
from dancing_tracks import TORSO, still, track

from model.pose import wholebody as wb
from model.pose.quality import PARTS, jitter, torso_length, visibility


def test_visibility_is_a_share_per_part():
    points, scores = still(10)
    scores[:5, wb.LEFT_HAND] = wb.VISIBLE
    scores[:, wb.FACE] = 0
    assert visibility(track(points, scores)) == dict.fromkeys(PARTS, 1) | {"left_hand": 0.5, "face": 0}


def test_torso_length_is_the_median_or_comes_from_the_shoulders():
    points, scores = still(11)
    points[:4, [wb.LEFT_HIP, wb.RIGHT_HIP]] += (0, 300)
    assert torso_length(track(points, scores)) == pytest.approx(TORSO)
    scores[:, wb.LEFT_HIP] = 0
    assert torso_length(track(points, scores)) == pytest.approx(1.25 * 80)
    scores[:, wb.LEFT_SHOULDER] = 0
    assert np.isnan(torso_length(track(points, scores)))
    assert np.isnan(torso_length(track(np.zeros_like(points), np.ones_like(scores))))


@pytest.mark.parametrize("scale, fps", [(1, 16), (4, 60)])
def test_jitter_is_the_noise_in_torso_lengths_whatever_the_rate_and_the_motion(scale, fps):
    points, scores = still(400)
    points += 40 * np.sin(2 * np.pi * 0.5 * np.arange(400) / fps)[:, None, None]
    smooth = jitter(track(scale * points, scores))
    assert all(figure < 0.0005 for figure in smooth.values())
    noise = np.random.default_rng(0).normal(0, 1.0, points.shape)
    noise[:, [wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, wb.LEFT_HIP, wb.RIGHT_HIP]] = 0
    assert jitter(track(scale * (points + noise), scores))["feet"] == pytest.approx(0.01253, rel=0.05)


def test_jitter_does_not_look_across_gaps_or_at_what_is_not_seen():
    points, scores = still(20)
    points[10:, wb.LEFT_HAND] += 50
    assert jitter(track(points, scores))["left_hand"] > 0.01
    scores[9:12, wb.LEFT_HAND] = 0.1
    assert jitter(track(points, scores))["left_hand"] == 0
    scores[::4, wb.FACE] = 0
    assert jitter(track(points, scores))["face"] is None
    assert set(jitter(track(points[:4], scores[:4])).values()) == {None}
