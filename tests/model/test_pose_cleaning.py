"""Gaps, spikes and trembling."""

import numpy as np
import pytest
from dancing_tracks import FPS, TORSO, UNUSED, dancing, still, track
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose import wholebody as wb
from model.pose.cleaning import clean
from model.pose.quality import jitter
from model.pose.tracks import PoseTrack

USUAL = {"fill_seconds": 0.25, "smooth_seconds": 0.3}


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_nothing_asked_for_nothing_changed(seed, frames):
    given_track = dancing(seed, frames)
    out = clean(given_track, FPS, fill_seconds=0, smooth_seconds=0)
    assert np.array_equal(out.track.keypoints, given_track.keypoints)
    assert np.array_equal(out.track.scores, given_track.scores) and not out.filled.any()


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0, 0.5), st.floats(0, 0.6))
@settings(max_examples=12, deadline=None)
def test_what_is_visible_afterwards_was_seen_or_lies_in_a_short_gap(seed, frames, fill, smooth):
    before = dancing(seed, frames)
    out = clean(before, FPS, fill_seconds=fill, smooth_seconds=smooth)
    seen, visible = before.scores > wb.VISIBLE, out.track.scores > wb.VISIBLE
    assert out.track.keypoints.shape == before.keypoints.shape and np.isfinite(out.track.keypoints).all()
    assert out.confidence is before.scores
    assert np.array_equal(visible, seen | out.filled)
    assert np.array_equal(out.track.scores[~out.filled], before.scores[~out.filled])
    assert (out.track.keypoints[~visible] == UNUSED).all() and (np.abs(out.track.keypoints[visible]) < 1e4).all()
    longest = int(fill * FPS + 1e-6)
    for frame, joint in np.argwhere(visible & ~seen):
        earlier, later = np.flatnonzero(seen[:frame, joint]), np.flatnonzero(seen[frame:, joint])
        assert earlier.size and later.size
        first, last = earlier[-1], frame + later[0]
        assert last - first - 1 <= longest or out.filled[[first, last], joint].any()  # a spike beside a gap joins it
        if not out.filled[[first, last], joint].any():
            assert out.track.scores[frame, joint] == before.scores[[first, last], joint].min()


@pytest.mark.parametrize("gap, filled", [(7, True), (8, False)])
def test_the_limit_is_in_seconds_and_clip_ends_are_no_gaps(gap, filled):
    points, scores = still()
    scores[10 : 10 + gap, wb.LEFT_ANKLE], scores[10 + gap, wb.LEFT_ANKLE] = 0.1, 0.5
    scores[:2, wb.RIGHT_ANKLE] = scores[-2:, wb.RIGHT_ANKLE] = 0.35
    out = clean(track(points, scores), FPS, fill_seconds=0.25, smooth_seconds=0)  # 7.5 frames
    assert out.filled.sum() == gap * filled and out.filled[10 : 10 + gap, wb.LEFT_ANKLE].all() == filled
    assert np.allclose(out.track.scores[10 : 10 + gap, wb.LEFT_ANKLE], 0.5 if filled else 0.1)


