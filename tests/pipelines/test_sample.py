"""The rendered corpus: its joints lie where the picture shows them, its faults are real, its bytes follow the seed."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from infra import commits
from infra.errors import SteadyDancerError
from infra.schema import Sample
from model import video
from pipelines.sample.corpus import GOOD, takes, write_sample
from pipelines.sample.film import Script, Shot, frame_size
from pipelines.sample.labels import CLIP_SECONDS
from pipelines.sample.record import Take, record

SMALL = Sample(dancers=1, seconds=1.2, short_side=128)
UNREADABLE = {"truncated.mp4", "empty.mp4", "text_file.mp4"}
FAULTS = UNREADABLE | {
    "static.mp4",
    "two_people.mp4",
    "nobody.mp4",
    "cut_in_middle.mp4",
    "letterboxed.mp4",
    "blurred.mp4",
    "too_dark.mp4",
    "too_short.mp4",
    "shaky_camera.mp4",
    "low_resolution.mp4",
    "near_duplicate.mp4",
    "bit_flipped.mp4",
    "variable_frame_rate.mp4",
    "rotated.mp4",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample") / "corpus", SMALL, 0, workers=1, progress=False)


@pytest.fixture(scope="module")
def labels(corpus):
    return json.loads((corpus.path / "labels.json").read_text())


def pictures(corpus, name: str) -> np.ndarray:
    return np.stack([image for _, image in video.frames(corpus.path / "videos" / f"{name}.mp4")])


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "COMMIT.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shot(script: Script, seed: int = 0, frames: int = 12, short_side: int = 360) -> list:
    times = np.arange(frames) * 0.45
    size = frame_size(script.aspect, short_side)
    made = Shot(script, size, times, np.random.default_rng(seed))
    return [(made, *frame) for frame in made.frames()]


def test_the_corpus_is_a_verified_commit(corpus):
    assert commits.verify(corpus).kind == "sample"
    assert {"labels.json", "contact_sheet.jpg"} <= set(corpus.files)
    with pytest.raises(SteadyDancerError, match="already"):
        write_sample(corpus.path, SMALL, 0, workers=1, progress=False)


def test_every_file_has_a_label_and_every_dancer_joints(corpus, labels):
    files = {path.name for path in (corpus.path / "videos").iterdir()}
    assert files == set(labels) == FAULTS | {"dancer_00.mp4"}
    with_joints = {path.stem + ".mp4" for path in (corpus.path / "joints").iterdir()}
    assert with_joints == files - UNREADABLE - {"nobody.mp4", "bit_flipped.mp4"}
    for name, row in labels.items():
        assert row["why"]
        assert (row["verdict"] == "keep") == (row["reason"] is None)
        if row["size"]:
            info = video.probe(corpus.path / "videos" / name)
            assert [info.height, info.width] == row["size"]
            assert info.seconds == pytest.approx(row["seconds"], abs=0.15)
            if name != "variable_frame_rate.mp4":
                assert info.fps == pytest.approx(row["fps"])


def test_joints_come_frame_by_frame(corpus, labels):
    for path in (corpus.path / "joints").iterdir():
        with np.load(path, allow_pickle=False) as joints:
            times = [time for time, _ in video.frames(corpus.path / "videos" / f"{path.stem}.mp4")]
            shape = (2, len(times), 133) if path.stem == "two_people" else (len(times), 133)
            assert joints["keypoints"].shape == (*shape, 2) and joints["keypoints"].dtype == np.float32
            assert joints["scores"].shape == shape
            assert np.allclose(joints["times"], times, atol=1e-3)
            height, width = labels[f"{path.stem}.mp4"]["size"]
            seen = joints["keypoints"][joints["scores"] > 0]
            assert (seen > -1).all() and (seen < (width, height)).all()
            assert (joints["scores"] == 1).mean() > 0.5


@pytest.mark.parametrize(
    "seconds, verdict, reason", [(CLIP_SECONDS + 0.2, "keep", None), (CLIP_SECONDS - 0.2, "reject", "too_short")]
)
def test_labels_follow_from_the_length(tmp_path, seconds, verdict, reason):
    (tmp_path / "videos").mkdir()
    (tmp_path / "joints").mkdir()
    label = record(tmp_path, Take("a", (Script(fps=24),), seconds, 64, (0, 0)))
    assert (label.verdict, label.reason, label.people) == (verdict, reason, 1)


def test_the_default_corpus_says_what_the_thin_gates_must_find(tmp_path):
    reasons = {take.name: take.reason for take in takes(Sample(), 0)}
    assert all(reasons[f"dancer_{k:02d}"] is None for k in range(10))
    assert reasons["static"] == "motion"
    assert reasons["two_people"] == reasons["nobody"] == "person_count"
    assert reasons["cut_in_middle"] == reasons["too_short"] == "too_short"
    assert reasons["rotated"] is None and reasons["variable_frame_rate"] is None
    assert {script.fps for script in GOOD} == {24, 25, 30, 60}
    assert {script.framing for script in GOOD} == {"full", "half"}


def test_the_seed_and_nothing_else_decides_the_bytes(corpus, tmp_path):
    few = Sample(dancers=2, seconds=1.0, short_side=64, faults=False)
    one = write_sample(tmp_path / "one", few, 3, workers=1, progress=False)
    two = write_sample(tmp_path / "two", few, 3, workers=2, progress=False)
    other = write_sample(tmp_path / "other", few, 4, workers=1, progress=False)
    assert hashes(one.path) == hashes(two.path) and one.id == two.id
    different = [name for name, value in hashes(other.path).items() if value != hashes(one.path).get(name)]
    assert {name for name in hashes(one.path) if name.startswith(("videos", "joints"))} <= set(different)


def test_faults_off_leaves_dancers_only():
    assert [take.name for take in takes(Sample(dancers=3, faults=False), 0)] == ["dancer_00", "dancer_01", "dancer_02"]


def _skin_share(shots, offset) -> float:
    """How many of the seen hand points, moved by ``offset`` statures, lie on the dancer's skin colour."""
    hits = []
    for made, picture, keypoints, scores in shots:
        dancer = made.dancers[0]
        skin = dancer.outfit.complexion.skin / np.linalg.norm(dancer.outfit.complexion.skin)
        height, width = picture.shape[:2]
        for (x, y), score in zip(keypoints[0, 91:], scores[0, 91:], strict=True):
            x, y = round(x + offset[0] * dancer.scale[0]), round(y + offset[1] * dancer.scale[0])
            if score == 1 and 0 <= x < width and 0 <= y < height:
                colour = picture[y, x] / max(np.linalg.norm(picture[y, x]), 1)
                hits.append(colour @ skin > 0.9985)
    return float(np.mean(hits))


