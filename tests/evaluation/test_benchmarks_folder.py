"""A folder with a manifest, opened: frames, poses, time maps, and files that are not as they should be."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import CONFIG, FPS, FRAMES, SIZE, Standing, clip, estimator, manifest, picture, small, standing

from evaluation.benchmarks.folder import folder_benchmark
from evaluation.benchmarks.poses import Poses
from infra.config import load
from infra.errors import SteadyDancerError
from model import video
from model.pose.tracks import PoseTrack


def built(folder: Path, kept: Path | None = None, config=CONFIG, **more):
    return folder_benchmark(folder, Poses(kept or folder.parent / "kept", config.pose, estimator), **more)


def pair_of(benchmark, name: str):
    return next(pair for pair in benchmark.pairs if pair.id == name)


def test_pairs_are_opened_with_frames_poses_and_strata(tmp_path):
    benchmark = built(small(tmp_path / "b"))
    assert [(p.id, p.kind) for p in benchmark.pairs][-1] == ("itself", "same_source") and len(benchmark.pairs) == 5
    assert len({pair.driving for pair in benchmark.pairs}) == 2
    again = pickle.loads(pickle.dumps(benchmark))  # noqa: S301 - our own
    assert len(pickle.dumps(benchmark)) < 20_000 and again.id == benchmark.id
    opened = again.open(pair_of(again, "d1_r0"))
    assert opened.reference.shape == (*SIZE, 3) and opened.driving_frames.shape == (FRAMES, *SIZE, 3)
    assert (opened.driving_fps, len(opened.driving), len(opened.reference_pose)) == (FPS, FRAMES, 1)
    itself = again.open(pair_of(again, "itself"))
    assert itself.same_source and (itself.reference == itself.driving_frames[0]).all()
    assert (itself.reference_pose.keypoints[0] == itself.driving.keypoints[0]).all()
    assert pair_of(benchmark, "d0_r0").strata["start_gap_deg"] == pytest.approx(0, abs=0.1)


def test_a_pose_is_estimated_once_per_file_and_kept_by_content(tmp_path):
    Standing.asked = 0
    first = built(small(tmp_path / "b"))
    assert Standing.asked == 3  # both drivers have the same bytes, the references have not
    assert built(tmp_path / "b").id == first.id and Standing.asked == 3
    (tmp_path / "b").rename(tmp_path / "moved")
    moved = built(tmp_path / "moved", tmp_path / "kept")
    moved.open(moved.pairs[0])
    assert moved.id == first.id and Standing.asked == 3
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert built(tmp_path / "moved", tmp_path / "kept").pairs == first.pairs and Standing.asked == 6
    other = load("demo", ["pose.smooth_seconds=0.5"])
    built(tmp_path / "moved", tmp_path / "kept", other)
    assert Standing.asked == 9
    by_weights = load("demo", [f"pose.weights={tmp_path / 'joints.onnx'}"])
    for content, asked in ((b"one", 12), (b"one", 12), (b"other", 15)):
        (tmp_path / "joints.onnx").write_bytes(content)
        built(tmp_path / "moved", tmp_path / "kept", by_weights)
        assert Standing.asked == asked


def test_the_id_follows_the_content_and_nothing_else(tmp_path):
    first = built(small(tmp_path / "b"))
    changed = {pair.id: pair.content for pair in first.pairs}
    picture(tmp_path / "b/references/1.png", 200)
    second = built(tmp_path / "b")
    assert second.id != first.id
    assert {pair.id for pair in second.pairs if pair.content != changed[pair.id]} == {"d0_r1", "d1_r1"}
    text = (tmp_path / "b/benchmark.yaml").read_text()
    (tmp_path / "b/benchmark.yaml").write_text(text.replace("A person dances.", "A person jumps.", 1))
    third = built(tmp_path / "b")
    assert [a.id for a, b in zip(third.pairs, second.pairs, strict=True) if a.content != b.content] == ["d0_r0"]


@pytest.mark.parametrize(
    ("rule", "fps", "wanted"),
    [("time", 12.0, [0, 2, 4, 6, 8]), ("index", 12.0, [0, 1, 2, 3, 4]), ("time", 16.0, [0, 1, 3, 4, 6])],
)
def test_the_time_map_says_which_pose_drives_a_frame(tmp_path, rule, fps, wanted):
    benchmark = built(small(tmp_path / "b", time_map=rule))
    opened = benchmark.open(benchmark.pairs[0])
    assert opened.time_map(5, fps).tolist() == wanted
    assert (opened.driven(5, fps).keypoints == opened.driving.keypoints[wanted]).all()
    config = CONFIG.model_copy(update={"clip": CONFIG.clip.model_copy(update={"fps": fps})})
    itself = benchmark.open(pair_of(benchmark, "itself"))
    fed = itself.fed_pose(config)
    # seen from the driver, a frame that drove one of the video has that one's pose
    assert len(fed) == wanted[-1] + 1 and (fed.keypoints[wanted] == itself.condition_pose(config).keypoints).all()


def test_compat_plays_every_driver_by_index_and_a_short_one_is_told(tmp_path):
    benchmark = built(small(tmp_path / "b"), compat=True)
    assert benchmark.id != built(tmp_path / "b").id
    opened = benchmark.open(benchmark.pairs[0])
    assert opened.time_map(5, 12.0).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(SteadyDancerError, match="12 frames at 24 fps; 13 frames one for one need 13"):
        opened.driven(13, 12.0)


def test_frames_in_folders_other_sizes_one_frame_and_grey_or_alpha_pictures(tmp_path):
    folder = tmp_path / "b"
    for number in range(12):
        picture(folder / f"frames/{number}.png", 20 + number)  # 10 comes after 9
    clip(folder / "one.mp4", frames=1, size=(90, 64))
    pairs = [{"id": "frames", "driving": "frames", "fps": 30.0, "same_source": True}]
    for mode in ("L", "RGBA", "P", "I;16"):
        picture(folder / f"{mode[0]}.png", mode=mode, size=(70, 50))
        pairs.append({"id": mode[0], "driving": "one.mp4", "reference": f"{mode[0]}.png"})
    benchmark = built(manifest(folder, *pairs))
    opened = benchmark.open(benchmark.pairs[0])
    assert opened.driving_fps == 30 and opened.driving_frames[:, 0, 0, 0].tolist() == list(range(20, 32))
    for pair in benchmark.pairs[1:]:
        opened = benchmark.open(pair)
        assert opened.reference.shape == (70, 50, 3) and opened.driving_frames.shape == (1, 90, 64, 3)
    picture(folder / "frames/5.png", size=(20, 20))
    with pytest.raises(SteadyDancerError, match="5.png: 20x20 pixels, the first frame has 32x48"):
        benchmark.open(benchmark.pairs[0])


def test_of_a_varying_frame_rate_the_frames_of_even_moments_are_taken(tmp_path):
    images = [np.full((*SIZE, 3), 10 + 20 * t, np.uint8) for t in range(6)]
    (tmp_path / "b").mkdir()
    video.write(tmp_path / "b/d.mp4", images, 10.0, times=[0, 0.1, 0.2, 0.5, 0.6, 0.7])
    pair = {"id": "a", "driving": "d.mp4", "same_source": True}
    opened = (by_time := built(manifest(tmp_path / "b", pair))).open(by_time.pairs[0])
    moments = np.arange(len(opened.driving_frames)) / opened.driving_fps
    shown = np.searchsorted([0, 0.1, 0.2, 0.5, 0.6, 0.7], moments + 1e-3, side="right") - 1
    assert np.abs(opened.driving_frames[:, 0, 0, 0].astype(int) - (10 + 20 * shown)).max() <= 3
    by_index = built(manifest(tmp_path / "b", pair, time_map="index"))
    assert len(by_index.open(by_index.pairs[0]).driving_frames) == 6


def test_given_poses_are_taken_and_must_fit(tmp_path):
    Standing.asked = 0
    folder = tmp_path / "b"
    clip(folder / "d.mp4"), picture(folder / "r.png")
    standing(FRAMES, 0.7).save(folder / "d.npz"), standing(1, 0.1).save(folder / "r.npz")
    poses = {"driving_pose": "d.npz", "reference_pose": "r.npz"}
    benchmark = built(manifest(folder, {"id": "a", "driving": "d.mp4", "reference": "r.png", **poses}))
    opened = benchmark.open(benchmark.pairs[0])
    assert Standing.asked == 0 and (opened.driving.keypoints == standing(FRAMES, 0.7).keypoints).all()
    standing(FRAMES - 1).save(folder / "d.npz")
    with pytest.raises(SteadyDancerError, match="11 poses, 12 frames"):
        built(folder).open(benchmark.pairs[0])
    (folder / "d.mp4").unlink()
    assert built(folder).pairs[0].strata == {}
    with pytest.raises(SteadyDancerError, match=r"d.mp4 is missing"):
        built(folder).open(benchmark.pairs[0])


def test_a_large_driver_is_made_smaller_and_its_given_pose_with_it(tmp_path):
    folder = tmp_path / "b"
    clip(folder / "d.mp4", frames=2, size=(64, 2560))
    standing(2, scale=10).save(folder / "d.npz")
    benchmark = built(manifest(folder, {"id": "a", "driving": "d.mp4", "driving_pose": "d.npz", "same_source": True}))
    opened = benchmark.open(benchmark.pairs[0])
    assert opened.driving_size == (32, 1280)
    assert np.allclose(opened.driving.keypoints, standing(2, scale=5).keypoints, atol=1e-3)


def test_nobody_in_a_reference_is_no_pose_and_no_default(tmp_path):
    folder = small(tmp_path / "b")
    picture(folder / "references/0.png", 0)
    benchmark = built(folder)
    opened = benchmark.open(pair := pair_of(benchmark, "d0_r0"))
    assert opened.reference_pose is None and "start_gap_deg" not in pair.strata
    with pytest.raises(SteadyDancerError, match="Nobody was found in the reference"):
        opened.condition_pose(CONFIG)


def test_a_damaged_or_missing_file_costs_its_own_pairs(tmp_path):
    folder = small(tmp_path / "b")
    (folder / "references/1.png").unlink()
    content = (folder / "drivings/1.mp4").read_bytes()
    (folder / "drivings/1.mp4").write_bytes(content[: len(content) // 2])
    benchmark = built(folder)
    assert len(benchmark.pairs) == 5 and benchmark.open(pair_of(benchmark, "d0_r0"))
    with pytest.raises(SteadyDancerError, match=r"references/1.png is missing"):
        benchmark.open(pair_of(benchmark, "d0_r1"))
    with pytest.raises(SteadyDancerError, match=r"drivings/1.mp4"):
        benchmark.open(pair_of(benchmark, "d1_r0"))
    assert "dynamics" not in pair_of(benchmark, "d1_r0").strata


def test_strata_of_the_manifest_count_more_than_measured_ones(tmp_path):
    folder = tmp_path / "b"
    clip(folder / "d.mp4"), picture(folder / "r.png")
    told = {"style": "anime", "dynamics": "as people say", "age": 7}
    benchmark = built(manifest(folder, {"id": "a", "driving": "d.mp4", "reference": "r.png", "strata": told}))
    assert told.items() <= benchmark.pairs[0].strata.items() and "framing" in benchmark.pairs[0].strata
    assert isinstance(PoseTrack.load(next((tmp_path / "kept").iterdir())), PoseTrack)


def test_a_large_driver_of_frames_has_other_files_beside_them(tmp_path):
    folder = tmp_path / "b"
    for number in range(2):
        picture(folder / f"frames/{number}.png", size=(64, 2560))
    for name in ("frames/.DS_Store", "frames/readme.txt"):
        (folder / name).write_bytes(b"no picture")
    (folder / "frames/readme.txt").rename(folder / "frames/!first.txt")
    standing(2, scale=10).save(folder / "d.npz")
    driver = {"driving": "frames", "fps": 30.0, "driving_pose": "d.npz", "same_source": True}
    benchmark = built(manifest(folder, {"id": "a", **driver}))
    assert benchmark.open(benchmark.pairs[0]).driving_size == (32, 1280)


def test_a_frame_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "b"
    picture(folder / "frames/0.png"), picture(tmp_path / "secret.png")
    (folder / "frames/1.png").symlink_to(tmp_path / "secret.png")
    benchmark = built(manifest(folder, {"id": "a", "driving": "frames", "fps": 30.0, "same_source": True}))
    with pytest.raises(SteadyDancerError, match=r"frames/1\.png is a link out of its folder"):
        benchmark.open(benchmark.pairs[0])
