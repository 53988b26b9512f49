"""The whole DWPose path on small networks of the real shapes that find coloured markers."""

import numpy as np
import pytest

from model.pose import wholebody
from model.pose.dwpose import MIRRORED
from pipelines.sample.face import landmarks

pytest.importorskip("onnx", reason="the test networks are written with onnx")
pytest.importorskip("onnxruntime", reason="DWPose runs on onnxruntime")

from marker_networks import BLUE, COLOURS, GREEN, RED, build, paint, paint_joints

MIDDLE = np.array([336, 336])
BODY = COLOURS[:17]


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    return build(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def body():
    """A standing figure's 17 joints around (0, 0), about 120 wide and 300 high."""
    x = [0, 14, -14, 30, -30, 45, -45, 58, -58, 55, -55, 30, -30, 32, -32, 30, -30]
    y = [-130, -150, -150, -136, -136, -95, -95, -40, -40, 10, 10, 15, 15, 85, 85, 150, 150]
    return np.stack([x, y], axis=1).astype(float)


def draw(frame, middle, joints, unit=1.0, colours=BODY):
    """Somebody the 17-colour networks see: a red chest and their joints. Returns the joints' places."""
    paint(frame, RED, np.asarray(middle) - (0, 40 * unit), 20 * unit)
    paint_joints(frame, joints * unit + middle, round(5 * unit), colours)
    return joints * unit + middle


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (330, 250)])
def test_people_are_counted_and_the_joints_of_the_main_one_found(estimator, size):
    unit = max(size) / 640  # px of the frame per px of the detector's square
    frames = np.full((3, *size, 3), 40, np.uint8)
    main, other = np.array([112, 176]), np.array([318, 190])
    expected = np.zeros((3, 2, 2))
    for index, frame in enumerate(frames[:2]):
        for person in (main, other)[: index + 1]:
            paint(frame, RED, person * unit, 26 * unit)
        expected[index] = (main + (-20, -70 - 9 * index)) * unit, (main + (30, 80)) * unit
        for colour, place in zip((GREEN, BLUE), expected[index], strict=True):
            paint(frame, colour, place, 5 * unit)
    before = estimator.detector_calls
    assert estimator.count_people(frames).tolist() == [1, 2, 0]
    (track,) = estimator.estimate(frames)
    assert estimator.detector_calls == before + 6
    tolerance = 1 + 2 * unit
    for index in (0, 1):
        for joint in (wholebody.NOSE, wholebody.LEFT_EYE, wholebody.FACE.start, wholebody.RIGHT_HAND.stop - 1):
            assert np.abs(track.keypoints[index, joint] - expected[index, joint % 2]).max() < tolerance
        assert (track.scores[index] > 0.4).all()
    assert not track.scores[2].any()


@pytest.mark.parametrize("detect_every", [1, 4])
@pytest.mark.parametrize("batch", ["n", 1])
def test_every_joint_of_two_dancers_is_followed_whatever_the_batch(tmp_path, body, detect_every, batch):
    frames, expected = np.full((9, 480, 640, 3), 128, np.uint8), []
    for index, frame in enumerate(frames):
        sway = 6 * np.sin(index + np.arange(17) // 5)[:, None]
        large = draw(frame, (150 + 6 * index, 240), body + sway)
        expected.append((large, draw(frame, (500 - 4 * index, 250), body - sway, 0.8)))
    settings = {"detector": {"batch": batch, "person": (160, 360)}, "pose": {"batch": batch, "colours": BODY}}
    settings["detect_every"] = detect_every
    estimator = build(tmp_path, **settings, batch=4)
    tracks = estimator.estimate((frame for frame in frames), people=2)
    assert estimator.detector_calls == len(range(0, 9, detect_every))
    for who, track in enumerate(tracks):
        assert np.abs(track.keypoints[:, :17] - np.array(expected)[:, who]).max() < 3
        assert track.scores[:, :17].min() > 0.4
    for same in (build(tmp_path, **settings, batch=3), build(tmp_path, **settings, batch=1)):
        for track, again in zip(tracks, same.estimate(frames, people=2), strict=True):
            assert np.abs(track.keypoints - again.keypoints).max() < 1e-3
            assert np.abs(track.scores - again.scores).max() < 1e-5


def test_dancers_who_cross_keep_their_tracks(tmp_path, body):
    frames, expected = np.full((24, 480, 640, 3), 128, np.uint8), []
    for index, frame in enumerate(frames):
        behind = draw(frame, (520 - 17 * index, 230), body, 0.9)
        front = draw(frame, (120 + 17 * index, 245), body * (1, 0.95))
        expected.append((front, behind))
    expected = np.array(expected)
    for every in (1, 4):
        networks = {"detector": {"person": (150, 360)}, "pose": {"colours": BODY}}
        tracks = build(tmp_path, **networks, detect_every=every).estimate(frames, people=2)
        for who, track in enumerate(tracks):
            for part in (slice(0, 7), slice(19, 24)):  # the networks take joints of both where two are close
                assert track.scores[part, :17].min() > 0.3
                error = np.linalg.norm(track.keypoints[part, :17] - expected[part, who], axis=-1)
                assert np.median(error, axis=1).max() < 2


def test_detection_between_the_scheduled_frames_finds_who_jumped(tmp_path, body):
    frames, expected = np.full((14, 480, 640, 3), 128, np.uint8), []
    for index, frame in enumerate(frames):
        expected.append(draw(frame, (150 if index < 5 else 290, 240), body))
    estimator = build(tmp_path, detector={"person": (160, 360)}, pose={"colours": BODY}, detect_every=12)
    (track,) = estimator.estimate(frames)
    assert estimator.detector_calls == 3  # frames 0, 12 and the jump
    assert np.abs(track.keypoints[:, :17] - np.array(expected)).max() < 3


def test_the_colours_are_fed_in_the_order_the_networks_know(estimator, tmp_path):
    frame = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frame[0], RED, MIDDLE, 26)
    paint(frame[0], GREEN, MIDDLE - (0, 80), 5)
    paint(frame[0], BLUE, MIDDLE + (0, 80), 5)
    swapped = np.ascontiguousarray(frame[..., ::-1])
    assert estimator.count_people(frame).tolist() == [1]
    assert estimator.count_people(swapped).tolist() == [0]
    assert estimator.estimate(swapped) == []
    compat = build(tmp_path, compat=True)
    assert compat.count_people(frame).tolist() == [0]
    (official,), (correct,) = compat.estimate(swapped), estimator.estimate(frame)
    assert np.array_equal(official.keypoints, correct.keypoints) and np.array_equal(official.scores, correct.scores)
    assert correct.scores.min() > 0.4


