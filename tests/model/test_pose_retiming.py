import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model import video
from model.pose.retiming import retime
from model.pose.tracks import PoseTrack
from model.pose.wholebody import VISIBLE

RATES = [24, 25, 30, 60, 24_000 / 1001, 16, 15, 12]


def moving(times, speed=7.0, score=0.9):
    """Every joint on its own straight line."""
    start = np.random.default_rng(0).uniform(100, 500, (133, 2))
    keypoints = start + speed * np.asarray(times)[:, None, None] * [1, -0.5]
    return PoseTrack(keypoints.astype(np.float32), np.full((len(times), 133), score, np.float32)), start


@pytest.mark.parametrize("rate", RATES)
def test_even_motion_is_where_it_is_at_each_moment_and_lasts_as_long(rate):
    times = np.arange(round(3 * rate)) / rate
    track, start = moving(times)
    at_16 = retime(track, times, 16)
    assert len(at_16) == 48 or rate == 24_000 / 1001 and len(at_16) == 49  # 72 such frames last 3.003 s
    moments = np.minimum(np.arange(len(at_16)) / 16, times[-1])
    expected = start + 7.0 * moments[:, None, None] * [1, -0.5]
    assert np.allclose(at_16.keypoints, expected, atol=9e-3)  # a moment within 1 ms of a frame is that frame's
    assert (at_16.scores == np.float32(0.9)).all()


@given(st.lists(st.floats(0.005, 0.2), min_size=1, max_size=60), st.sampled_from([8.0, 16.0, 30.0]))
def test_even_motion_of_a_variable_rate(gaps, fps):
    times = np.concatenate([[0], np.cumsum(gaps)])
    track, start = moving(times)
    out = retime(track, times, fps)
    moments = np.minimum(np.arange(len(out)) / fps, times[-1])
    assert np.allclose(out.keypoints, start + 7.0 * moments[:, None, None] * [1, -0.5], atol=9e-3)
    assert times[-1] - 1 / fps - 1e-6 < (len(out) - 1) / fps <= times[-1] + 1 / fps


@pytest.mark.parametrize("clock", [90_000, 1000])  # of mp4 and Matroska, which round the times of frames to it
@pytest.mark.parametrize("fps", [16, 24, 30_000 / 1001])
def test_a_track_of_that_rate_is_unchanged(fps, clock):
    rng = np.random.default_rng(1)
    track = PoseTrack(
        rng.uniform(0, 500, (40, 133, 2)).astype(np.float32), rng.uniform(0, 1, (40, 133)).astype(np.float32)
    )
    same = retime(track, np.round(np.arange(40) / fps * clock) / clock, fps)
    assert np.array_equal(same.keypoints, track.keypoints) and np.array_equal(same.scores, track.scores)


@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([10.0, 16.0, 25.0, 61.0]))
def test_nothing_unseen_becomes_visible_and_no_place_is_mixed_with_an_unseen_one(seed, frames, fps):
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0], np.cumsum(rng.uniform(0.01, 0.1, frames - 1))])
    seen = rng.random((frames, 133)) < 0.5
    scores = np.where(seen, rng.uniform(0.4, 1, seen.shape), rng.uniform(0, VISIBLE, seen.shape)).astype(np.float32)
    keypoints = np.where(seen[..., None], rng.uniform(100, 200, (*seen.shape, 2)), -1e6).astype(np.float32)
    out = retime(PoseTrack(keypoints, scores), times, fps)
    visible = out.scores > VISIBLE
    assert (out.keypoints[visible] >= 100).all() and (out.keypoints[~visible] == -1e6).all()
    for moment, row in zip(np.arange(len(out)) / fps, visible, strict=True):
        nearest = np.abs(times - moment).argmin()
        assert seen[nearest][row].all()


def test_between_two_frames_a_joint_is_as_sure_as_the_less_sure():
    track, _ = moving([0, 0.1])
    scores = track.scores.copy()
    scores[1] = 0.5
    out = retime(PoseTrack(track.keypoints, scores), np.array([0, 0.1]), 40)
    assert out.scores[:, 0].tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5, 0.5, 0.5])


def test_an_unseen_frame_is_not_moved_towards():
    track, _ = moving([0, 0.1])
    scores = track.scores.copy()
    scores[1] = 0.1
    out = retime(PoseTrack(track.keypoints, scores), np.array([0, 0.1]), 40)
    assert out.scores[:, 0].tolist() == pytest.approx([0.9, 0.9, 0.1, 0.1, 0.1, 0.1])  # the middle: unseen
    assert np.array_equal(out.keypoints, track.keypoints[[0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("rate", [10, 16, 24, 30, 60])
def test_the_video_reader_has_a_picture_for_each_frame(tmp_path, rate):
    path = video.write(tmp_path / "clip.mp4", np.zeros((rate, 16, 16, 3), np.uint8), rate)
    times = np.array([time for time, _ in video.frames(path)])
    out = retime(moving(times)[0], times, 16)
    assert len(out) == 16
    assert len(video.read_at(path, 0.0, len(out), 16)) == len(out)


def test_one_frame_is_one_frame():
    assert len(retime(moving([0.0])[0], np.zeros(1), 16)) == 1


@pytest.mark.parametrize(
    "times, fps, named",
    [
        ([0, 0.1, 0.1], 16, "frame 2 is at 0.1 s after 0.1 s"),
        ([0, 0.2, 0.1], 16, "rising"),
        ([0, np.nan, 0.2], 16, "frame 1 is at nan"),
        ([0, 0.1, np.inf], 16, "finite"),
        ([0.5, 0.6, 0.7], 16, "first frame is at 0.5 s"),
        ([-0.1, 0.0, 0.1], 16, "first frame is at -0.1 s"),
        ([0, 0.1], 16, r"\(2,\) times given for a track of 3 frames"),
        ([[0], [0.1], [0.2]], 16, r"\(3, 1\) times"),
        ([0, 0.1, 0.2], 0, "0 fps"),
        ([0, 0.1, 0.2], -16, "-16 fps"),
        ([0, 0.1, 0.2], np.nan, "nan fps"),
    ],
)
def test_what_is_no_timing_is_refused(times, fps, named):
    with pytest.raises(SteadyDancerError, match=named):
        retime(moving([0, 0.1, 0.2])[0], np.array(times), fps)
