"""Alignment: geometry that must hold for any dancer. The official numbers are test_pose_parity's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model.pose import wholebody as wb
from model.pose.alignment import align, align_official, limb_ratios
from model.pose.tracks import PoseTrack
from model.pose.wholebody import to_openpose

SIZE = (640, 480)
seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=20, deadline=None)


def turned(points, angle):
    """(..., 2) points turned by ``angle`` (T,), for every frame: (T, ..., 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.einsum("tij,...j->t...i", np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2), points)


def dancer(seed, frames=12):
    """A person whose limbs keep their lengths and swing, at 16 frames a second; all joints are seen."""
    rng = np.random.default_rng(seed)
    time, unit = np.arange(frames) / 16, rng.uniform(60, 90)

    def swinging(middle, by):
        return middle + by * np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * time + rng.uniform()))

    at = np.zeros((frames, 133, 2))
    neck = np.stack([swinging(240, 20), swinging(220, 10)], axis=-1)
    lean, nod = swinging(0, 0.15), swinging(0, 0.2)
    shoulder, hip, arm, leg = rng.uniform(0.8, 1.2, 4) * ((0.45), 0.25, 0.55, 0.8)
    head = np.array([(0, -0.45), (0.08, -0.52), (-0.08, -0.52), (0.18, -0.5), (-0.18, -0.5)]) * rng.uniform(0.8, 1.2)
    at[:, :5] = neck[:, None] + unit * turned(head, nod)
    at[:, wb.FACE] = at[:, :1] + unit * turned(rng.uniform(-0.2, 0.2, (68, 2)), nod)
    palm, sole = rng.uniform(-0.1, 0.1, (21, 2)), rng.uniform(-0.1, 0.1, (3, 2))
    for side, sign, hand, foot in ((0, 1, wb.LEFT_HAND, slice(17, 20)), (1, -1, wb.RIGHT_HAND, slice(20, 23))):
        at[:, wb.LEFT_SHOULDER + side] = neck + unit * turned(np.array([sign * shoulder, 0.0]), lean)
        at[:, wb.LEFT_HIP + side] = neck + unit * turned(np.array([sign * hip, 1.0]), lean)
        for start, length, angle, what, end in ((5, arm, 0.8, palm, hand), (11, leg, 0.15, sole, foot)):
            for joint, stretch in ((start + side, 1.0), (start + side + 2, 0.9)):
                bent = swinging(-sign * angle, 0.4)
                at[:, joint + 2] = at[:, joint] + unit * length * stretch * turned(np.array([0.0, 1.0]), bent)
            at[:, end] = at[:, [start + side + 4]] + unit * turned(what, bent)
    return PoseTrack(at.astype(np.float32), rng.uniform(0.5, 1, (frames, 133)).astype(np.float32))


def random_track(seed, frames=4, low=0.5):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(20, 460, (frames, 133, 2)).astype(np.float32)
    return PoseTrack(keypoints, rng.uniform(low, 1, (frames, 133)).astype(np.float32))


def joined(*tracks):
    return PoseTrack(np.concatenate([t.keypoints for t in tracks]), np.concatenate([t.scores for t in tracks]))


def close(a, b, tolerance=0.02):
    return np.abs(a - b).max() < tolerance


@some
@given(seeds, st.sampled_from([1, 2, 3, 12]))
def test_aligned_to_its_own_first_frame_a_track_is_unchanged(seed, frames):
    track = dancer(seed, frames)
    assert close(align(track, SIZE, track[:1], SIZE).keypoints, track.keypoints)


@some
@given(seeds, st.integers(100, 2000), st.tuples(st.integers(-300, 300), st.integers(-300, 300)))
def test_in_a_frame_of_another_size_and_at_another_place_the_same_person_is_met(seed, height, shift):
    track = dancer(seed)
    exact = (track.keypoints * (height / 640) + np.array(shift)).astype(np.float32)
    aligned = align(track, SIZE, PoseTrack(exact[:1], track.scores[:1]), (height, 700))
    assert close(aligned.keypoints, exact, 0.05)


@some
@given(seeds, st.floats(0.4, 2.5))
def test_a_person_of_another_size_is_met_around_the_neck(seed, scale):
    track = dancer(seed)
    still = track.keypoints - wb.neck(track.keypoints, track.scores)[0][:, None] + 240
    reference = PoseTrack((still[:1] * scale).astype(np.float32), track.scores[:1])
    aligned = align(PoseTrack(still, track.scores), SIZE, reference, SIZE)
    assert close(aligned.keypoints, still * scale, 0.05)


@some
@given(seeds)
def test_directions_are_the_driving_ones_and_lengths_the_references(seed):
    track, reference = dancer(seed), dancer(seed + 1, 1)
    aligned = align(track, SIZE, reference, SIZE)
    for start, end in wb.LEFT_BONES[2:4] + wb.LEFT_BONES[5:7] + wb.RIGHT_BONES[2:4] + wb.RIGHT_BONES[5:7]:
        driven, ours, theirs = (
            each.keypoints[:, end] - each.keypoints[:, start] for each in (track, aligned, reference)
        )
        length, wanted = np.linalg.norm(ours, axis=-1), np.linalg.norm(theirs, axis=-1)
        assert close(length, wanted, 0.01 * wanted.max())
        assert close(ours / length[:, None], driven / np.linalg.norm(driven, axis=-1, keepdims=True), 1e-3)
    necks = [wb.neck(each.keypoints, each.scores)[0] for each in (aligned, reference)]
    assert close(necks[0][0], necks[1][0])


def far_away(rng, track):
    return track.keypoints[:1] + 300