@given(st.tuples(*[st.floats(-20, 20)] * 2), st.sampled_from([16, 24, 30, 60]), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_straight_even_motion_stays_and_gaps_in_it_are_filled_exactly(velocity, fps, seed):
    rng = np.random.default_rng(seed)
    points, scores = still()
    points = points + np.arange(40)[:, None, None] * np.array(velocity)
    hidden = rng.random(scores.shape) < 0.2
    hidden[:, [wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER, wb.LEFT_HIP, wb.RIGHT_HIP]] = False
    out = clean(track(np.where(hidden[..., None], UNUSED, points), np.where(hidden, 0.1, scores)), fps, **USUAL)
    visible = out.track.scores > wb.VISIBLE
    assert np.array_equal(visible, ~hidden | out.filled) and (hidden & visible).any()
    assert np.abs(out.track.keypoints[visible] - points[visible]).max() < 0.02


@given(st.integers(0, 2**32), st.sampled_from([16, 24, 30, 60]))
@settings(max_examples=8, deadline=None)
def test_backwards_is_the_same_backwards(seed, fps):
    forwards = dancing(seed)
    backwards = clean(PoseTrack(forwards.keypoints[::-1], forwards.scores[::-1]), fps, **USUAL)
    out = clean(forwards, fps, **USUAL)
    assert np.array_equal(backwards.filled[::-1], out.filled)
    assert np.allclose(backwards.track.keypoints[::-1], out.track.keypoints, atol=1e-3)


@given(st.integers(0, 2**32), st.floats(0.3, 5), st.tuples(*[st.floats(-500, 500)] * 2))
@settings(max_examples=8, deadline=None)
def test_a_moved_and_enlarged_person_is_cleaned_alike(seed, scale, shift):
    here = dancing(seed)
    there = PoseTrack((here.keypoints * scale + np.array(shift)).astype(np.float32), here.scores)
    out_here, out_there = (clean(each, FPS, **USUAL) for each in (here, there))
    visible = out_here.track.scores > wb.VISIBLE
    assert np.array_equal(out_here.filled, out_there.filled)
    expected = out_here.track.keypoints[visible] * scale + np.array(shift)
    assert np.abs(out_there.track.keypoints[visible] - expected).max() < 0.02 * max(scale, 1)


def test_trembling_falls_and_does_so_in_place():
    points, scores = still(120)
    trembling = points + np.random.default_rng(1).normal(0, 0.4, points.shape)
    out = clean(track(trembling, scores), FPS, fill_seconds=0, smooth_seconds=0.3).track
    body = slice(0, wb.FACE.start)
    assert np.abs(out.keypoints - points)[:, body].std() < 0.6 * np.abs(trembling - points)[:, body].std()
    assert jitter(out)["arms"] < 0.2 * jitter(track(trembling, scores))["arms"]


def test_fast_motion_stays_under_the_same_trembling():
    """A wrist that swings 1.2 torso lengths three times a second (22 torso lengths a second)."""
    points, scores = still(120)
    points[:, wb.LEFT_WRIST, 0] += 120 * np.sin(2 * np.pi * 3 * np.arange(120) / FPS)
    trembling = points + np.random.default_rng(1).normal(0, 0.4, points.shape)
    out = clean(track(trembling, scores), FPS, **USUAL)
    assert not out.filled.any()
    assert np.abs(out.track.keypoints - points)[:, wb.LEFT_WRIST].max() < 2
    swings = [np.ptp(each[:, wb.LEFT_WRIST, 0]) for each in (points, out.track.keypoints)]
    assert swings[1] == pytest.approx(swings[0], rel=0.01)


def test_a_step_in_speed_is_followed_without_lag():
    points, scores = still(60)
    points[:, wb.RIGHT_WRIST, 1] += 12 * np.maximum(np.arange(60) - 30, 0)
    out = clean(track(points, scores), FPS, **USUAL).track.keypoints[:, wb.RIGHT_WRIST, 1]
    assert np.abs(out - points[:, wb.RIGHT_WRIST, 1]).max() < 0.02 * TORSO


def test_a_single_wrong_frame_is_put_back_and_told():
    points, scores = still()
    points += np.arange(40)[:, None, None] * 1.5
    wrong = points.copy()
    wrong[20, wb.LEFT_WRIST] += (40, -30)
    wrong[25, [wb.LEFT_ANKLE, wb.RIGHT_ANKLE]] = points[25, [wb.RIGHT_ANKLE, wb.LEFT_ANKLE]]
    out = clean(track(wrong, scores), FPS, fill_seconds=0.1, smooth_seconds=0)
    assert np.abs(out.track.keypoints - points).max() < 0.01
    assert np.argwhere(out.filled).tolist() == [[20, wb.LEFT_WRIST], [25, wb.LEFT_ANKLE], [25, wb.RIGHT_ANKLE]]


def test_a_hand_lost_during_a_swing_goes_with_its_wrist():
    points, scores = still()
    arc = np.pi * np.arange(40) / 12
    swing = 150 * np.stack([np.cos(arc), np.sin(arc)], axis=-1)[:, None]
    points[:, wb.LEFT_WRIST : wb.LEFT_WRIST + 1] += swing
    points[:, wb.LEFT_HAND] += swing
    scores[15:21, wb.LEFT_HAND] = 0
    lost = points.copy()
    lost[15:21, wb.LEFT_HAND] = 0
    out = clean(track(lost, scores), FPS, fill_seconds=0.25, smooth_seconds=0)
    assert out.filled[15:21, wb.LEFT_HAND].all() and out.filled.sum() == 6 * 21
    assert np.abs(out.track.keypoints - points).max() < 0.01

    scores[17, wb.LEFT_WRIST] = 0  # nobody knows where the wrist is, at the edge of what is filled
    out = clean(track(lost, scores), FPS, fill_seconds=0.02, smooth_seconds=0)
    assert not out.filled.any()


def test_a_joint_lost_while_it_moves_and_found_at_rest_is_not_carried_past():
    points, scores = still()
    points[:, wb.RIGHT_ANKLE, 0] += 10 * np.minimum(np.arange(40), 17)
    scores[18:22, wb.RIGHT_ANKLE] = 0
    out = clean(track(points, scores), FPS, fill_seconds=0.25, smooth_seconds=0)
    assert out.filled[18:22, wb.RIGHT_ANKLE].all()
    assert np.array_equal(out.track.keypoints, points.astype(np.float32))


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_a_few_frames_are_left_as_they_are(frames):
    short = dancing(0, frames, share_seen=1)
    assert np.array_equal(clean(short, FPS, fill_seconds=0, smooth_seconds=1).track.keypoints, short.keypoints)
    assert clean(short, FPS, **USUAL).track.keypoints.shape == (frames, 133, 2)


def test_nobody_seen_is_left_as_it_is():
    nobody = track(np.zeros((20, 133, 2)), np.zeros((20, 133)))
    out = clean(nobody, FPS, **USUAL)
    assert not out.track.keypoints.any() and not out.filled.any()


@pytest.mark.parametrize("fps, fill, smooth, named", [(0, 0, 0, "fps"), (30, -1, 0, "fill"), (30, 0, np.nan, "smooth")])
def test_settings_without_meaning_are_refused(fps, fill, smooth, named):
    with pytest.raises(SteadyDancerError, match=named):
        clean(dancing(0), fps, fill_seconds=fill, smooth_seconds=smooth)
