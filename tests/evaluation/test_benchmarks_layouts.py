"""Published folder layouts, what is missing of them, and the command that reads them."""

import pytest
from benchmark_files import CONFIG, clip, estimator, manifest, picture, small
from rich.console import Console

from evaluation.benchmarks.check import check, read_benchmark, table_of
from evaluation.benchmarks.command import check_benchmark
from evaluation.benchmarks.manifest import InvalidManifest, read_manifest
from infra.errors import SteadyDancerError, UsageError


def x_dance(folder):
    for number in (1, 2):
        picture(folder / f"data/images/{number:05d}.png", 50 + number)
        clip(folder / f"data/videos/{number:05d}/video.mp4")
        (folder / f"data/videos/{number:05d}/prompt.txt").write_text(f"Dance {number}.\n")
    return folder


def test_x_dance_pairs_every_picture_with_every_video(tmp_path):
    read, problems = read_benchmark("x-dance", x_dance(tmp_path))
    assert not problems and len(read.pairs) == 4
    pair = next(pair for pair in read.pairs if pair.id == "video00002_img00001")
    assert (pair.reference, pair.driving) == ("data/images/00001.png", "data/videos/00002/video.mp4")
    assert pair.prompt == "Dance 2."


def test_everything_missing_or_unreadable_is_told_at_once(tmp_path):
    x_dance(tmp_path)
    (tmp_path / "data/videos/00001/video.mp4").unlink()
    (tmp_path / "data/videos/00002/prompt.txt").write_text("")
    (tmp_path / "data/images/00002.png").write_bytes(b"no picture")
    _, problems = read_benchmark("x-dance", tmp_path)
    told = {problem.path: (problem.expected, problem.found) for problem in problems}
    assert told["data/videos/00001/video.mp4"] == ("a video", "nothing")
    assert told["data/videos/00002/prompt.txt"] == ("the prompt", "an empty file")
    assert "not a readable picture" in told["data/images/00002.png"][1]
    console = Console(width=200, record=True)
    console.print(table_of(problems))
    shown = console.export_text()
    assert all(path in shown for path in told)


def test_two_pictures_of_one_name_would_be_one_pair_and_are_told(tmp_path):
    picture(x_dance(tmp_path) / "data/images/00001.jpg")
    with pytest.raises(InvalidManifest, match="'video00001_img00001' is there twice"):
        read_benchmark("x-dance", tmp_path)


@pytest.mark.parametrize("name", ["x-dance", "tiktok", "realisdance-val"])
def test_an_empty_folder_has_problems_and_no_manifest(tmp_path, name):
    read, problems = read_benchmark(name, tmp_path)
    assert read is None and problems


def test_tiktok_is_frames_or_videos_that_drive_themselves(tmp_path):
    clip(tmp_path / "00340.mp4")
    for number in range(3):
        picture(tmp_path / f"00335/images/{number:04d}.png", 30 + number)
        picture(tmp_path / f"00336/{number:04d}.jpg", 30 + number)
    read, problems = read_benchmark("tiktok", tmp_path)
    assert not problems and [pair.id for pair in read.pairs] == ["00335", "00336", "00340"]
    assert all(pair.same_source for pair in read.pairs)
    assert [(pair.driving, pair.fps) for pair in read.pairs][0] == ("00335/images", 30.0)
    (tmp_path / "00337").mkdir()
    assert [problem.path for problem in read_benchmark("tiktok", tmp_path)[1]] == ["00337"]


def test_realisdance_val_is_a_folder_per_item(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / name / "reference.jpg"), clip(tmp_path / name / "driving.mp4")
        (tmp_path / name / "prompt.txt").write_text("Somebody dances.")
    read, problems = read_benchmark("realisdance-val", tmp_path)
    assert not problems and [pair.reference for pair in read.pairs] == ["a/reference.jpg", "b/reference.jpg"]
    (tmp_path / "b/reference.jpg").unlink()
    assert [problem.path for problem in read_benchmark("realisdance-val", tmp_path)[1]] == ["b/reference.png"]


