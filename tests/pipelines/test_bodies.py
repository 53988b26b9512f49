"""Bodies of known size, place and motion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.pose import wholebody as wb
from model.pose.tracks import PoseTrack
from pipelines.columns import BY_NAME, POSE_SCORES
from pipelines.pose.bodies import (
    MeasureBody,
    MeasureMotion,
    MeasureParts,
    clipped,
    cut_out,
    jerk,
    prominence,
    speeds,
    upright,
)
from pipelines.pose.people import CountPeople

SHOULDERS, HIPS = [wb.LEFT_SHOULDER, wb.RIGHT_SHOULDER], [wb.LEFT_HIP, wb.RIGHT_HIP]
BODY = {"height": 100.0, "torso": 28.8}
FPS = 16.0


def track(points, scores=0.9):
    scores = np.broadcast_to(np.float32(scores), np.shape(points)[:-1])
    return PoseTrack(np.asarray(points, np.float32), scores.copy())


def standing(frames=20, at=(100.0, 100.0)):
    """A body 100 px tall by its torso, at rest: its joints fill the box from (50, 50) to (150, 150)."""
    points = np.random.default_rng(0).uniform(-40, 40, (133, 2))
    points[[0, 1]] = (-50, -50), (50, 50)
    points[SHOULDERS], points[HIPS] = (0, -20), (0, -20 + BODY["torso"])
    return np.tile(points + at, (frames, 1, 1))


def moved(by, frames=20):
    """The body, all of it moved by ``by(frame)`` px to the right."""
    points = standing(frames)
    points[..., 0] += np.array([by(frame) for frame in range(frames)])[:, None]
    return points


# where it stands


def test_prominence_is_the_box_of_the_visible_joints():
    points, scores = standing(), np.full((20, 133), 0.9)
    assert prominence(track(points), (400, 200)) == {
        "person_height": 0.25, "person_area": 0.125, "person_x": 0.5, "person_y": 0.25
    }  # fmt: skip
    points[:, 5:] = points[:, 5:] * 0 - 9999
    scores[:, 5:] = wb.VISIBLE  # not above it
    assert prominence(track(points, scores), (400, 200))["person_height"] == 0.25
    assert set(prominence(track(points, 0.0), (400, 200)).values()) == {None}


def test_only_what_lies_in_the_picture_is_prominent():
    assert prominence(track(standing(at=(0, 100))), (200, 200)) == {
        "person_height": 0.5, "person_area": 0.125, "person_x": 0.125, "person_y": 0.5
    }  # fmt: skip


@given(st.floats(-150, 150), st.floats(-150, 150), st.integers(20, 300), st.integers(20, 300))
def test_prominence_is_a_share_wherever_the_body_is(x, y, height, width):
    for share in prominence(track(standing(at=(x, y), frames=3)), (height, width)).values():
        assert 0 <= share <= 1


@pytest.mark.parametrize(
    ("at", "share"),
    [
        ((100, 100), 0.0),
        ((45, 100), 1.0),  # 5 px beyond the left border
        ((155, 100), 1.0),
        ((100, 45), 1.0),
        ((100, 155), 0.0),  # half bodies are cut at the bottom
        ((51.5, 100), 1.0),  # so near the border that the limb is outside
        ((54, 100), 0.0),
    ],
)
def test_a_body_is_clipped_left_right_and_at_the_top(at, share):
    assert clipped(track(standing(at=at)), (200, 200)) == share


def test_clipping_counts_guessed_joints_but_neither_missing_ones_nor_those_below_the_picture():
    points, scores = standing(), np.full((20, 133), 0.9)
    points[:5, wb.LEFT_WRIST], scores[:5, wb.LEFT_WRIST] = (-30, 100), 0.0  # guessed outside
    points[:, wb.LEFT_ANKLE], scores[:, wb.LEFT_ANKLE] = (0, 0), 0.0  # not found
    points[:, wb.RIGHT_ANKLE] = (-10, 230)  # below
    points[:, wb.LEFT_HAND] = (-10, 100)  # no body joints
    assert clipped(track(points, scores), (200, 200)) == 0.25
    scores[10:] = 0
    points[10:] = 0
    assert clipped(track(points, scores), (200, 200)) == 0.5  # of the frames that show somebody
    assert clipped(track(points, 0.0), (200, 200)) is None


# how much is seen


def measured(points, scores=0.9, size=(200, 200)):
    images = np.zeros((len(points), *size, 3), np.uint8)
    return MeasureBody()({"images": images, "track": track(points, scores)})


def test_visibility_is_the_share_of_frames_with_ten_joints():
    scores = np.full((20, 133), 0.9)
    scores[:5, 7:17] = 0
    row = measured(standing(), scores)
    assert row["body_visibility"] == 0.75
    assert row["body_confidence"] == pytest.approx(0.9 * (5 * 7 + 15 * 17) / (20 * 17), rel=1e-5)
    assert row["start_clarity"] == pytest.approx(0.9 * 7 / 17, rel=1e-5)


def test_hands_and_face_are_shares_of_joints_and_frames():
    scores = np.full((20, 133), 0.9)
    scores[:, wb.LEFT_HAND] = 0.3
    scores[:10, wb.RIGHT_HAND] = 0
    scores[:, wb.FACE.start : wb.FACE.start + 17] = 0
    row = measured(standing(), scores)
    assert row["hand_visibility"] == 0.25 and row["face_visibility"] == 0.75


@pytest.mark.parametrize(("degrees", "share"), [(0, 1.0), (59, 1.0), (-59, 1.0), (61, 0.0), (-90, 0.0), (180, 0.0)])
def test_upright_is_a_trunk_within_sixty_degrees_head_up(degrees, share):
    points, angle = standing(), math.radians(degrees)
    points[:, SHOULDERS] = points[0, HIPS[0]] + 30 * np.array([math.sin(angle), -math.cos(angle)])
    assert upright(track(points)) == share
    points[:10] = standing(10)
    assert upright(track(points)) == (1 + share) / 2


def test_a_body_without_hips_has_no_measured_trunk():
    scores = np.full((20, 133), 0.9)
    scores[:, HIPS] = 0
    assert upright(track(standing(), scores)) is None
    assert set(speeds(track(moved(float), scores), FPS).values()) == {None}


# how it moves


@pytest.mark.parametrize("fps", [8.0, 16.0])
def test_speed_is_in_body_heights_per_second(fps):
    speed = 2 * fps / BODY["height"]
    found = speeds(track(moved(lambda n: 2 * n)), fps)
    assert found == pytest.approx({"body_speed": speed, "fastest_motion": speed, "motion_energy": speed**2}, rel=1e-4)
    assert speeds(track(standing()), fps) == {"body_speed": 0.0, "fastest_motion": 0.0, "motion_energy": 0.0}


def test_energy_and_the_fastest_motion_tell_a_jump_from_steady_motion():
    jumps = speeds(track(moved(lambda n: 32 * (n >= 10), frames=17)), FPS)  # one of sixteen steps: 5.12 heights / s
    assert jumps["body_speed"] == pytest.approx(5.12 / 16, rel=1e-4)
    assert jumps["motion_energy"] == pytest.approx(5.12**2 / 16, rel=1e-4)
    assert jumps["fastest_motion"] == pytest.approx(5.12, rel=1e-4)


@settings(max_examples=20)
@given(st.floats(0.3, 5))
def test_motion_does_not_depend_on_the_size_of_the_picture(scale):
    def motion(points):
        return MeasureMotion()({"track": track(points), "fps": FPS})

    points = moved(lambda n: 30 * math.sin(n / 3))
    assert motion(points * scale) == pytest.approx(motion(points), rel=1e-3)


def test_hidden_joints_do_not_count():
    points, scores = moved(lambda n: 2 * n), np.full((20, 133), 0.9)
    points[::2, wb.LEFT_WRIST] += 500
    scores[:, wb.LEFT_WRIST] = 0
    assert speeds(track(points, scores), FPS)["body_speed"] == pytest.approx(0.32, rel=1e-4)
    assert jerk(track(points, scores)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("hertz", [0.5, 1.0, 3.0])
def test_jerk_of_a_swing_follows_from_its_frequency(hertz):
    points = moved(lambda n: 40 * math.sin(2 * math.pi * hertz * n / FPS), frames=160)
    assert jerk(track(points)) == pytest.approx((2 * math.sin(math.pi * hertz / FPS)) ** 2, rel=0.02)


def test_jerk_of_noise_is_the_root_of_ten_and_of_steady_motion_nothing():
    noise = np.random.default_rng(0).normal(0, 1, (400, 133, 2))
    assert jerk(track(standing(400) + noise)) == pytest.approx(math.sqrt(20 / 2), rel=0.03)
    assert jerk(track(moved(lambda n: 3 * n))) == pytest.approx(0, abs=1e-4)


def test_jerk_needs_motion_and_four_frames_in_a_row():
    assert jerk(track(standing())) is None
    assert jerk(track(moved(float, frames=3))) is None
    scores = np.full((20, 133), 0.9)
    scores[::3] = 0
    assert jerk(track(moved(float), scores)) is None


# hands and face


def checked(side=160, step=4):
    y, x = np.mgrid[:side, :side]
    return np.repeat((255 * ((x // step + y // step) % 2)).astype(np.uint8)[..., None], 3, axis=2)


def test_a_sharp_hand_is_sharper_than_one_out_of_focus():
    import cv2

    points = standing(4, at=(80.0, 80.0))
    for part, (x, y) in ((wb.LEFT_HAND, (40, 40)), (wb.RIGHT_HAND, (120, 40)), (wb.FACE, (80, 110))):
        size = part.stop - part.start
        points[:, part] = np.random.default_rng(1).uniform(-16, 16, (size, 2)) + (x, y)
    sharp = np.tile(checked(), (4, 1, 1, 1))
    soft = sharp.copy()
    soft[:, :80] = cv2.GaussianBlur(sharp[0], (0, 0), 4)[:80]
    before = MeasureParts()({"images": sharp, "track": track(points)})
    after = MeasureParts()({"images": soft, "track": track(points)})
    assert after["hand_sharpness"] < 0.6 * before["hand_sharpness"]
    assert after["face_sharpness"] == before["face_sharpness"] > 0.2


def test_a_part_is_cut_out_as_a_square_and_only_where_half_of_it_is_seen():
    image = np.zeros((160, 160, 3), np.uint8)
    image[40:60, 30:70] = 255
    points, scores = np.array([[30, 40], [70, 40], [70, 60], [30, 60]]), np.full(4, 0.9)
    part = cut_out(image, points, scores)
    assert part.shape == (128, 128) and part.dtype == np.uint8
    assert part.mean() / 255 == pytest.approx(40 * 20 / 48**2, abs=0.03)  # 1.2 times the longer side
    assert cut_out(image, points, np.array([0.9, 0.9, 0, 0])) is not None
    assert cut_out(image, points, np.array([0.9, 0, 0, 0])) is None
    assert cut_out(image, points + 500, scores) is None
    assert cut_out(image, points * 0 + 159, scores).shape == (128, 128)


# nobody


def test_all_scores_of_the_pose_are_there_and_within_their_ranges_with_and_without_a_body():
    stages = (MeasureBody(), MeasureMotion(), MeasureParts())
    written = [*CountPeople.writes, *(column for stage in stages for column in stage.writes)]
    assert sorted(written) == sorted(set(POSE_SCORES) - {"aesthetic", "nsfw"})
    rng = np.random.default_rng(2)
    wild = track(rng.normal(50, 200, (6, 133, 2)), rng.uniform(0, 1, (6, 133)))
    single = track(standing(1))
    for each in (None, wild, single, track(standing(6) * 0, 0.0)):
        frames = 6 if each is None else len(each)
        row = {"images": rng.integers(0, 256, (frames, 90, 160, 3), np.uint8), "track": each, "fps": FPS}
        made = {name: value for stage in stages for name, value in stage(row).items()}
        for stage in stages:
            assert set(stage(row)) == set(stage.writes)
        for name, value in made.items():
            low, high = BY_NAME[name].low, BY_NAME[name].high
            assert value is None or ((low is None or value >= low) and (high is None or value <= high)), name
        if each is None:
            assert {made[name] for name in ("body_speed", "jerk", "clipped", "upright", "hand_sharpness")} == {None}
            assert {made[name] for name in ("body_visibility", "hand_visibility", "start_clarity")} == {0.0}
