"""`steadydancer pose`: files in, poses, overlay, summary and pair folder out. The estimator knows the answer."""

import json
import socket

import av
import cv2
import numpy as np
import pytest
from known_answer import Stub, dance, picture
from PIL import Image

import steadydancer
from infra import commits
from infra.errors import SteadyDancerError
from model import video
from model.pose import command, reading
from model.pose.reading import read_reference
from model.pose.tracks import PoseTrack, read_pose_file


@pytest.fixture
def stub(monkeypatch):
    made = Stub()
    monkeypatch.setattr(command, "build_estimator", lambda settings: made)
    return made


def call(*arguments):
    return steadydancer._main([str(each) for each in arguments])


def test_a_video_becomes_poses_at_16_fps_an_overlay_and_a_summary(tmp_path, stub, capsys):
    clip = dance(tmp_path / "dance.mp4")
    assert call("pose", clip, "--out", tmp_path / "poses", "pose.clean=never") == 0
    shown = capsys.readouterr().out
    track, confidence, about = read_pose_file(tmp_path / "poses" / "dance.pose.npz")
    assert len(track) == 32 and about["fps"] == 16.0 and about["size"] == [120, 80] and confidence is None
    # 24 to 16 fps by time: every second pose lies half way between two frames.
    assert np.allclose(track.keypoints[:, 0, 0] - 40, 0.1 * 4 * 1.5 * np.arange(32), atol=0.15)
    info = video.probe(tmp_path / "poses" / "dance.overlay.mp4")
    assert (info.width, info.height, info.fps) == (80, 120, 16.0)
    assert sum(1 for _ in video.frames(tmp_path / "poses" / "dance.overlay.mp4")) == 32
    summary = json.loads((tmp_path / "poses" / "dance.summary.json").read_text())
    assert summary["detector_calls"] == 48 and summary["source"]["frames"] == 48 and summary["retiming"] == "by time"
    assert summary["people_counted"] == [1] * 5 and "detector calls: 48" in shown and "dance.pose.npz" in shown
    assert sorted(each.name for each in (tmp_path / "poses").iterdir()) == [
        "dance.overlay.mp4",
        "dance.pose.npz",
        "dance.summary.json",
    ]


def test_compat_takes_the_frames_as_they_come_and_cleans_nothing(tmp_path, stub):
    clip = dance(tmp_path / "dance.mp4")
    assert call("pose", clip, "--out", tmp_path, "pose.compat=true") == 0
    track, confidence, about = read_pose_file(tmp_path / "dance.pose.npz")
    assert len(track) == 48 and about["fps"] == pytest.approx(24) and about["cleaning"] is None and confidence is None


def test_cleaning_is_recorded_and_leaves_the_estimators_confidence(tmp_path, stub, monkeypatch):
    whole = stub.estimate

    def with_a_gap(frames, people=1):
        (track,) = whole(frames, people)
        track.scores[20:22, 9] = 0.1
        return [track]

    monkeypatch.setattr(stub, "estimate", with_a_gap)
    clip = dance(tmp_path / "dance.mp4", fps=16.0)
    assert call("pose", clip, "--out", tmp_path, "pose.fill_seconds=0.25") == 0
    track, confidence, about = read_pose_file(tmp_path / "dance.pose.npz")
    assert about["cleaning"]["fill_seconds"] == 0.25
    assert (track.scores[20:22, 9] > 0.8).all() and np.allclose(confidence[20:22, 9], 0.1)
    assert call("pose", clip, "--out", tmp_path, "pose.clean=never") == 0
    assert np.allclose(PoseTrack.load(tmp_path / "dance.pose.npz").scores[20:22, 9], 0.1)


def test_a_pair_folder_is_what_the_official_script_takes(tmp_path, stub, capsys):
    clip, photo = dance(tmp_path / "dance.mp4", 24), picture(tmp_path / "photo.jpg")
    pair = tmp_path / "pair"
    arguments = ["pose", clip, "--out", tmp_path, "--reference", photo, "--pair", pair, "--prompt", "Somebody dances."]
    assert call(*arguments, "clip.frames=13") == 0
    assert {each.name for each in pair.iterdir()} == {
        "positive",
        "negative",
        "ref_image.png",
        "driving_video.mp4",
        "prompt.txt",
        "preview.mp4",
        "COMMIT.json",
    }
    for name in ("positive", "negative"):
        files = sorted(each.name for each in (pair / name).iterdir())
        assert files == [f"{number:04d}.jpg" for number in range(16)]
    assert (pair / "driving_video.mp4").read_bytes() == clip.read_bytes()
    assert (pair / "prompt.txt").read_text() == "Somebody dances.\n"
    assert Image.open(pair / "ref_image.png").size == (160, 240)
    positive, negative = (cv2.imread(str(pair / name / "0000.jpg"))[..., ::-1] for name in ("positive", "negative"))
    # 1024 x 576 px of aspect 3:2 are 928 x 624, drawn at twice that; the neck is where the photo's is.
    assert positive.shape == (1856, 1248, 3)
    neck_x, neck_y = round(40 / 80 * 1248), round(40 / 120 * 1856)
    assert positive[neck_y - 3 : neck_y + 4, neck_x - 3 : neck_x + 4].max() > 100
    assert np.abs(positive.astype(int) - negative).max() > 100
    assert commits.verify(pair).kind == "pair"
    again = tmp_path / "again"
    arguments[arguments.index(pair)] = again
    assert call(*arguments, "clip.frames=13") == 0
    assert commits.read(again).id == commits.read(pair).id
    assert call(*arguments, "clip.frames=13") == 1
    assert "not empty" in capsys.readouterr().err


