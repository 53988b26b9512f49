"""Scores of a window that need no person, on pictures whose value is known."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import video
from pipelines.scan import camera, letterbox, lettering
from pipelines.scan.fingerprints import fingerprint, picture_hash
from pipelines.scan.sharpness import blur
from pipelines.scan.source import Probe, Scan
from pipelines.scan.window_scores import ScoreWindow
from pipelines.scan.windows import MakeWindows
from pipelines.work.stage import run

STAGES = (Probe(), Scan(), MakeWindows(17, 8.0, 0.5, 0.1, 1), ScoreWindow())


def cloth(height, width, seed=0, coarse=6):
    """A smooth texture, (height, width) uint8, that can be followed anywhere."""
    draw = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(draw, (0, 0), coarse), None, 30, 220, cv2.NORM_MINMAX).astype(np.uint8)


def coloured(luma):
    return cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)


def scores(path):
    row = {"path": str(path), "source_id": "0" * 64, "source_bytes": path.stat().st_size}
    (found,) = [found for found in run(STAGES, row) if "fault" not in found]
    return found


def seen_by(moves, size=(240, 320), margin=80, content=None):
    """Pictures of a camera that looks at a large cloth from ``moves`` (x, y pixels, of each picture)."""
    whole = cloth(size[0] + 2 * margin, size[1] + 2 * margin)
    for number, (x, y) in enumerate(moves):
        shift = np.float32([[1, 0, -margin - x], [0, 1, -margin - y]])
        image = cv2.warpAffine(whole, shift, size[::-1], flags=cv2.INTER_LINEAR)
        if content is not None:
            content(image, number)
        yield coloured(image)


@settings(max_examples=15, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6), st.floats(-0.04, 0.04), st.floats(-0.04, 0.04))
def test_the_camera_is_found_behind_a_dancer(x, y, zoom, turn):
    height, width = 20, 30
    down, across = np.mgrid[0:height, 0:width] * camera.STEP
    down, across = down - down.mean(), across - across.mean()
    flow = np.stack([x + zoom * across - turn * down, y + turn * across + zoom * down], axis=2).astype(np.float32)
    dancer = np.s_[5:18, 11:20]
    flow[dancer] += (12.0, -9.0)
    found = camera.moved(flow, 0.125)
    tall = height * camera.STEP
    assert np.allclose(found.shift, (x / tall, y / tall), atol=0.004)
    assert (2 * found.zoom, 2 * found.turn) == pytest.approx((zoom, turn), abs=0.004)
    share = 13 * 9 / (height * width)
    assert found.moving == pytest.approx(share, abs=0.03)
    assert found.content == pytest.approx(share * 15 / tall, rel=0.15)


def test_a_pan_is_camera_motion_of_its_speed_and_no_shake(tmp_path):
    path = video.write(tmp_path / "pan.mp4", seen_by([(n * 1.5, 0) for n in range(60)], margin=95), 25)
    found = scores(path)
    assert found["camera_motion"] == pytest.approx(1.5 * 25 / 240, rel=0.1)
    assert found["camera_shake"] < 0.02 and found["motion"] < 0.02 and found["moving_area"] < 0.05


def test_a_trembling_camera_shakes_and_a_still_one_does_not(tmp_path):
    draw = np.random.default_rng(0)
    path = video.write(tmp_path / "shaky.mp4", seen_by(draw.normal(0, 4, (60, 2))), 25)
    shaky = scores(path)
    # steps of 1/8 s between independent places: each axis has a deviation of 4 sqrt(2) pixels
    assert shaky["camera_shake"] == pytest.approx(4 * 2 * 8 / 240, rel=0.35)
    assert shaky["motion"] < 0.1 * shaky["camera_motion"]
    still = scores(video.write(tmp_path / "still.mp4", seen_by([(0, 0)] * 60), 25))
    assert still["camera_shake"] < 0.002 and still["camera_motion"] < 0.002 and still["pixel_change"] < 0.3


def test_what_moves_before_a_still_camera_is_motion_of_its_area(tmp_path):
    block = cloth(120, 80, seed=3)

    def dancer(image, number):
        at = 60 + round(25 * np.sin(number / 6))
        image[60:180, at : at + 80] = block

    found = scores(video.write(tmp_path / "a.mp4", seen_by([(0, 0)] * 60, content=dancer), 25))
    share = 120 * 80 / (240 * 320)
    assert 0.4 * share < found["moving_area"] < 2.5 * share
    speed = 25 / 6 * 25 * 2 / np.pi / 240  # mean of |25/6 cos| pixels a frame, in heights a second
    assert found["motion"] == pytest.approx(share * speed, rel=0.5)
    assert found["camera_motion"] < 0.01


def test_light_is_measured_in_full_range_luma(tmp_path):
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = (200, 50, 50), (50, 50, 200)
    found = scores(video.write(tmp_path / "a.mp4", [image] * 60, 25))
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert found["brightness"] == pytest.approx(luma.mean(), abs=1.5)
    assert found["contrast"] == pytest.approx(luma.std(), abs=1.5)
    assert found["letterbox"] == found["flash"] == found["cut"] == 0
    assert found["short_side"] == 96 and found["duration"] == 2.4
    assert found["bits_per_pixel"] == pytest.approx((tmp_path / "a.mp4").stat().st_size * 8 / (96 * 128 * 60), abs=1e-6)


def test_three_strobes_in_two_seconds(tmp_path):
    still = coloured(cloth(96, 128))
    images = [np.full_like(still, 250) if n in (12, 13, 26, 27, 40, 41) else still for n in range(60)]
    found = scores(video.write(tmp_path / "a.mp4", images, 25))
    assert found["flash"] == pytest.approx(3 / (17 / 8), abs=1e-4) and found["cut"] < 1
    assert (found["shot_start"], found["shot_end"], found["siblings"]) == (0.0, 2.4, 1), "strobes are no cuts"


def test_blur_rises_with_blurring_and_knows_its_ends():
    edges = (np.indices((200, 300)).sum(0) // 25 % 2 * 180 + 30).astype(np.uint8)
    values = [blur(edges), *(blur(cv2.GaussianBlur(edges, (0, 0), sigma)) for sigma in (0.7, 1, 1.5, 2, 3, 4, 6))]
    assert values == sorted(values) and values[0] < 0.15 and values[-1] > 0.6
    assert blur(np.full((40, 40), 9, np.uint8)) == 1.0
    assert blur(edges[:5, :5]) <= 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.booleans(), st.integers(0, 3))
def test_bars_are_found_to_the_line(first, last, beside, noise):
    picture = np.clip(cloth(240, 320).astype(int), 60, 220)
    if beside:
        picture = np.ascontiguousarray(picture.T)
    picture[:first] = 0
    picture[len(picture) - last :] = 0
    picture = np.clip(picture + np.random.default_rng(0).integers(0, noise + 1, picture.shape), 0, 255).astype(np.uint8)
    rows, columns = letterbox.profiles(picture)
    least = letterbox.SMALLEST * len(picture)
    assert letterbox.bars(rows) == (first if first >= least else 0, last if last >= least else 0)
    assert letterbox.bars(columns) == (0, 0)


def test_a_dark_stage_has_no_bars():
    stage = np.full((240, 320), 4, np.uint8)
    cv2.ellipse(stage, (160, 150), (30, 80), 0, 0, 360, 150, -1)
    rows, columns = letterbox.profiles(stage)
    assert letterbox.bars(rows) == letterbox.bars(columns) == (0, 0)
    vignette = (cloth(240, 320) * np.sin(np.linspace(0, np.pi, 240))[:, None] ** 4).astype(np.uint8)
    assert letterbox.bars(letterbox.profiles(vignette)[0]) == (0, 0)
    black = np.zeros((240, 320), np.uint8)
    assert letterbox.bars(letterbox.profiles(black)[0]) == (0, 0)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_bars_are_cropped_in_the_upright_picture_and_counted(tmp_path, rotation):
    image = coloured(cloth(240, 160))
    image[:40], image[-24:] = 0, 0
    found = scores(video.write(tmp_path / "a.mp4", [image] * 60, 25, rotation=rotation))
    top, left, height, width = found["crop"]
    assert (left, width) == (0, 160) and 40 <= top <= 42 and 212 <= top + height <= 216
    assert found["letterbox"] == pytest.approx(64 / 240, abs=0.01) and found["short_side"] == 160
    inside = cloth(240, 160)[40:216]
    assert found["brightness"] == pytest.approx(inside.mean(), abs=2), "bars are no part of the picture"


def test_bars_that_the_key_frames_do_not_show_are_cropped_too(tmp_path):
    image = coloured(cloth(240, 320))
    image[:40], image[-40:] = 0, 0
    images = [np.zeros_like(image)] * 5 + [image] * 60  # one key frame, and it is black
    found = scores(video.write(tmp_path / "a.mp4", images, 25))
    assert found["crop"][0] in range(40, 46) and found["letterbox"] == pytest.approx(1 / 3, abs=0.02)


def bricks(seed=0):
    wall = np.full((480, 853), 190, np.uint8)
    draw = np.random.default_rng(seed)
    for row, y in enumerate(range(0, 480, 24)):
        for x in range(-30 * (row % 2), 853, 60):
            wall[y + 2 : y + 24, max(0, x + 2) : max(0, x + 60)] = draw.integers(60, 110)
    return wall


def written(ground, text, at, size, thick, ink=255):
    return cv2.putText(ground.copy(), text, at, cv2.FONT_HERSHEY_SIMPLEX, size, ink, thick, cv2.LINE_AA)


GRAY = np.full((480, 853), 110, np.uint8)


@pytest.mark.parametrize(
    ("text", "at", "size", "thick", "ink", "area"),
    [
        ("I never said that to her", (180, 440), 0.9, 2, 255, 0.02),
        ("BIG TITLE", (150, 260), 2.5, 6, 255, 0.03),
        ("DANCE", (150, 260), 4, 10, 0, 0.06),
        ("StudioX", (720, 40), 0.7, 2, 255, 0.003),
    ],
)
def test_text_is_found_where_it_is(text, at, size, thick, ink, area):
    found = lettering.text_map(written(GRAY, text, at, size, thick, ink))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    assert 0.5 * width * height / GRAY.size < found.mean() < 2.5 * width * height / GRAY.size
    assert found.mean() > 0.6 * area
    cell = 480 / lettering.CELLS
    rows, columns = np.nonzero(found > 0.5)
    assert rows.min() * cell > at[1] - height - 2 * cell and rows.max() * cell < at[1] + 2 * cell
    assert columns.min() * cell > at[0] - 2 * cell and columns.max() * cell < at[0] + width + 2 * cell


def test_walls_stripes_and_cloth_are_no_text():
    stripes = np.tile((np.arange(853) // 16 % 2 * 200).astype(np.uint8), (480, 1))
    checks = (np.indices((480, 853)) // 20).sum(0) % 2 * 200
    noise = np.random.default_rng(0).integers(0, 255, (480, 853))
    for picture in (bricks(), stripes, stripes.T.copy(), checks, noise, cloth(480, 853, coarse=12), GRAY):
        assert lettering.text_map(picture.astype(np.uint8)).mean() < 0.004


def test_a_logo_that_stays_is_a_watermark_and_a_changing_subtitle_is_not(tmp_path):
    moving = cloth(240, 426, coarse=9) // 2 + 40

    def images(logo):
        for n in range(60):
            ground = np.roll(moving, n, axis=1)
            if logo:
                ground = written(ground, "@dancing_studio", (230, 30), 0.7, 2)
            else:
                ground = written(ground, f"la {'xyz'[n // 15 % 3] * 3} la la", (20 + 9 * n // 5 * 5 % 200, 200), 0.7, 2)
            yield coloured(ground)

    logo = scores(video.write(tmp_path / "logo.mp4", images(True), 25, crf=12))
    words = scores(video.write(tmp_path / "words.mp4", images(False), 25, crf=12))
    assert logo["watermark_area"] > 0.01 and logo["text_area"] > 0.01
    assert words["text_area"] > 0.01 and words["watermark_area"] < 0.3 * words["text_area"]


def test_a_fingerprint_survives_what_copies_suffer():
    picture = cloth(320, 480, seed=1)
    other = cloth(320, 480, seed=2)
    smaller = cv2.resize(picture, (360, 240), interpolation=cv2.INTER_AREA)
    coarse = cv2.imdecode(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_GRAYSCALE)

    def distance(a, b):
        return (picture_hash(a) ^ picture_hash(b)).bit_count()

    assert distance(picture, smaller) <= 4 and distance(picture, coarse) <= 6
    assert 20 <= distance(picture, other) <= 44
    assert fingerprint([picture_hash(picture), 5]) == f"{picture_hash(picture):016x}" + "0" * 15 + "5"


def test_scores_are_the_same_every_time(tmp_path):
    path = video.write(tmp_path / "a.mp4", seen_by([(n, n / 2) for n in range(60)]), 25)
    threads = cv2.getNumThreads()
    first = scores(path)
    cv2.setNumThreads(4)
    again = scores(path)
    cv2.setNumThreads(threads)
    first.pop("signals"), again.pop("signals")
    assert first == again and len(first["fingerprint"]) == 16 * 8


def test_a_grid_of_dots_is_no_text():
    dots = np.zeros((480, 600), np.uint8)
    dots[::2, ::2] = 255
    assert lettering.text_map(dots).max() == 0, "72,000 blobs: more than 16 bits can number"
