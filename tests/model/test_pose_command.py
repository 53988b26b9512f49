"""`steadydancer pose`: files in, poses, overlay, summary and pair folder out. The estimator knows the answer."""

import json

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import steadydancer
from infra import commits, config
from infra.errors import SteadyDancerError
from model import video
from model.pose import command, reading
from model.pose.reading import frames_shown, read_driving, read_driving_track, read_reference
from model.pose.tracks import PoseTrack, read_pose_file

SIZE = (120, 80)
JOINTS = {0: (40, 20), 5: (52, 40), 6: (28, 40), 7: (56, 56), 8: (24, 56), 9: (56, 70), 10: (24, 70), 1: (42, 17)}
JOINTS |= {11: (48, 72), 12: (32, 72), 13: (48, 92), 14: (32, 92), 15: (48, 112), 16: (32, 112), 2: (38, 17)}
JOINTS |= {3: (44, 18), 4: (36, 18)}


class Stub:
    """Sees ``people`` persons; the first moves right by one pixel per unit of grey of the frame."""

    def __init__(self, people=1):
        self.people, self.detector_calls, self.about = people, 0, {"name": "stub"}

    def estimate(self, frames, people=1):
        shifts, scale = [], 1.0
        for frame in frames:
            self.detector_calls += 1
            scale = frame.shape[0] / SIZE[0]
            shifts.append(float(frame[0, 0, 0]))
        points = np.full((len(shifts), 133, 2), 5.0, np.float32)
        scores = np.zeros((len(shifts), 133), np.float32)
        for joint, place in JOINTS.items():
            points[:, joint], scores[:, joint] = place, 0.9
        points[..., 0] += np.array(shifts)[:, None] / 10
        return [PoseTrack((points * scale).astype(np.float32), scores)] * min(people, self.people)

    def count_people(self, frames):
        return np.full(len(frames), self.people)


@pytest.fixture
def stub(monkeypatch):
    made = Stub()
    monkeypatch.setattr(command, "build_estimator", lambda settings: made)
    return made


def dance(path, frames=48, fps=24.0, size=SIZE):
    """A video whose top left pixel tells the frame's number."""
    images = np.full((frames, *size, 3), 90, np.uint8)
    images[:, :16, :16] = (4 * np.arange(frames))[:, None, None, None]
    return video.write(path, images, fps, crf=1)


def picture(path, size=(240, 160)):
    Image.fromarray(np.full((*size, 3), 40, np.uint8)).save(path)
    return path


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
    assert summary["people_counted"] == 1 and "detector calls: 48" in shown and "dance.pose.npz" in shown
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
    assert "3 people are in the video" in capsys.readouterr().out
    assert (tmp_path / "dance.2.pose.npz").exists() and not (tmp_path / "dance.3.pose.npz").exists()
    reference = read_reference(photo, stub)
    assert reference.people == 3 and "photo.png shows 3 people" in reference.note and "x=" in reference.note
    assert reference.pose.keypoints[0, 0].tolist() == pytest.approx([88, 40], abs=1)


@pytest.mark.parametrize(
    "arguments, code, named",
    [
        (["--pair", "pair"], 2, "--reference"),
        (["--reference", "photo.png"], 2, "--pair"),
        (["--reference", "dance.mp4", "--pair", "pair"], 1, "not a readable picture"),
        (["--reference", "photo.png", "--pair", "pair", "clip.frames=81"], 1, "32 poses"),
        (["--reference", "photo.png", "--pair", "full"], 1, "not empty"),
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
    assert not list((tmp_path / "poses").iterdir())


def test_seconds_cut_the_end_off_and_frames_go_with_their_poses(tmp_path, stub):
    clip = dance(tmp_path / "dance.mp4", fps=24.0)
    settings = config.load("demo").pose
    driving = read_driving(clip, stub, settings, 16.0, seconds=1.0, samples=3)
    assert len(driving.times) == 24 and len(driving.people[0].track) == 16 and driving.counted == 1
    shown = [int(image[4, 4, 0]) for image in frames_shown(clip, driving.times, 16, 16.0)]
    assert shown == pytest.approx([4 * int(1.5 * n) for n in range(16)], abs=2)


def test_a_saved_track_is_put_to_the_wanted_frame_rate(tmp_path, stub):
    clip = dance(tmp_path / "dance.mp4", fps=24.0)
    settings = config.load("demo").pose
    (track,), _, fps, *_ = read_driving(clip, stub, settings, 24.0)
    path = track.track.save(tmp_path / "other.pose.npz", about={"fps": fps, "size": [120, 80]})
    saved, size = read_driving_track(path, stub, settings, 16.0)
    direct, _ = read_driving_track(clip, stub, settings, 16.0)
    assert size == (120, 80) and np.allclose(saved.keypoints, direct.keypoints, atol=1e-3)
    track.track.save(tmp_path / "bare.pose.npz")
    with pytest.raises(SteadyDancerError, match=r"bare\.mp4 is not beside it"):
        read_driving_track(tmp_path / "bare.pose.npz", stub, settings, 16.0)
    dance(tmp_path / "bare.mp4")
    bare, size = read_driving_track(tmp_path / "bare.pose.npz", stub, settings, 16.0)
    assert size == (120, 80) and len(bare) == 48


def test_a_long_sided_video_is_searched_small_and_the_poses_are_in_its_own_pixels(tmp_path, stub, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_SIDE", 60)
    clip = dance(tmp_path / "dance.mp4")
    driving = read_driving(clip, stub, config.load("demo").pose, 24.0)
    assert driving.size == (120, 80)
    assert driving.people[0].track.keypoints[0, 0].tolist() == pytest.approx([40, 20], abs=0.5)


def test_the_overlay_plays_everywhere(tmp_path, stub):
    """yuv420p needs even sides."""
    clip = dance(tmp_path / "dance.mp4", size=(122, 82))
    assert call("pose", clip, "--out", tmp_path) == 0
    with av.open(str(tmp_path / "dance.overlay.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