def anything(rng, track):
    return rng.uniform(0, 480, (2, 133, 2))


def the_same_twice(rng, track):
    return np.repeat(rng.uniform(0, 480, (1, 133, 2)), 2, axis=0)


def much_larger(rng, track):
    return (track.keypoints[:1] - 240) * 3 + 240


@some
@given(seeds, st.sampled_from([far_away, anything, the_same_twice, much_larger]))
def test_first_frames_that_are_confidently_wrong_do_not_decide(seed, wrong):
    track, reference = dancer(seed), dancer(seed + 1, 1)
    keypoints = wrong(np.random.default_rng(seed), track).astype(np.float32)
    late = joined(PoseTrack(keypoints, np.full(keypoints.shape[:2], 0.9, np.float32)), track)
    expected = align(track, SIZE, reference, SIZE)
    assert close(align(late, SIZE, reference, SIZE).keypoints[len(keypoints) :], expected.keypoints, 0.05)


@some
@given(seeds)
def test_a_first_frame_that_shows_nothing_does_not_matter(seed):
    track, reference, rng = dancer(seed), dancer(seed + 1, 1), np.random.default_rng(seed)
    nothing = rng.uniform(0, 5, (1, 133, 2)), rng.uniform(0, 0.2, (1, 133))
    late = joined(PoseTrack(*(array.astype(np.float32) for array in nothing)), track)
    expected = align(track, SIZE, reference, SIZE)
    assert close(align(late, SIZE, reference, SIZE).keypoints[1:], expected.keypoints, 0.05)


@some
@given(seeds, st.sampled_from([0.1, 4.0]))
def test_one_arm_wrong_in_the_first_frame_is_measured_in_the_next(seed, factor):
    track, reference = dancer(seed), dancer(seed + 1, 1)
    keypoints = track.keypoints.copy()
    arm = keypoints[0, wb.LEFT_ELBOW] - keypoints[0, wb.LEFT_SHOULDER]
    keypoints[0, wb.LEFT_ELBOW] += (factor - 1) * arm
    right, wrong = (
        limb_ratios(each, SIZE, reference, SIZE)["arm_upper"] for each in (track, PoseTrack(keypoints, track.scores))
    )
    assert right.measured and wrong.value == pytest.approx(right.value, abs=1e-3)


def test_unseen_legs_of_the_reference_do_not_enter_and_the_body_decides():
    track = dancer(0, 1)
    doubled = track.resized(SIZE, (1280, 960))
    keypoints, scores = doubled.keypoints.copy(), doubled.scores.copy()
    legs = [wb.LEFT_KNEE, wb.RIGHT_KNEE, wb.LEFT_ANKLE, wb.RIGHT_ANKLE]
    keypoints[0, legs], scores[0, legs] = 7, 0.1
    half = PoseTrack(keypoints, scores)
    assert close(align(track, SIZE, half, SIZE).keypoints, track.keypoints * 2, 0.1)
    ratios = limb_ratios(track, SIZE, half, SIZE)
    inferred = {part for part, ratio in ratios.items() if not ratio.measured}
    assert inferred == {"leg_upper", "leg_lower", "hand", "face"}
    assert all(ratio.value == pytest.approx(2, abs=1e-4) for ratio in ratios.values())


def test_an_arm_seen_end_on_throws_the_official_hand_off_the_picture_and_not_the_robust_one():
    track, reference = dancer(0), dancer(1, 1)
    keypoints = track.keypoints.copy()
    keypoints[0, wb.LEFT_ELBOW] = keypoints[0, wb.LEFT_SHOULDER]
    track = PoseTrack(keypoints, track.scores)
    official, robust = (align(track, SIZE, reference, SIZE, mode).keypoints for mode in ("official", "robust"))
    assert (official[:, wb.LEFT_WRIST] < 0).all() and (official[:, wb.LEFT_HAND] < 0).all()
    assert (robust > 0).all() and (robust < 640).all()
    assert np.isinf(limb_ratios(track, SIZE, reference, SIZE, "official")["arm_upper"].value)


def test_a_track_aligned_officially_is_the_official_pose_in_pixels():
    track, reference = random_track(0, low=0.2), random_track(1, 1)
    driving, target = (to_openpose(t.keypoints, t.scores).in_units_of(640) for t in (track, reference))
    pose, _ = align_official(driving, target)
    ours = align(track, SIZE, reference, SIZE, "official")
    shown = to_openpose(ours.keypoints, ours.scores)
    for points in ("body", "hands", "face"):
        assert close(getattr(shown, points), getattr(pose, points) * 640, 0.01)
    assert np.array_equal(ours.scores, track.scores)


@pytest.mark.parametrize("who", ["driving", "reference"])
def test_without_shoulders_there_is_a_clear_error(who):
    shown, hidden = random_track(0, 1), random_track(0, 1)
    hidden.scores[:, 5:7] = 0.1
    pair = (hidden, shown) if who == "driving" else (shown, hidden)
    with pytest.raises(SteadyDancerError, match=f"{who}.*shoulders"):
        align(pair[0], SIZE, pair[1], SIZE)


@pytest.mark.parametrize(
    "sizes, frames, named",
    [((SIZE, SIZE), 2, "2 frames"), (((0, 480), SIZE), 1, "driving.*0, 480"), ((SIZE, (640,)), 1, "reference.*640")],
)
def test_references_and_sizes_that_are_none_are_refused(sizes, frames, named):
    with pytest.raises(SteadyDancerError, match=named):
        align(random_track(0), sizes[0], random_track(1, frames), sizes[1])