@pytest.mark.parametrize("script", [Script(backdrop="park"), Script("16:9", "half", "zoom", "room")])
def test_hands_are_painted_where_the_joints_say(script):
    shots = shot(script, seed=5)
    assert _skin_share(shots, (0, 0)) > 0.95
    for offset in ((0.08, 0), (-0.08, 0), (0, 0.08), (0, -0.08)):
        assert _skin_share(shots, offset) < 0.6


def test_the_dancers_left_is_on_the_right_of_the_picture():
    for _, _, keypoints, _ in shot(Script()):
        x, y = keypoints[0, :, 0], keypoints[0, :, 1]
        assert x[5] > x[6] and x[11] > x[12] and x[1] > x[2]
        assert x[23 + 16] > x[23] and y[23 + 8] > y[23 + 27]
        assert y[0] < y[5] < y[11] < y[15] < y[19] + 1
        assert np.allclose(keypoints[0, [91, 112]], keypoints[0, [9, 10]])


def test_moving_cameras_carry_the_joints_along():
    fixed, panned = (shot(Script(camera=kind, backdrop="plaster"), seed=2) for kind in ("fixed", "zoom"))
    a, b = (frames[-1][0].dancers[0].scale for frames in (fixed, panned))
    assert not np.allclose(a, b)
    assert _skin_share(panned, (0, 0)) > 0.95


def test_dancers_move_smoothly_and_keep_their_bones():
    times = np.arange(120) / 60
    made = Shot(Script(), (640, 360), times, np.random.default_rng(1))
    points = made.dancers[0].points()
    steps = np.linalg.norm(np.diff(points[:, :23], axis=0), axis=-1) / made.dancers[0].scale[0]
    assert 0.001 < steps.mean() < 0.05 and steps.max() < 0.09
    for a, b in ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15)):
        length = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
        assert np.ptp(length) / length.mean() < 0.02


