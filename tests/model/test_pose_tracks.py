import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.pose.tracks import InvalidPose, PoseTrack, read_pose_file


def track(frames=3, seed=0):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 640, (frames, 133, 2)).astype(np.float32)
    return PoseTrack(keypoints, rng.uniform(0, 1, (frames, 133)).astype(np.float32))


def test_saved_and_loaded_is_the_same_and_saved_twice_the_same_bytes(tmp_path):
    saved = track()
    loaded = PoseTrack.load(saved.save(tmp_path / "a.npz"))
    assert np.array_equal(loaded.keypoints, saved.keypoints) and np.array_equal(loaded.scores, saved.scores)
    assert saved.save(tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


def test_a_file_keeps_the_estimators_confidence_and_what_it_says_of_itself(tmp_path):
    saved, own = track(), track(seed=1).scores
    path = saved.save(tmp_path / "a.npz", confidence=own, about={"fps": 16.0, "size": [360, 640]})
    loaded, confidence, about = read_pose_file(path)
    assert np.array_equal(loaded.scores, saved.scores) and np.array_equal(confidence, own)
    assert about == {"fps": 16.0, "size": [360, 640]}
    buffer = io.BytesIO()
    saved.save(buffer)
    buffer.seek(0)
    assert read_pose_file(buffer)[1:] == (None, {})
    with pytest.raises(InvalidPose, match="scores"):
        saved.save(tmp_path / "b.npz", confidence=own[:2])
    np.savez(tmp_path / "c.npz", keypoints=saved.keypoints, scores=saved.scores, about=np.array("[1]"))
    with pytest.raises(InvalidPose, match=r"c\.npz.*list"):
        read_pose_file(tmp_path / "c.npz")


@given(st.tuples(*[st.integers(1, 4000)] * 4))
def test_resized_there_and_back_is_the_same(sizes):
    one, other = sizes[:2], sizes[2:]
    original = track()
    there = original.resized(one, other)
    assert np.allclose(there.resized(other, one).keypoints, original.keypoints, rtol=1e-6, atol=1e-3)
    assert np.allclose(there.keypoints[..., 0] * one[1], original.keypoints[..., 0] * other[1], rtol=1e-6)
    assert np.allclose(there.keypoints[..., 1] * one[0], original.keypoints[..., 1] * other[0], rtol=1e-6)


@pytest.mark.parametrize("array", ["keypoints", "scores"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused_with_its_frame(array, value):
    arrays = {"keypoints": track().keypoints.copy(), "scores": track().scores.copy()}
    arrays[array][2, 5] = value
    with pytest.raises(InvalidPose, match=f"{array}.*frame 2"):
        PoseTrack(**arrays)


@pytest.mark.parametrize(
    "keypoints, scores, named",
    [
        (np.zeros((2, 17, 2), np.float32), np.zeros((2, 17), np.float32), "keypoints"),
        (np.zeros((2, 133, 2)), np.zeros((2, 133), np.float32), "float64"),
        (np.zeros((0, 133, 2), np.float32), np.zeros((0, 133), np.float32), "T >= 1"),
        (np.zeros((2, 133, 2), np.float32), np.zeros((3, 133), np.float32), "2 frames of keypoints, 3 of scores"),
        (np.zeros((1, 133, 2), np.float32), np.full((1, 133), 1.5, np.float32), "0..1"),
        ([[0, 0]], np.zeros((1, 133), np.float32), "list"),
    ],
)
def test_other_shapes_and_types_are_refused(keypoints, scores, named):
    with pytest.raises(InvalidPose, match=named):
        PoseTrack(keypoints, scores)


def test_files_that_are_no_tracks_are_refused_by_name(tmp_path):
    def refused(path):
        with pytest.raises(InvalidPose, match=path.name):
            PoseTrack.load(path)

    refused(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    refused(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(tmp_path / "array.npy")
    np.savez(tmp_path / "other.npz", keypoints=track().keypoints)
    refused(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", keypoints=np.array([{}], dtype=object), scores=track().scores)
    refused(tmp_path / "pickle.npz")
    whole = track().save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.npz")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    refused(tmp_path / "flipped.npz")


def test_a_slice_is_a_track():
    assert len(track(5)[:1]) == 1
    with pytest.raises(InvalidPose):
        track(5)[5:]
