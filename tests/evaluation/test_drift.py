"""Identity over time: level, drift, slope and coverage of made similarity curves, and the faces' backbone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skeletons import Finds, changed, hidden, reason, skeleton, value

from evaluation.backbones.faces import DETECTOR, FACES, FEATURES, RECOGNISER, Faces, yaw
from evaluation.backbones.random_faces import detector, recogniser
from evaluation.metrics.evidence import Evidence
from evaluation.metrics.registry import METRICS
from infra.errors import SteadyDancerError

FPS = 16.0
TIME = np.arange(81) / FPS
SIZE = (320, 320)


def rows(similarities: np.ndarray) -> np.ndarray:
    """Features of these cosines to (1, 0), of any length; nan where there is none."""
    return 3 * np.stack([similarities, np.sqrt(1 - np.square(similarities))], axis=1).astype(np.float32)


def video(frames: int, level: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(level), (frames, *SIZE, 3))


def faces(similarities, driver=None, reference=1.0) -> Evidence:
    """A video whose faces have these similarities to the reference's; ``driver``: those of its driver's to (1, 0)."""
    known = {1: rows(np.asarray(similarities, float)), 2: rows(np.array([reference])), 3: None}
    known[3] = None if driver is None else rows(np.asarray(driver, float))

    def embedder(backbone, pictures, others):
        assert backbone == "faces"
        return known[pictures[0, 0, 0, 0]]

    frames = len(similarities)
    return Evidence(
        video(frames, 1),
        FPS,
        reference=video(1, 2)[0],
        driving_frames=None if driver is None else video(frames, 3),
        driving_fps=FPS,
        embedder=embedder,
    )


def test_a_person_who_stays_the_same_does_not_drift():
    evidence = faces(np.full(81, 0.7))
    for name, expected in {"level": 0.7, "drift": 0, "slope": 0, "p5": 0.7, "coverage": 1}.items():
        assert value(f"identity_face_{name}", evidence) == pytest.approx(expected, abs=1e-6)


def test_a_straight_drift_and_its_slope():
    evidence = faces(0.95 - 0.032 * TIME)
    assert value("identity_face_slope", evidence) == pytest.approx(-0.032, abs=1e-5)
    assert value("identity_face_drift", evidence) == pytest.approx(0.032 * 73 / FPS, abs=1e-6)  # 8 frames each
    assert value("identity_face_level", evidence) == pytest.approx(0.95 - 0.032 * 2.5, abs=1e-6)
    assert value("identity_face_p5", evidence) == pytest.approx(0.95 - 0.032 * 0.95 * 5, abs=1e-6)


def test_three_bad_frames_do_not_bend_the_slope():
    similarities = 0.95 - 0.032 * TIME
    similarities[[3, 40, 77]] = -0.5, 0.0, 1.0
    evidence = faces(similarities)
    assert value("identity_face_slope", evidence) == pytest.approx(-0.032, abs=1e-5)
    assert abs(np.polyfit(TIME, similarities, 1)[0] + 0.032) > 0.01  # what least squares say
    similarities[1::2] = np.nan
    assert value("identity_face_slope", faces(similarities)) == pytest.approx(-0.032, abs=1e-5)


@given(seed=st.integers(0, 999), offset=st.floats(-0.2, 0.2))
@settings(max_examples=20, deadline=None)
def test_drift_is_that_of_both_ends_whatever_lies_between(seed, offset):
    similarities = np.random.default_rng(seed).uniform(-0.7, 0.7, 81)
    drift = value("identity_face_drift", faces(similarities))
    assert drift == pytest.approx(similarities[:8].mean() - similarities[-8:].mean(), abs=1e-5)
    assert value("identity_face_drift", faces(similarities + offset)) == pytest.approx(drift, abs=1e-5)
    assert value("identity_face_drift", faces(similarities[::-1])) == pytest.approx(-drift, abs=1e-5)
    similarities[8:-8] = 0
    assert value("identity_face_drift", faces(similarities)) == pytest.approx(drift, abs=1e-5)


def test_frames_without_a_face_do_not_count_and_are_told():
    similarities = np.full(80, 0.8)
    similarities[::2] = np.nan
    score = METRICS["identity_face_level"].score(faces(similarities))
    assert score.value == pytest.approx(0.8, abs=1e-6)
    assert score.curve[0] is None and score.curve[1] == pytest.approx(0.8, abs=1e-6)
    assert value("identity_face_coverage", faces(similarities)) == 0.5
    similarities[1] = np.nan
    assert "only 49% of the generated frames" in reason("identity_face_level", faces(similarities))
    assert value("identity_face_coverage", faces(similarities)) == 39 / 80
    assert value("identity_face_coverage", faces(np.full(80, np.nan))) == 0
    assert "reference shows no face" in reason("identity_face_level", faces(similarities, reference=np.nan))
    assert value("identity_face_coverage", faces(similarities, reference=np.nan)) == 39 / 80
    alone = faces(similarities)
    alone.reference = None
    score = METRICS["identity_face_coverage"].score(alone)
    assert score.value == 39 / 80 and score.curve[:4] == (0, 0, 0, 1)


def test_drift_of_ends_that_are_not_there():
    similarities = np.full(81, 0.8)
    similarities[-8:] = np.nan
    assert "last 0.5 s" in reason("identity_face_drift", faces(similarities))
    assert "first 0.5 s" in reason("identity_face_drift", faces(similarities[::-1]))
    assert "no first and last" in reason("identity_face_drift", faces(np.full(15, 0.8)))
    assert value("identity_face_drift", faces(np.full(16, 0.8))) == 0
    assert "less than two" in reason("identity_face_slope", faces([0.8]))
    assert value("identity_face_level", faces([0.8])) == pytest.approx(0.8, abs=1e-6)


def test_what_the_driver_drifts_too_is_no_excess():
    turning = np.cos(0.1 * TIME)  # away from its first frame
    assert value("identity_face_excess_drift", faces(turning, driver=turning)) == pytest.approx(0, abs=1e-6)
    steady = faces(np.full(81, 0.9), driver=turning)
    driven = turning[:8].mean() - turning[-8:].mean()
    assert value("identity_face_excess_drift", steady) == pytest.approx(-driven, abs=1e-6)
    unseen = np.where(np.arange(81) == 0, np.nan, turning)  # then the first frame that shows it is the one
    later = np.cos(0.1 * (TIME - TIME[1]))
    expected = later[1:8].mean() - later[-8:].mean()
    evidence = faces(np.full(81, 0.9), driver=unseen)
    assert value("identity_face_excess_drift", evidence) == pytest.approx(-expected, abs=1e-6)
    gone = faces(np.full(81, 0.9), driver=np.where(TIME < 3, np.nan, turning))
    assert "of the driver's frames" in reason("identity_face_excess_drift", gone)
    assert "no driving video" in reason("identity_face_excess_drift", faces(turning))


def test_the_whole_person_is_cut_out_and_looked_at_by_another_network():
    person = hidden(changed(skeleton(frames=20), shift=-40 - 60j), *range(133), frames=slice(4, 6))
    asked = []

    def embedder(backbone, pictures, others):
        asked.append((backbone, pictures.shape))
        return rows(np.full(len(pictures), 0.6 if len(pictures) > 1 else 1.0))

    def evidence_of(reference_pose, *people) -> Evidence:
        more = {"reference": video(1, 2)[0], "reference_pose": reference_pose, "embedder": embedder}
        return Evidence(video(20, 1), FPS, estimator=Finds(*people), **more)

    evidence = evidence_of(skeleton(), person)
    score = METRICS["identity_person_level"].score(evidence)
    assert score.value == pytest.approx(0.6, abs=1e-6)
    assert [t for t, found in enumerate(score.curve) if found is None] == [4, 5]
    assert value("identity_person_coverage", evidence) == 0.9
    assert asked == [("dino_vitb16_crop224", (1, 256, 256, 3)), ("dino_vitb16_crop224", (20, 256, 256, 3))]
    unseen = evidence_of(hidden(skeleton(), *range(17)), person)
    for whatever_the_reference_shows in (unseen, evidence_of(None, person)):
        assert value("identity_person_coverage", whatever_the_reference_shows) == 0.9
    assert "reference shows no person" in reason("identity_person_level", unseen)
    assert value("identity_person_coverage", evidence_of(skeleton())) == 0
    assert "only 0% of the generated frames" in reason("identity_person_level", evidence_of(skeleton()))


@given(
    turned=st.floats(-80, 80),
    tilt=st.floats(-180, 180),
    size=st.floats(5, 200),
    place=st.tuples(st.floats(0, 500), st.floats(0, 500)),
)
def test_yaw_of_a_turned_head(turned, tilt, size, place):
    eyes, tip = np.array([[-0.5, 0, 0], [0.5, 0, 0]]), np.array([0.0, 0.55, 0.6])
    turn = np.radians(turned)
    seen = [point[0] * np.cos(turn) + point[2] * np.sin(turn) + 1j * point[1] for point in (*eyes, tip)]
    points = size * np.exp(1j * np.radians(tilt)) * np.array(seen) + complex(*place)
    face = np.zeros(15)
    face[4:10] = np.stack([points.real, points.imag], axis=1).ravel()
    assert yaw(face) == pytest.approx(abs(turned), abs=1e-4)


@pytest.fixture(scope="module")
def network() -> Faces:
    return FACES.random(0)


def test_faces_are_one_row_per_picture_the_same_in_any_batch(network):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)
    features = FACES.embed(network, pictures, None)
    assert features.shape == (3, FEATURES) and features.dtype == np.float32 and np.isfinite(features).all()
    alone = np.concatenate([FACES.embed(network, pictures[i : i + 1], None) for i in (2, 1, 0)])[::-1]
    np.testing.assert_array_equal(features, alone)
    assert not np.allclose(features[0], features[1])


def test_a_face_is_found_in_a_picture_that_is_shrunk_for_it(network):
    small = np.random.default_rng(1).integers(0, 256, (128, 256, 3), dtype=np.uint8)
    large = np.kron(small, np.ones((8, 8, 1), np.uint8))
    face, same = network.largest(large), network.largest(large[::2, ::2])
    np.testing.assert_allclose(face[:14], 2 * same[:14], rtol=1e-4)


def test_the_largest_face_counts_unless_it_looks_away(network, monkeypatch):
    frontal = np.float32([10, 10, 20, 20, 15, 15, 25, 15, 20, 20, 15, 25, 25, 25, 0.6])
    away, larger = frontal.copy(), np.float32([*[40, 40, 41, 41], *(40 + 2 * frontal[4:14]), 0.6])
    away[8] += 7

    class Found:
        def setInputSize(self, size):
            pass

        def detect(self, image):
            return 1, rows

    monkeypatch.setattr(network, "_detector", Found())
    picture = np.random.default_rng(2).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    rows = np.stack([frontal, larger])
    both = network.features(picture)
    rows = np.stack([larger, away])
    np.testing.assert_array_equal(network.features(picture), both)
    rows = np.stack([away])
    assert np.isnan(network.features(picture)).all()


def test_pictures_without_a_face_have_rows_of_nan(tmp_path):
    files = {DETECTOR.key: tmp_path / "yunet.onnx", RECOGNISER.key: tmp_path / "sface.onnx"}
    files[DETECTOR.key].write_bytes(detector(0, sure=-4))
    files[RECOGNISER.key].write_bytes(recogniser(0))
    unsure = FACES.load(files)
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    assert np.isnan(FACES.embed(unsure, pictures, None)).all()
    with pytest.raises(SteadyDancerError, match=r"evaluate.weights.sface.*yunet"):
        FACES.load({**files, RECOGNISER.key: files[DETECTOR.key]})
    files[DETECTOR.key].write_bytes(b"no network")
    with pytest.raises(SteadyDancerError, match=r"evaluate.weights.yunet"):
        FACES.load(files)