def test_a_manifest_in_the_folder_overrides_the_layout(tmp_path):
    x_dance(tmp_path)
    pair = {"id": "only", "reference": "data/images/00001.png", "driving": "data/videos/00002/video.mp4"}
    manifest(tmp_path, pair)
    read, problems = read_benchmark("x-dance", tmp_path)
    assert [pair.id for pair in read.pairs] == ["only"] and not problems
    (tmp_path / "benchmark.yaml").write_text("name: 3\npairs: []\n")
    with pytest.raises(InvalidManifest, match="name"):
        read_benchmark("x-dance", tmp_path)


def test_names_that_are_not_known_are_told(tmp_path):
    with pytest.raises(UsageError, match="no layout 'xdance'"):
        read_benchmark("xdance", tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        read_benchmark("x-dance", tmp_path / "nowhere")
    x_dance(tmp_path)
    (tmp_path / "data/videos/00002").rename(tmp_path / "data/videos/no spaces")
    with pytest.raises(InvalidManifest, match="videono spaces_img00001"):
        read_benchmark("x-dance", tmp_path)


def test_check_reads_poses_too(tmp_path):
    from benchmark_files import standing

    folder = small(tmp_path)
    standing(3).save(folder / "d.npz"), (folder / "r.npz").write_bytes(b"PK")
    pair = {"id": "a", "driving": "drivings/0.mp4", "driving_pose": "d.npz"}
    manifest(folder, {**pair, "reference": "references/0.png", "reference_pose": "r.npz"})
    told = {problem.path: problem.found for problem in check(folder, read_manifest(folder))}
    assert told.keys() == {"d.npz", "r.npz"} and "3 poses" in told["d.npz"] and "12 frames" in told["d.npz"]


def command(tmp_path, name, folder, out=None):
    console = Console(width=160, record=True)
    config = CONFIG.model_copy(
        update={
            "work": str(tmp_path / "work"),
            "resources": CONFIG.resources.model_copy(update={"memory_gb": 0.1, "disk_gb": 0.01}),
        }
    )
    return check_benchmark(config, name, folder, out, console, estimator), console.export_text()


def test_the_command_writes_the_manifest_and_shows_the_strata(tmp_path):
    target, told = command(tmp_path, "x-dance", x_dance(tmp_path / "b"))
    assert target == tmp_path / "b/benchmark.yaml" and len(read_manifest(tmp_path / "b").pairs) == 4
    assert "4 pairs of 2 drivers" in told and "dynamics" in told and "start_gap_deg" in told
    assert list((tmp_path / "work/benchmark-poses").glob("*.npz"))
    before = target.read_bytes()
    assert command(tmp_path, "x-dance", tmp_path / "b")[0].read_bytes() == before


def test_the_command_refuses_what_is_not_whole_and_overwrites_nothing(tmp_path):
    x_dance(tmp_path / "b")
    (tmp_path / "b/data/videos/00001/video.mp4").unlink()
    with pytest.raises(SteadyDancerError, match="unreadable files: 1"):
        command(tmp_path, "x-dance", tmp_path / "b")
    assert not (tmp_path / "b/benchmark.yaml").exists()
    clip(tmp_path / "b/data/videos/00001/video.mp4")
    (tmp_path / "other.yaml").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        command(tmp_path, "x-dance", tmp_path / "b", tmp_path / "other.yaml")
    with pytest.raises(UsageError, match=r"other\.yaml/b\.yaml cannot be written: (Not a directory|File exists)"):
        command(tmp_path, "x-dance", tmp_path / "b", tmp_path / "other.yaml/b.yaml")
    assert (tmp_path / "other.yaml").read_text() == "mine"
    target, told = command(tmp_path, "x-dance", tmp_path / "b", tmp_path / "not/there/new.yaml")
    assert target.exists() and not (tmp_path / "b/benchmark.yaml").exists() and "2 drivers" in told
