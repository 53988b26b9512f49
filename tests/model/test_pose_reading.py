"""Pictures and driving videos read and posed: the right frames, moments, pixels. The estimator knows the answer."""

import numpy as np
import pytest
from known_answer import Stub, dance
from PIL import Image

from infra import config
from infra.errors import SteadyDancerError
from model import video
from model.pose import reading
from model.pose.driving import read_driving_tracks
from model.pose.reading import frames_shown, read_driving


@pytest.fixture
def stub():
    return Stub()


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("compat", [False, True])
def test_every_pose_goes_with_the_frame_it_came_from(tmp_path, stub, ending, compat):
    clip = dance(tmp_path / f"dance.{ending}", 32, 16.0)
    settings = config.load("demo", [f"pose.compat={str(compat).lower()}"]).pose
    driving = read_driving(clip, stub, settings, 16.0)
    shown = [int(image[4, 4, 0]) for image in frames_shown(clip, driving.shown)]
    assert shown == pytest.approx(4 * np.arange(32), abs=2)
    assert np.allclose(driving.people[0].track.keypoints[:, 0, 0], 40 + 0.4 * np.arange(32), atol=0.25)


def test_people_are_counted_on_frames_spread_over_the_video(tmp_path, stub, monkeypatch):
    seen = []
    monkeypatch.setattr(stub, "count_people", lambda frames: np.array([seen.append(f[4, 4, 0]) or 1 for f in frames]))
    settings = config.load("demo").pose
    read_driving(dance(tmp_path / "long.mp4"), stub, settings, 16.0, samples=4)
    assert np.round(np.array(seen, float) / 4).tolist() == [6, 18, 30, 42]
    assert len(read_driving(dance(tmp_path / "one.mp4", 1), stub, settings, 16.0, samples=4).counts) == 1


@pytest.mark.parametrize("mode, top", [("I;16", 65535), ("L", 255)])
def test_pictures_of_16_bits_are_scaled(tmp_path, mode, top):
    ramp = np.linspace(0, top, 256).astype(np.uint16 if top > 255 else np.uint8)[None].repeat(8, axis=0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert np.abs(reading.read_picture(tmp_path / "ramp.png")[0, :, 1] - np.arange(256.0)).max() <= 1
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "ramp.tiff")
    with pytest.raises(SteadyDancerError, match="mode F"):
        reading.read_picture(tmp_path / "ramp.tiff")


def test_seconds_cut_the_end_off_and_frames_go_with_their_poses(tmp_path, stub):
    clip = dance(tmp_path / "dance.mp4", fps=24.0)
    settings = config.load("demo").pose
    driving = read_driving(clip, stub, settings, 16.0, seconds=1.0, samples=3)
    assert (
        len(driving.times) == 24
        and len(driving.people[0].track) == 16
        and driving.counts == [1] * 3
        and not driving.whole
    )
    shown = [int(image[4, 4, 0]) for image in frames_shown(clip, driving.shown)]
    assert shown == pytest.approx([4 * int(1.5 * n) for n in range(16)], abs=2)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(
    ("times", "frames"),
    [(np.arange(48) / 7.5, 40), (np.arange(48) / 7.5, 81), (np.delete(np.arange(40) / 10, slice(10, 20)), 20)],
)
def test_the_wanted_frames_are_had_where_the_video_has_them(tmp_path, stub, times, frames, compat):
    """Slower than 16 fps, and uneven: the frame before the end is not behind the last pose."""
    images = np.zeros((len(times), 120, 80, 3), np.uint8)
    images[:] = 4 * np.arange(len(times), dtype=np.uint8)[:, None, None, None]
    clip = video.write(tmp_path / "slow.mp4", images, 7.5, times=times, crf=1)
    settings = config.load("demo", [f"pose.compat={str(compat).lower()}", "pose.clean=never"]).pose
    frames = min(frames, len(times)) if compat else frames
    whole = read_driving_tracks(clip, stub, settings, 16.0)
    read = read_driving_tracks(clip, stub, settings, 16.0, frames=frames)
    assert len(read.tracks[0]) == len(read.shown) == frames <= len(whole.tracks[0])
    assert np.array_equal(read.tracks[0].keypoints, whole.tracks[0].keypoints[:frames])
    assert np.array_equal(read.shown, whole.shown[:frames])


