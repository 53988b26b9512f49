"""Alignment and perturbation: geometry that must hold for any pose, and the official release's numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose import wholebody
from model.pose.alignment import align
from model.pose.drawing import draw_pose
from model.pose.perturbation import ASPECT, SCALE, negative, rescale, simulate_discontinuity
from model.pose.tracks import PoseTrack
from model.pose.wholebody import to_openpose

PARITY = (Path(__file__).parents[2] / "../shared/parity").resolve()
parity = pytest.mark.skipif(not PARITY.is_dir(), reason="the official release's parity vectors are not here")
VIDEO, REFERENCE = (640, 360), (896, 656)
SIZE = (640, 480)
seeds = st.integers(0, 2**32 - 1)


def read(name):
    from safetensors.numpy import load_file

    return load_file(PARITY / name)


def track_of(keypoints, scores, size):
    """A track from keypoints in fractions of the frame."""
    pixels = keypoints.reshape(-1, 133, 2).astype(np.float64) * (size[1], size[0])
    return PoseTrack(pixels.astype(np.float32), scores.reshape(-1, 133))


def random_track(seed, frames=4, low=0.5):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(20, 460, (frames, 133, 2)).astype(np.float32)
    return PoseTrack(keypoints, rng.uniform(low, 1, (frames, 133)).astype(np.float32))


def close(a, b, tolerance=0.02):
    return np.abs(a - b).max() < tolerance


@parity
@pytest.mark.parametrize("case", ["normal", "degenerate"])
def test_official_alignment_gives_the_official_numbers(case):
    given_ = read("align.safetensors")
    video = track_of(given_[f"{case}.video.kps"], given_[f"{case}.video.scores"], VIDEO)
    reference = track_of(given_[f"{case}.ref.kps"], given_[f"{case}.ref.scores"], REFERENCE)
    aligned = align(video, VIDEO, reference, REFERENCE, "official")
    pose = to_openpose(aligned.keypoints / np.array(REFERENCE[::-1]), aligned.scores)
    assert close(pose.body, given_[f"{case}.candidate"], 1e-6)
    assert close(pose.hands, given_[f"{case}.hands"], 1e-6)
    assert close(pose.face, given_[f"{case}.faces"][:, 0], 1e-6)
    assert np.array_equal(pose.body_visible, given_[f"{case}.subset"][:, 0] >= 0)
    if case == "normal":
        for frame in (0, 2, 3):
            official = cv2.imread(str(PARITY / f"align_frame{frame}_rgb.png"))[..., ::-1]
            drawn = draw_pose(aligned.keypoints[frame], aligned.scores[frame], REFERENCE, official.shape[:2])
            assert np.array_equal(drawn, official)


@parity
def test_robust_alignment_stays_on_the_canvas_where_the_official_one_leaves_it():
    given_ = read("align.safetensors")
    video = track_of(given_["degenerate.video.kps"], given_["degenerate.video.scores"], VIDEO)
    reference = track_of(given_["degenerate.ref.kps"], given_["degenerate.ref.scores"], REFERENCE)
    official = align(video, VIDEO, reference, REFERENCE, "official")
    robust = align(video, VIDEO, reference, REFERENCE)
    seen = video.scores[:, wholebody.LEFT_WRIST] > wholebody.VISIBLE
    assert seen.any()
    assert (official.keypoints[seen, wholebody.LEFT_WRIST] < 0).all()
    assert (robust.keypoints[seen, wholebody.LEFT_WRIST] > 0).all()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_aligned_to_its_own_first_frame_a_track_is_unchanged(seed):
    track = random_track(seed)
    assert close(align(track, SIZE, track[:1], SIZE).keypoints, track.keypoints)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(100, 2000), st.tuples(st.integers(-300, 300), st.integers(-300, 300)))
def test_in_a_frame_of_another_size_and_at_another_place_the_same_person_is_met(seed, height, shift):
    track = random_track(seed)
    exact = (track.keypoints * (height / 640) + np.array(shift)).astype(np.float32)
    aligned = align(track, SIZE, PoseTrack(exact[:1], track.scores[:1]), (height, 700))
    assert close(aligned.keypoints, exact, 0.05)


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.4, 2.5))
def test_a_person_of_another_size_is_met_around_the_neck(seed, scale):
    track = random_track(seed)
    still = track.keypoints - wholebody.neck(track.keypoints, track.scores)[0][:, None] + 240
    track = PoseTrack(still, track.scores)
    reference = PoseTrack((still[:1] * scale).astype(np.float32), track.scores[:1])
    assert close(align(track, SIZE, reference, SIZE).keypoints, still * scale, 0.05)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_directions_are_the_driving_ones_and_lengths_the_references(seed):
    track, reference = random_track(seed, 1), random_track(seed + 1, 1)
    aligned = align(track, SIZE, reference, SIZE)
    for start, end in wholebody.LEFT_BONES[2:4] + wholebody.RIGHT_BONES[5:7]:
        before, after = (each.keypoints[0, end] - each.keypoints[0, start] for each in (track, aligned))
        assert abs(before[0] * after[1] - before[1] * after[0]) < 1e-3 * np.linalg.norm(before) * np.linalg.norm(after)
        assert before @ after > 0
    assert close(
        wholebody.neck(aligned.keypoints, aligned.scores)[0], wholebody.neck(reference.keypoints, reference.scores)[0]
    )


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_a_first_frame_that_shows_nothing_does_not_matter(seed):
    track = random_track(seed)
    rng = np.random.default_rng(seed)
    nothing = PoseTrack(
        rng.uniform(0, 5, (1, 133, 2)).astype(np.float32), rng.uniform(0, 0.2, (1, 133)).astype(np.float32)
    )
    late = PoseTrack(
        np.concatenate([nothing.keypoints, track.keypoints]), np.concatenate([nothing.scores, track.scores])
    )
    reference = random_track(seed + 1, 1)
    expected = align(track, SIZE, reference, SIZE)
    assert close(align(late, SIZE, reference, SIZE).keypoints[1:], expected.keypoints)


def test_unseen_legs_of_the_reference_do_not_enter_and_the_body_decides():
    track = random_track(0, 1)
    doubled = track.resized(SIZE, (1280, 960))
    keypoints, scores = doubled.keypoints.copy(), doubled.scores.copy()
    legs = [wholebody.LEFT_KNEE, wholebody.RIGHT_KNEE, wholebody.LEFT_ANKLE, wholebody.RIGHT_ANKLE]
    keypoints[0, legs], scores[0, legs] = 7, 0.1
    aligned = align(track, SIZE, PoseTrack(keypoints, scores), SIZE)
    assert close(aligned.keypoints, track.keypoints * 2, 0.1)


def test_an_arm_seen_end_on_does_not_make_an_endless_arm():
    track, reference = random_track(0), random_track(0, 1)
    keypoints = track.keypoints.copy()
    for shoulder, elbow in ((5, 7), (6, 8)):
        keypoints[0, elbow] = keypoints[0, shoulder] + 0.01
    aligned = align(PoseTrack(keypoints, track.scores), SIZE, reference, SIZE)
    assert np.abs(aligned.keypoints).max() < 3000


@pytest.mark.parametrize("who", ["driving", "reference"])
def test_without_shoulders_there_is_a_clear_error(who):
    shown, hidden = random_track(0, 1), random_track(0, 1)
    hidden.scores[:, 5:7] = 0.1
    pair = (hidden, shown) if who == "driving" else (shown, hidden)
    with pytest.raises(SteadyDancerError, match=f"{who}.*shoulders"):
        align(pair[0], SIZE, pair[1], SIZE)


@parity
def test_the_negative_pose_has_the_official_numbers():
    given_ = read("aug.safetensors")
    draws = given_["random_draws_lo_hi_value"].reshape(4, 4, 3)[..., 2]
    neck = given_["pos.candidate"][:, wholebody.NECK]
    for points in ("candidate", "hands"):
        out = rescale(given_[f"pos.{points}"].reshape(4, -1, 2), neck, draws[:, 2], draws[:, 3])
        assert close(out, given_[f"neg.{points}"].reshape(4, -1, 2), 1e-12)


@parity
def test_the_negative_pose_is_drawn_as_the_official_one():
    given_ = read("aug.safetensors")
    draws = given_["random_draws_lo_hi_value"].reshape(4, 4, 3)[..., 2]
    video = track_of(given_["in.video.kps"], given_["in.video.scores"], VIDEO)
    reference = track_of(given_["in.ref.kps"], given_["in.ref.scores"], REFERENCE)

    class Logged:
        """Hands out the logged draws in place of a generator's."""

        def uniform(self, low, high, frames):
            assert frames == 4
            return {SCALE: draws[:, 2], ASPECT: draws[:, 3]}[low, high]

    wrong = negative(align(video, VIDEO, reference, REFERENCE, "official"), Logged())
    for frame in (0, 1):
        official = cv2.imread(str(PARITY / f"aug_frame{frame}_rgb.png"))[..., ::-1]
        assert np.array_equal(
            draw_pose(wrong.keypoints[frame], wrong.scores[frame], REFERENCE, official.shape[:2]), official
        )


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_negative_pose_is_a_stretch_about_the_neck_within_bounds(seed):
    track = random_track(seed)
    wrong = negative(track, np.random.default_rng(seed))
    again = negative(track, np.random.default_rng(seed))
    assert np.array_equal(wrong.keypoints, again.keypoints) and np.array_equal(wrong.scores, track.scores)
    necks = [wholebody.neck(each.keypoints, each.scores)[0][:, None] for each in (track, wrong)]
    assert close(necks[0], necks[1])
    before, after = track.keypoints - necks[0], wrong.keypoints - necks[1]
    limbs = [wholebody.LEFT_WRIST, wholebody.RIGHT_ANKLE, wholebody.LEFT_HAND.start]
    stretch = (after[:, limbs] * before[:, limbs]).sum(axis=1) / (before[:, limbs] ** 2).sum(axis=1)
    assert close(after[:, limbs], stretch[:, None] * before[:, limbs])
    assert (stretch[:, 1] >= 0.7 - 1e-3).all() and (stretch[:, 1] <= 1.3 + 1e-3).all()
    aspect = stretch[:, 0] / stretch[:, 1]
    assert (aspect >= 0.6 - 1e-3).all() and (aspect <= 1.4 + 1e-3).all()
    assert len(set(stretch[:, 1].tolist())) == len(track)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 4))
def test_a_discontinuity_replaces_the_second_pose_only(seed, t_star):
    track = random_track(seed, 6, low=0.0)
    jump = simulate_discontinuity(track, t_star)
    others = [0, 2, 3, 4, 5]
    assert np.array_equal(jump.keypoints[others], track.keypoints[others])
    assert np.array_equal(jump.scores[others], track.scores[others])
    assert close(t_star * (jump.keypoints[1] - track.keypoints[0]), track.keypoints[t_star] - track.keypoints[0], 0.01)
    assert (jump.scores[1] <= track.scores[0]).all() and (jump.scores[1] <= track.scores[t_star]).all()


@pytest.mark.parametrize("t_star", [1, 6])
def test_a_discontinuity_needs_a_later_pose(t_star):
    with pytest.raises(ValueError, match="t_star"):
        simulate_discontinuity(random_track(0, 6), t_star)