def test_the_official_negative_is_repeated_from_its_seed(tmp_path, stub):
    clip, photo = dance(tmp_path / "dance.mp4", 6), picture(tmp_path / "photo.png")
    pictures = {}
    for seed in (1, 1, 2):
        pair = tmp_path / f"pair{len(pictures)}{seed}"
        arguments = ["pose", clip, "--out", tmp_path, "--reference", photo, "--pair", pair, "--seed", seed]
        assert call(*arguments, "clip.frames=5", "pose.compat=true") == 0
        pictures[pair.name] = (pair / "negative" / "0003.jpg").read_bytes()
    first, again, other = pictures.values()
    assert first == again != other


def test_several_people_are_said_with_the_one_that_was_chosen(tmp_path, stub, capsys):
    stub.people = 3
    clip, photo = dance(tmp_path / "dance.mp4"), picture(tmp_path / "photo.png")
    assert call("pose", clip, "--out", tmp_path, "--people", 2) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "3 people are in the video" in shown and "2 followed. --people 3" in shown
    assert call("pose", clip, "--out", tmp_path) == 0
    assert "1 followed, whose neck is at x=40, y=40" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "dance.person2.pose.npz").exists()
    assert call("pose", clip, "--out", tmp_path, "--people", 2) == 0
    assert (tmp_path / "dance.person2.pose.npz").exists() and not (tmp_path / "dance.person3.pose.npz").exists()
    reference = read_reference(photo, stub)
    assert reference.people == 3 and "photo.png shows 3 people" in reference.note and "x=88, y=80" in reference.note
    assert reference.pose.keypoints[0, 0].tolist() == pytest.approx([88, 40], abs=1)


def test_names_are_printed_as_they_are(tmp_path, stub, capsys):
    clip = dance(tmp_path / "dance [x1Y_z].mp4", 4)
    assert call("pose", clip, "--out", tmp_path / "o") == 0
    out = capsys.readouterr().out
    assert "Pose of dance [x1Y_z].mp4" in out and "dance [x1Y_z].pose.npz" in "".join(out.split("\n"))


def test_what_a_killed_run_left_is_swept(tmp_path, stub):
    left = tmp_path / f".dance.pose.draft~{socket.gethostname()}~{2**22 + 1}~x"
    left.mkdir()
    assert call("pose", dance(tmp_path / "dance.mp4", 4), "--out", tmp_path) == 0
    assert not left.exists()


@pytest.mark.parametrize(
    "arguments, code, named",
    [
        (["--pair", "pair"], 2, "--reference"),
        (["--reference", "photo.png"], 2, "--pair"),
        (["--reference", "dance.mp4", "--pair", "pair", "clip.frames=13"], 1, "not a readable picture"),
        (["--reference", "photo.png", "--pair", "pair", "clip.frames=81"], 1, "32 poses"),
        (["--reference", "photo.png", "--pair", "full"], 1, "not empty"),
        (["--out", "/proc/x"], 1, "cannot be written"),
        (["--people", "0"], 2, "--people"),
        (["pose.estimator=openpose"], 2, "mediapipe"),
    ],
)
def test_wrong_use_is_named(tmp_path, monkeypatch, stub, capsys, arguments, code, named):
    monkeypatch.chdir(tmp_path)
    dance(tmp_path / "dance.mp4")
    picture(tmp_path / "photo.png")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert call("pose", "dance.mp4", *arguments) == code
    assert named in capsys.readouterr().err
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep" and not (tmp_path / "pair").exists()


def test_a_video_or_picture_without_people_is_refused(tmp_path, stub, capsys):
    stub.people = 0
    clip, photo = dance(tmp_path / "dance.mp4"), picture(tmp_path / "photo.png")
    assert call("pose", clip, "--out", tmp_path / "poses") == 1
    assert "dance.mp4: nobody was found" in capsys.readouterr().err
    assert not list((tmp_path / "poses").iterdir())
    with pytest.raises(SteadyDancerError, match=r"photo\.png: nobody"):
        read_reference(photo, stub)


def test_a_damaged_video_leaves_nothing_behind(tmp_path, stub, capsys):
    whole = dance(tmp_path / "dance.mp4", 96).read_bytes()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("text.mp4", "half.mp4"):
        assert call("pose", tmp_path / name, "--out", tmp_path / "poses") == 1
        assert name in capsys.readouterr().err
    assert not list(tmp_path.glob("poses/*"))


def test_the_overlay_plays_everywhere(tmp_path, stub, monkeypatch):
    """yuv420p needs even sides, also of a video that is drawn smaller."""
    monkeypatch.setattr(reading, "LONGEST_SIDE", 61)
    clip = dance(tmp_path / "dance.mp4")
    assert call("pose", clip, "--out", tmp_path) == 0
    with av.open(str(tmp_path / "dance.overlay.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