def test_a_frame_past_the_end_is_no_part_of_it(tmp_path, stub):
    """The last pose, at 0.94 s, lies between the last two frames, at 0.8 and 1.2 s."""
    clip = dance(tmp_path / "slow.mp4", 4, 2.5)
    driving = read_driving(clip, stub, config.load("demo").pose, 16.0, seconds=1.0)
    assert len(driving.times) == 4 and len(driving.shown) == 16 and not driving.whole
    person = driving.people[0]
    assert len(person.track) == len(person.confidence) == len(person.uncleaned) == 16


def test_a_saved_track_is_put_to_the_wanted_frame_rate(tmp_path, stub):
    clip = dance(tmp_path / "dance.mp4", fps=24.0)
    settings = config.load("demo").pose
    (track,) = read_driving(clip, stub, settings, 24.0).people
    path = track.track.save(tmp_path / "other.pose.npz", about={"fps": 24.0, "size": [120, 80]})
    saved, direct = (read_driving_tracks(each, stub, settings, 16.0) for each in (path, clip))
    assert saved.size == (120, 80)
    assert np.allclose(saved.tracks[0].keypoints, direct.tracks[0].keypoints, atol=1e-3)
    track.track.save(tmp_path / "bare.pose.npz")
    with pytest.raises(SteadyDancerError, match=r"bare\.mp4 is not beside it"):
        read_driving_tracks(tmp_path / "bare.pose.npz", stub, settings, 16.0)
    dance(tmp_path / "bare.mp4")
    bare = read_driving_tracks(tmp_path / "bare.pose.npz", stub, settings, 16.0, frames=40)
    assert bare.size == (120, 80) and len(bare.tracks[0]) == 40


def test_saved_tracks_of_several_people_lie_beside_each_other(tmp_path, stub):
    settings, about = config.load("demo").pose, {"fps": 16.0, "size": [120, 80]}
    (track,) = stub.estimate(np.zeros((9, 120, 80, 3), np.uint8))
    path = track.save(tmp_path / "two.pose.npz", about=about)
    track.resized((1, 1), (2, 2)).save(tmp_path / "two.person2.pose.npz", about=about)
    read = read_driving_tracks(path, stub, settings, 16.0, people=2, frames=5)
    assert [len(each) for each in read.tracks] == [5, 5] and read.seen == 2 and read.shown is None
    assert np.allclose(read.tracks[1].keypoints, 2 * read.tracks[0].keypoints)
    with pytest.raises(SteadyDancerError, match=r"2 people .*; 3 were asked for"):
        read_driving_tracks(path, stub, settings, 16.0, people=3)
    track[:8].save(tmp_path / "two.person2.pose.npz", about=about)
    with pytest.raises(SteadyDancerError, match="another length"):
        read_driving_tracks(path, stub, settings, 16.0, people=2)
    for wrong in ({"fps": 0, "size": [120, 80]}, {"fps": 16, "size": [0, 80]}, {"fps": "nan", "size": [120, 80]}):
        with pytest.raises(SteadyDancerError, match="size and fps"):
            read_driving_tracks(track.save(tmp_path / "bad.npz", about=wrong), stub, settings, 16.0)


def test_a_long_sided_video_is_searched_small_and_the_poses_are_in_its_own_pixels(tmp_path, stub, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_SIDE", 60)
    clip = dance(tmp_path / "dance.mp4")
    driving = read_driving(clip, stub, config.load("demo").pose, 24.0)
    assert driving.size == (120, 80)
    assert driving.people[0].track.keypoints[0, 0].tolist() == pytest.approx([40, 20], abs=0.5)