def test_static_does_not_move(corpus):
    frames = pictures(corpus, "static").astype(int)
    assert np.abs(np.diff(frames, axis=0)).mean() < 0.5
    with np.load(corpus.path / "joints" / "static.npz") as joints:
        assert np.ptp(joints["keypoints"], axis=0).max() == 0
    with np.load(corpus.path / "joints" / "dancer_00.npz") as joints:
        assert np.ptp(joints["keypoints"], axis=0).max() > 5


def test_the_unreadable_are_refused_and_the_damaged_found(corpus):
    for name in UNREADABLE:
        with pytest.raises(video.UnreadableVideo):
            video.probe(corpus.path / "videos" / name)
    damaged = corpus.path / "videos" / "bit_flipped.mp4"
    assert video.probe(damaged).width == 128
    with pytest.raises(video.UnreadableVideo):
        list(video.frames(damaged))


def test_the_clock_of_the_variable_frame_rate_varies(corpus):
    times = np.array([time for time, _ in video.frames(corpus.path / "videos" / "variable_frame_rate.mp4")])
    gaps = np.diff(times)
    assert gaps.min() > 0 and gaps.max() > 1.5 * gaps.min()


def test_the_rotated_comes_out_upright(corpus):
    info = video.probe(corpus.path / "videos" / "rotated.mp4")
    assert info.rotation == 90 and info.height > info.width
    take = next(take for take in takes(SMALL, 0) if take.name == "rotated")
    rng = np.random.default_rng(take.seed)
    times = np.arange(30) / 25
    rendered = np.stack([frame for frame, _, _ in Shot(take.scripts[0], (228, 128), times, rng).frames()])
    assert np.abs(pictures(corpus, "rotated").astype(int) - rendered).mean() < 6


def test_the_near_duplicate_shows_the_same_in_other_bytes(corpus):
    original, copy = pictures(corpus, "dancer_00"), pictures(corpus, "near_duplicate")
    assert copy.shape[1:3] < original.shape[1:3] and len(copy) == len(original)
    for a, b in zip(original[::7], copy[::7], strict=True):
        assert np.abs(video.resize(a, b.shape[:2]).astype(int) - b).mean() < 6
    videos = corpus.path / "videos"
    assert (videos / "near_duplicate.mp4").read_bytes() != (videos / "dancer_00.mp4").read_bytes()


def test_the_faults_of_the_picture_are_there(corpus):
    def sharpness(frames):
        return np.mean([cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for f in frames[::5]])

    good = pictures(corpus, "dancer_00")
    assert sharpness(pictures(corpus, "blurred")) < 0.1 * sharpness(good)
    assert pictures(corpus, "too_dark").mean() < 15 < 60 < good.mean()
    boxed = pictures(corpus, "letterboxed")
    assert boxed[:, :14].max() < 12 and boxed[:, -14:].max() < 12 and boxed[:, 30:50].mean() > 60
    cut = pictures(corpus, "cut_in_middle").astype(int)
    change = np.abs(np.diff(cut, axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(change) == len(change) // 2 and change.max() > 5 * np.median(change)
    with np.load(corpus.path / "joints" / "shaky_camera.npz") as joints:
        shaken = np.abs(np.diff(joints["keypoints"][:, 11:13].mean(1), n=2, axis=0)).mean()
    with np.load(corpus.path / "joints" / "rotated.npz") as joints:
        assert shaken > 5 * np.abs(np.diff(joints["keypoints"][:, 11:13].mean(1), n=2, axis=0)).mean()


def test_the_embedded_estimator_tracks_the_dancers():
    pytest.importorskip("mediapipe", reason="the embedded extra is not installed")
    from infra.schema import Pose
    from model.pose.estimator import build_estimator

    frames = shot(Script(backdrop="room"), seed=4, frames=6)
    track = build_estimator(Pose()).estimate(np.stack([picture for _, picture, _, _ in frames]))[0]
    truth = np.stack([keypoints[0, :17] for _, _, keypoints, _ in frames])
    torso = np.linalg.norm(truth[:, 5:7].mean(1) - truth[:, 11:13].mean(1), axis=-1)
    error = np.linalg.norm(track.keypoints[:, :17] - truth, axis=-1) / torso[:, None]
    assert (error < 0.2).mean() > 0.95
