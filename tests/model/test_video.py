"""Reading and writing video: what is shown when, which way up, and what is refused."""

import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from model import video

BITS, CELL = 10, 16


def coded(number: int, height: int = 64) -> np.ndarray:
    """A frame that says its number: a row of black and white cells."""
    bits = np.array([number >> k & 1 for k in range(BITS)], np.uint8)
    return np.repeat(np.tile(np.repeat(bits * 200 + 28, CELL), (height, 1))[..., None], 3, axis=2)


def decoded(image: np.ndarray) -> int:
    row = image[image.shape[0] // 2, CELL // 2 :: CELL, 1]
    return int(sum(1 << k for k, value in enumerate(row) if value > 128))


CORNERS = np.array([[(250, 20, 20), (20, 250, 20)], [(20, 20, 250), (128, 128, 128)]], np.uint8)


def cornered(height: int = 96, width: int = 64) -> np.ndarray:
    return np.repeat(np.repeat(CORNERS, height // 2, axis=0), width // 2, axis=1)


def corners(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return image[np.ix_([height // 4, 3 * height // 4], [width // 4, 3 * width // 4])].astype(int)


def test_what_is_written_is_read(tmp_path):
    images = [coded(k) for k in range(30)]
    path = video.write(tmp_path / "a.mp4", images, 25)
    read = list(video.frames(path))
    assert [decoded(image) for _, image in read] == list(range(30))
    assert np.allclose([time for time, _ in read], np.arange(30) / 25, atol=1e-4)
    assert max(np.abs(image.astype(int) - images[k]).mean() for k, (_, image) in enumerate(read)) < 4
    info = video.probe(path)
    assert (info.width, info.height, info.fps, info.declared_frames, info.rotation) == (160, 64, 25.0, 30, 0)
    assert info.seconds == pytest.approx(30 / 25, abs=0.01)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    images = [coded(k) for k in range(12)]
    once = video.write(tmp_path / "a.mp4", images, 30, metadata={"note": "same"}).read_bytes()
    assert once == video.write(tmp_path / "b.mp4", iter(images), 30, metadata={"note": "same"}).read_bytes()
    assert once != video.write(tmp_path / "c.mp4", images[::-1], 30, metadata={"note": "same"}).read_bytes()


def test_metadata_is_kept(tmp_path):
    path = video.write(tmp_path / "a.mp4", [coded(0)], 30, metadata={"clip_id": "x1"})
    with av.open(str(path)) as container:
        assert container.metadata["clip_id"] == "x1"


@pytest.mark.parametrize("source_fps", [24, 25, 30, 60, 30000 / 1001])
@pytest.mark.parametrize("start", [0.0, 0.35])
def test_resampling_takes_the_frame_shown_at_that_moment(tmp_path, source_fps, start):
    count = round(source_fps * 2)
    path = video.write(tmp_path / "a.mp4", (coded(k) for k in range(count)), source_fps)
    got = [decoded(image) for image in video.read_at(path, start, 25, 16)]
    rate = Fraction(source_fps).limit_denominator(60060)
    first = Fraction(start).limit_denominator(100) + Fraction(1, 1000)  # times are as exact as a container's may be
    expected = [int((first + Fraction(k, 16)) * rate) for k in range(25)]
    assert got == expected


def test_matroska_rounds_its_times_and_shows_the_same_frames(tmp_path):
    path = video.write(tmp_path / "a.mkv", (coded(k) for k in range(32)), 16)
    assert [decoded(image) for image in video.read_at(path, 0.0, 32, 16)] == list(range(32))


@pytest.mark.parametrize("start", [0.9, 1.5, 9.0, 17.33])
def test_a_late_window_is_the_same_as_by_decoding_all_before_it(tmp_path, start):
    noise = np.random.default_rng(0).integers(-20, 20, (600, 64, 160, 3))
    images = [(coded(k) + noise[k]).astype(np.uint8) for k in range(600)]
    path = video.write(tmp_path / "a.mp4", images, 30)
    late = video.read_at(path, start, 17, 16.0)
    whole = video.read_at(path, 0.0, 310, 16.0)
    times = start + np.arange(17) / 16
    assert [decoded(image) for image in late] == [int(t * 30 + 1e-3) for t in times]
    exact = [k for k, t in enumerate(times) if abs(t * 16 - round(t * 16)) < 1e-9]
    assert all((late[k] == whole[round(times[k] * 16)]).all() for k in exact)
    first = next(iter(video.frames(path, start)))[0]
    assert first <= start and first >= start - 1.0 - 250 / 30


def test_resampling_follows_an_uneven_clock(tmp_path):
    gaps = np.random.default_rng(0).choice([1, 2, 3, 5], size=60) / 60
    times = np.cumsum(gaps) - gaps[0]
    path = video.write(tmp_path / "a.mp4", (coded(k) for k in range(60)), 30, times=times)
    assert np.allclose([time for time, _ in video.frames(path)], times, atol=1e-4)
    moments = 0.1 + np.arange(30) / 16
    got = [decoded(image) for image in video.read_at(path, 0.1, 30, 16)]
    assert got == list(np.searchsorted(times, moments + 1e-4, side="right") - 1)


def test_asking_for_more_than_there_is(tmp_path):
    path = video.write(tmp_path / "a.mp4", (coded(k) for k in range(30)), 30)
    assert len(video.read_at(path, 0, 16, 16)) == 16
    with pytest.raises(video.UnreadableVideo, match="asked for"):
        video.read_at(path, 0, 20, 16)


def test_frames_are_resized(tmp_path):
    path = video.write(tmp_path / "a.mp4", [coded(5)] * 8, 8)
    assert video.read_at(path, 0, 4, 4, size=(32, 80)).shape == (4, 32, 80, 3)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotated_videos_come_out_upright(tmp_path, rotation):
    path = video.write(tmp_path / "a.mp4", [cornered()] * 4, 25, rotation=rotation)
    info = video.probe(path)
    assert (info.width, info.height, info.rotation) == (64, 96, rotation)
    with av.open(str(path)) as container:
        stored = container.streams.video[0]
        assert (stored.width, stored.height) == ((96, 64) if rotation % 180 else (64, 96))
    _, image = next(iter(video.frames(path)))
    assert np.abs(corners(image) - CORNERS).max() < 25


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_other_readers_turn_the_same_way(tmp_path, rotation):
    path = video.write(tmp_path / "a.mp4", [cornered()] * 4, 25, rotation=rotation)
    capture = cv2.VideoCapture(str(path))
    assert capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    found, image = capture.read()
    capture.release()
    assert found and image.shape == (96, 64, 3)
    assert np.abs(corners(image[..., ::-1]) - CORNERS).max() < 25


@pytest.mark.parametrize("content", [b"", b"just text\n" * 50, b"\x00\x00\x00\x18ftypmp42" + bytes(300)])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    for read in (video.probe, lambda p: list(video.frames(p)), lambda p: video.read_at(p, 0, 1, 16)):
        with pytest.raises(video.UnreadableVideo, match=r"a\.mp4"):
            read(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(video.UnreadableVideo):
        video.probe(tmp_path / "nowhere.mp4")


def test_damage_inside_is_noticed(tmp_path):
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 255, (64, 160, 3), dtype=np.uint8) for _ in range(30)]
    path = video.write(tmp_path / "a.mp4", images, 30)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 2
    data[middle : middle + 400] = bytes(255 - byte for byte in data[middle : middle + 400])
    path.write_bytes(data)
    with pytest.raises(video.UnreadableVideo):
        list(video.frames(path))


def test_a_file_cut_off_is_refused(tmp_path):
    path = video.write(tmp_path / "a.mp4", (coded(k) for k in range(30)), 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(video.UnreadableVideo):
        video.probe(path)


def test_odd_sizes_and_no_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="even"):
        video.write(tmp_path / "a.mp4", [np.zeros((33, 64, 3), np.uint8)], 25)
    with pytest.raises(ValueError, match="no frame"):
        video.write(tmp_path / "b.mp4", [], 25)


def stretched(path, aspect: Fraction, rotation: int = 0):
    """A circle of 40 pixels, filmed with pixels that are not square."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        image = np.full((96, 128, 3), 40, np.uint8)
        cv2.ellipse(image, (64, 48), (round(20 / float(aspect)), 20), 0, 0, 360, (220, 220, 220), -1)
        for _ in range(5):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1, 2), Fraction(64, 45)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_come_out_square(tmp_path, aspect, rotation):
    path = stretched(tmp_path / "a.mp4", aspect, rotation)
    wide = round(128 * aspect)
    height, width = (wide, 96) if rotation else (96, wide)
    info = video.probe(path)
    assert (info.height, info.width) == (height, width)
    _, image = next(video.frames(path))
    assert image.shape == (height, width, 3)
    rows, columns = np.nonzero(image[..., 1] > 128)
    assert np.ptp(rows) == pytest.approx(40, abs=2) and np.ptp(columns) == pytest.approx(40, abs=2)
    assert video.read_at(path, 0, 2, 25).shape == (2, height, width, 3)


def test_frames_are_picked_by_number(tmp_path):
    path = video.write(tmp_path / "a.mp4", (coded(k) for k in range(60)), 16)
    picked = video.pick(path, [41, 0, 59, 7, 7])
    assert [decoded(image) for image in picked] == [41, 0, 59, 7, 7]
    whole = [image for _, image in video.frames(path)]
    assert np.abs(picked[0].astype(int) - whole[41]).mean() < 3
    for wrong in ([60], [-1], []):
        with pytest.raises(video.UnreadableVideo, match="60"):
            video.pick(path, wrong)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(video.UnreadableVideo):
        video.pick(tmp_path / "b.mp4", [0])


def test_damage_is_hidden_by_decord_and_told_by_raw_frames(tmp_path):
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 255, (64, 160, 3), dtype=np.uint8) for _ in range(30)]
    path = video.write(tmp_path / "a.mp4", images, 30)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 2
    data[middle : middle + 300] = bytes(byte ^ 0x5A for byte in data[middle : middle + 300])
    path.write_bytes(data)
    assert sum(raw.picture.is_corrupt for raw in video.raw_frames(path)) >= 1
    assert len(video.pick(path, range(30))) == 30, "this is why sources are never read with decord"


def test_key_frames_are_spread_and_whole(tmp_path):
    path = video.write(tmp_path / "a.mp4", [coded(3)] * 600, 30)
    found = video.key_frames(path, 6)
    first, second, third = (raw.picture.pts for raw in found)
    assert first == 0 and third == 2 * second > 0
    assert all(decoded(raw.picture.to_ndarray(format="rgb24")) == 3 for raw in found)
    assert len(video.key_frames(path, 1)) == 1


def test_absurd_sizes_and_pictures_are_refused(tmp_path, monkeypatch):
    path = video.write(tmp_path / "a.mp4", [coded(0)] * 4, 25)
    monkeypatch.setattr(video, "LARGEST_SIDE", 128)
    with pytest.raises(video.UnreadableVideo, match="160x64"):
        video.probe(path)
    (tmp_path / "b.mp4").write_bytes(cv2.imencode(".jpg", coded(0))[1].tobytes())
    with pytest.raises(video.UnreadableVideo, match="picture"):
        video.probe(tmp_path / "b.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile victim.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nvictim.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_file_that_shows_another_is_refused(tmp_path, text):
    video.write(tmp_path / "victim.mp4", [coded(k) for k in range(4)], 25)
    (tmp_path / "liar.m3u8").write_text(text)
    with av.open(str(tmp_path / "liar.m3u8"), container_options={"allowed_extensions": "ALL"}) as container:
        assert next(container.decode(video=0)).width == 160, "FFmpeg follows it"
    for read in (video.probe, lambda p: next(video.frames(p)), lambda p: video.key_frames(p, 1)):
        with pytest.raises(video.UnreadableVideo, match="its container is"):
            read(tmp_path / "liar.m3u8")


def test_numbered_pictures_are_no_video(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"a{number}.png"), coded(number))
    with pytest.raises(video.UnreadableVideo):
        video.probe(tmp_path / "a%d.png")


@pytest.mark.parametrize(("angle", "rotation"), [(44, 0), (100, 90), (-80, 270), (170, 180)])
def test_any_angle_is_the_nearest_quarter_turn(tmp_path, angle, rotation):
    path = stretched(tmp_path / "a.mp4", Fraction(1), angle)
    info = video.probe(path)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((96, 128) if rotation % 180 else (128, 96))
    assert next(video.frames(path))[1].shape[:2] == (info.height, info.width)
    assert video.upright_size(next(video.raw_frames(path))) == (info.height, info.width)


def test_a_matrix_of_zeros_turns_nothing(tmp_path):
    path = stretched(tmp_path / "a.mp4", Fraction(1), 90)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = bytes(36)
    path.write_bytes(data)
    assert video.probe(path).rotation == 0


@pytest.mark.parametrize("frames", [41, 0xF0000000])
def test_declared_frames_are_those_that_fit_the_file(tmp_path, frames):
    path = lying(tmp_path / "a.avi", 32, frames)
    assert video.probe(path).declared_frames == (frames if frames == 41 else 0)


@pytest.mark.parametrize("rate", [1001, 1_000_000_000, 0xFFFFFFFF])
def test_absurd_rates_are_refused(tmp_path, rate):
    with pytest.raises(video.UnreadableVideo, match="frames a second, up to 1000"):
        video.probe(lying(tmp_path / "a.avi", 24, rate))


def lying(path, place: int, value: int):
    """An AVI file whose stream header says ``value`` at ``place``: 20 scale, 24 rate, 32 frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuvj420p"
        for _ in range(4):
            for packet in stream.encode(av.VideoFrame.from_ndarray(cornered(), format="rgb24")):
                container.mux(packet)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"strh") + 8 + place, value)
    path.write_bytes(data)
    return path


def test_what_decord_cannot_read_is_picked_too(tmp_path):
    images = [np.full((64, 48, 3), 10 * k, np.uint8) for k in range(20)]
    path = video.write(tmp_path / "a.mp4", images, 16)
    picked = video.pick(path, [15, 0, 7, 7])
    assert picked.shape == (4, 64, 48, 3)
    assert np.allclose(picked.mean(axis=(1, 2, 3)), [150, 0, 70, 70], atol=3)
    with pytest.raises(video.UnreadableVideo, match="20"):
        video.pick(path, [20])
