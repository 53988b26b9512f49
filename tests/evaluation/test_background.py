"""Where the person is, and what surrounds it: fidelity to the reference, flicker that motion does not explain."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skeletons import Finds, changed, hidden, reason, skeleton, value

from evaluation.metrics.bones import torso_length
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.person import CROP, GREY, REACH, boxes, crops, masks
from evaluation.metrics.registry import METRICS
from model.pose.tracks import PoseTrack

FPS = 16.0
SIZE = (320, 320)
SMALL = changed(skeleton(), scale=0.5, shift=40 + 10j)


def texture(frames=1, size=SIZE, seed=0) -> np.ndarray:
    """Smooth enough for optical flow to follow."""
    coarse = np.random.default_rng(seed).integers(40, 210, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return np.repeat(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)[None], frames, axis=0)


def standing(frames: int, pose: PoseTrack = SMALL) -> PoseTrack:
    return PoseTrack(np.repeat(pose.keypoints[:1], frames, axis=0), np.repeat(pose.scores[:1], frames, axis=0))


def shown(video: np.ndarray, pose: PoseTrack = SMALL, reference=None, reference_pose: PoseTrack | None = SMALL):
    reference = texture()[0] if reference is None else reference
    found = Finds(standing(len(video), pose))
    return Evidence(video, FPS, reference=reference, reference_pose=reference_pose, estimator=found)


@given(scale=st.floats(0.6, 1.2), x=st.floats(-40, 60), y=st.floats(-40, 60))
@settings(max_examples=30, deadline=None)
def test_the_box_holds_every_seen_joint_with_room_around(scale, x, y):
    track = changed(skeleton(), scale=scale, shift=complex(x, y))
    (left, top, side), points = boxes(track, (500, 500))[0], track.keypoints[0]
    inside = ((points >= 0) & (points < 500)).all(axis=1)
    assert (points[inside] - (left, top) >= 0.14 * side).all() and (points[inside] - (left, top) <= 0.86 * side).all()
    assert side == pytest.approx(1.4 * np.ptp(points[inside], axis=0).max(), rel=1e-6)


def test_crops_follow_the_person():
    picture = np.full((*SIZE, 3), 60, np.uint8)
    picture[100:140, 100:120] = 200, 0, 0
    moved = np.roll(picture, (30, -20), axis=(0, 1))
    there, here = crops(picture[None], SMALL), crops(moved[None], changed(SMALL, shift=-20 + 30j))
    assert there.shape == (1, CROP, CROP, 3)
    np.testing.assert_array_equal(there, here)


def test_who_is_not_in_the_picture_has_no_box_and_a_grey_crop():
    outside, faint = changed(SMALL, shift=400), hidden(SMALL, *range(4, 17))
    point = PoseTrack(np.full_like(SMALL.keypoints, 50), SMALL.scores)
    for nobody in (outside, faint, point):
        assert np.isnan(boxes(nobody, SIZE)).all()
        assert (crops(texture(), nobody) == GREY).all()
        assert masks(nobody, SIZE).all()
    (at_the_edge,) = crops(np.full((1, *SIZE, 3), 60, np.uint8), changed(SMALL, shift=-SMALL.keypoints[0, 0, 0]))
    assert (at_the_edge[:, 0] == GREY).all() and (at_the_edge[CROP // 2, -1] == 60).all()


def test_the_mask_reaches_as_far_around_the_person_as_it_says():
    (mask,), points = masks(skeleton(), SIZE), skeleton().keypoints[0]
    reach = REACH * torso_length(skeleton())
    rows, columns = np.nonzero(mask)
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    expected = np.concatenate([points.min(axis=0) - reach, points.max(axis=0) + reach])
    np.testing.assert_allclose(found, expected, atol=1.6)
    assert mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()


def test_a_leg_the_estimator_is_unsure_of_is_no_background():
    scores = SMALL.scores.copy()
    scores[:, [13, 15]] = 0.1
    knee, ankle = SMALL.keypoints[0, [13, 15]]
    x, y = ((knee + ankle) / 2).astype(int)
    assert masks(PoseTrack(SMALL.keypoints, scores), SIZE)[0, y, x]
    scores[:, [*range(13, 23)]] = 0
    assert not masks(PoseTrack(SMALL.keypoints, scores), SIZE)[0, y, x]


def test_a_change_of_the_background_counts_and_one_of_the_person_does_not():
    still = texture(4)
    person = masks(SMALL, SIZE)[0]
    other_person = still.copy()
    other_person[:, person] = 0
    for name, best in {"background_psnr": 100, "background_ssim": 1}.items():
        assert value(name, shown(other_person)) == pytest.approx(best, abs=1e-9)
    brighter = np.where(person[:, :, None], other_person, still + np.uint8(2))
    assert value("background_psnr", shown(brighter)) == pytest.approx(20 * np.log10(255 / 2), abs=1e-9)
    patch = still.copy()
    patch[:, :20, :50] += 10  # 1,000 pixels far from the person
    error = 10**2 * 1000 / (~person).sum()
    assert value("background_psnr", shown(patch)) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
    assert 0.9 < value("background_ssim", shown(patch)) < 1


def test_what_the_person_uncovers_and_covers_is_left_out():
    reference = texture()[0].copy()
    reference[masks(SMALL, SIZE)[0]] = 0
    moved = changed(SMALL, shift=60)
    video = texture(3)
    video[:, masks(moved, SIZE)[0]] = 255
    assert value("background_psnr", shown(video, moved, reference)) == 100


def test_the_curve_tells_when_the_background_changes():
    video = texture(4)
    video[2] += 1
    curve = METRICS["background_psnr"].score(shown(video)).curve
    assert curve == pytest.approx((100, 100, 20 * np.log10(255), 100))


def test_pictures_without_a_background_to_judge():
    video, large = texture(4), changed(skeleton(), scale=4, shift=-480 - 480j)
    for name in ("background_psnr", "background_ssim", "background_flicker"):
        assert "have a background" in reason(name, shown(video, large))
        assert "have a background" in reason(name, shown(video, changed(SMALL, shift=400)))
        nobody = shown(video)
        nobody.estimator = Finds()
        assert "nobody" in reason(name, nobody)
    assert "160x160" in reason("background_psnr", shown(video, reference=video[0, :160, :160]))
    assert "pose of the reference" in reason("background_ssim", shown(video, reference_pose=None))
    gone = shown(video)
    gone.estimator = Finds(hidden(standing(4), *range(133), frames=slice(0, 2)))
    assert METRICS["background_psnr"].score(gone).curve == (None, None, 100, 100)


@pytest.mark.parametrize("name", ["flow_flicker", "background_flicker"])
def test_what_stands_still_has_no_flicker_and_what_alternates_all_of_it(name):
    video = texture(5)
    assert value(name, shown(video)) == 0
    assert value(name, shown(np.full((5, *SIZE, 3), 7, np.uint8))) == 0
    video[1::2] += 10
    score = METRICS[name].score(shown(video))
    assert score.value == pytest.approx(10, abs=0.5)
    assert score.curve[0] is None and len(score.curve) == 5


def test_flicker_does_not_depend_on_how_many_threads_opencv_has(monkeypatch):
    create, used = cv2.DISOpticalFlow_create, []
    monkeypatch.setattr(cv2, "DISOpticalFlow_create", lambda preset: used.append(cv2.getNumThreads()) or create(preset))
    video = texture(3, (320, 400))
    video[1:] = np.roll(video[1:], 3, axis=2) // 2 + video[1:] // 2
    before, said = cv2.getNumThreads(), {}
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            said[threads] = [value(name, shown(video)) for name in ("flow_flicker", "background_flicker")]
            assert "one frame" in reason("flow_flicker", shown(video[:1]))
            assert cv2.getNumThreads() == threads  # as it was found
    finally:
        cv2.setNumThreads(before)
    assert said[1] == said[4] and set(used) == {1}


def test_motion_that_flow_explains_is_hardly_flicker():
    panned = np.stack([np.roll(texture()[0], 2 * t, axis=1)[:, 16:-16] for t in range(5)])
    evidence = shown(panned, reference=panned[0])
    raw = 255 * (1 - value("temporal_flickering", evidence))
    assert value("flow_flicker", evidence) < 0.1 * raw
    assert value("background_flicker", evidence) < 0.1 * raw


def test_flicker_of_the_person_is_none_of_the_background():
    video = texture(5)
    inside = masks(changed(skeleton(), scale=0.4, shift=56 + 26j), SIZE)[0] & masks(SMALL, SIZE)[0]
    video[1::2, inside] = 255 - video[1::2, inside]
    assert value("flow_flicker", shown(video)) > 1
    assert value("background_flicker", shown(video)) < 0.2


def test_what_a_moving_person_covers_and_uncovers_is_no_flicker():
    poses = SMALL, changed(SMALL, shift=70)
    video = texture(2)
    for image, pose in zip(video, poses, strict=True):
        image[masks(pose, SIZE)[0]] = 255
    keypoints, scores = (np.concatenate([getattr(pose, of) for pose in poses]) for of in ("keypoints", "scores"))
    evidence = shown(video)
    evidence.estimator = Finds(PoseTrack(keypoints, scores))
    assert value("flow_flicker", evidence) > 5
    assert value("background_flicker", evidence) < 2


def test_videos_too_short_or_small_for_flow():
    for name in ("flow_flicker", "background_flicker"):
        assert "one frame" in reason(name, shown(texture()))
        assert "too small" in reason(name, shown(texture(3, (24, 320))))
        assert METRICS[name].score(shown(texture(3, (32, 32)))).status in ("ok", "not_computable")
    assert "smaller than the 11 x 11" in reason("background_ssim", shown(texture(3, (8, 320))))