def test_the_flip_test_cancels_what_a_network_errs_to_one_side(tmp_path, body):
    """The network errs 2 px of its crop to the right, and knows left and right by the side of the crop only."""
    frames = np.full((1, 480, 640, 3), 128, np.uint8)
    body[1::2, 1] += 9  # nobody's left is as high as their right
    pairs = [COLOURS[(joint + 1) // 2] for joint in range(17)]  # one colour for left and right
    expected = draw(frames[0], (300, 240), body, colours=pairs)
    networks = {"detector": {"person": (160, 360)}}
    networks["pose"] = {"colours": pairs, "sides": np.sign(body[:, 0]), "shift": 2}
    (plain,) = build(tmp_path, **networks).estimate(frames)
    flipping = build(tmp_path, **networks, flip_test=True)
    (flipped,) = flipping.estimate(frames)
    error, better = (track.keypoints[0, :17, 0] - expected[:, 0] for track in (plain, flipped))
    assert error.min() > 1 and np.abs(better).max() < 1 and abs(better.mean()) < 0.5
    assert np.abs(flipped.keypoints[0, :17, 1] - expected[:, 1]).max() < 2
    assert flipped.scores[0, :17].min() > 0.3
    assert flipping.about["flip_test"] is True


def test_the_mirrored_joints_are_those_of_a_mirrored_figure():
    assert (MIRRORED[MIRRORED] == np.arange(133)).all()
    for name in ("EYE", "EAR", "SHOULDER", "ELBOW", "WRIST", "HIP", "KNEE", "ANKLE", "BIG_TOE", "SMALL_TOE", "HEEL"):
        assert MIRRORED[getattr(wholebody, f"LEFT_{name}")] == getattr(wholebody, f"RIGHT_{name}")
    assert (MIRRORED[wholebody.LEFT_HAND] == np.arange(112, 133)).all()
    assert MIRRORED[wholebody.NOSE] == wholebody.NOSE
    face = landmarks(*np.array([[0.2], [0.5], [0.5]]))[0]  # of a rendered dancer: x, y, z from the middle of the head
    there = MIRRORED[wholebody.FACE] - wholebody.FACE.start
    off = np.abs(face[there] * (-1, 1, 1) - face).max(axis=1)
    assert np.flatnonzero(off > 1e-6).tolist() in ([], [8]) and there[8] == 8  # the rendered chin is a little off


def test_a_joint_without_response_has_score_zero_and_a_finite_place(estimator):
    frame = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frame[0], RED, MIDDLE, 26)
    paint(frame[0], GREEN, MIDDLE - (0, 80), 5)
    (track,) = estimator.estimate(frame)
    assert (track.scores[0, ::2] > 0.4).all() and not track.scores[0, 1::2].any()
    assert (track.keypoints[0, 1::2] == -1).all()


def test_a_joints_score_is_the_smaller_of_its_two_axes(estimator):
    scores = []
    for width, height in ((9, 9), (30, 1), (1, 30)):
        frame = np.zeros((1, 640, 640, 3), np.uint8)
        paint(frame[0], RED, MIDDLE, 26)
        paint(frame[0], BLUE, MIDDLE + (0, 80), 9)
        paint(frame[0], GREEN, MIDDLE - (0, 80), np.array([width, height]))
        scores.append(estimator.estimate(frame)[0].scores[0, 0])
    assert scores[0] > 0.8 and max(scores[1:]) < 0.6 * scores[0]


def test_what_is_rather_something_else_is_nobody(tmp_path):
    frame = np.zeros((1, 640, 640, 3), np.uint8)
    paint(frame[0], RED, MIDDLE, 26)
    assert build(tmp_path, detector={"dog": 0.9}).count_people(frame).tolist() == [1]
    assert build(tmp_path, detector={"dog": 1.1}).count_people(frame).tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_in_the_outputs_never_reaches_a_track(tmp_path, value):
    frames = np.zeros((2, 640, 640, 3), np.uint8)
    for frame in frames:
        paint(frame, RED, MIDDLE, 26)
        paint(frame, GREEN, MIDDLE - (0, 80), 5)
        paint(frame, BLUE, MIDDLE + (0, 80), 5)
    for every in (1, 2):
        estimator = build(
            tmp_path, detector={"bad_row": value}, pose={"bad_joints": {5: value, 100: value}}, detect_every=every
        )
        assert estimator.count_people(frames).tolist() == ([2, 2] if value == -np.inf else [1, 1])
        (track,) = estimator.estimate(frames)
        assert not track.scores[:, [5, 100]].any() and (np.delete(track.scores, [5, 100], axis=1) > 0.4).all()
