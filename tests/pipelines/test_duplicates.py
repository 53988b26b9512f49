"""Near-duplicates: copies are found whatever was done to them, and other clips are left alone."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import SteadyDancerError
from model import video
from pipelines.duplicates import near_duplicates, rank

PICTURES = 20


def clip(name, hashes, source=None, **columns):
    text = np.asarray(hashes, np.uint64).astype(">u8").tobytes().hex()
    return {"clip_id": name, "source_id": source or name, "fingerprint": text, **columns}


def walk(rng, pictures=PICTURES, background=None):
    """Pictures of a dancer before a background: about it 8 bits change from each to the next."""
    first = rng.integers(0, 2**64, dtype=np.uint64) if background is None else background
    return first ^ np.bitwise_xor.accumulate(flipped(rng, np.zeros(pictures, np.uint64), 8))


def flipped(rng, hashes, bits):
    masks = [sum(1 << int(bit) for bit in rng.permutation(64)[:bits]) for _ in hashes]
    return hashes ^ np.array(masks, np.uint64)


@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(0, 8), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_a_copy_is_found_at_every_shift_and_nothing_else_is(seed, shift, bits, others):
    rng = np.random.default_rng(seed)
    whole = walk(rng, PICTURES + shift)
    rows = [clip("a", whole[:PICTURES]), clip("b", flipped(rng, whole[shift:], bits))]
    rows += [clip(f"other{k}", walk(rng)) for k in range(others)]
    groups = near_duplicates(rows, 8)
    assert groups == {"a": "a", "b": "a"}
    assert near_duplicates([rows[k] for k in rng.permutation(len(rows))], 8) == groups


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_beyond_distance_or_overlap_nothing_is_found(seed):
    rng = np.random.default_rng(seed)
    whole = walk(rng, PICTURES + 9)
    assert near_duplicates([clip("a", whole[:PICTURES]), clip("b", flipped(rng, whole[:PICTURES], 11))], 10) == {}
    assert near_duplicates([clip("a", whole[:PICTURES]), clip("b", whole[9:])], 0) == {}
    assert near_duplicates([clip("a", whole[:PICTURES]), clip("b", whole[8:-1])], 0) == {"a": "a", "b": "a"}


def test_a_shorter_clip_is_found_in_a_longer_one():
    whole = walk(np.random.default_rng(0), 30)
    assert near_duplicates([clip("long", whole), clip("short", whole[3:11])], 0) == {"long": "long", "short": "long"}


def test_one_room_and_other_moments_are_no_copy_and_windows_of_one_source_are_never_compared():
    rng = np.random.default_rng(1)
    room = rng.integers(0, 2**64, dtype=np.uint64)
    takes = [flipped(rng, np.full(PICTURES, room), 4) for _ in range(20)]
    assert near_duplicates([clip(f"take{k:02d}", take) for k, take in enumerate(takes)], 10) == {}
    assert near_duplicates([clip("a", takes[0], "one"), clip("b", takes[0], "one")], 10) == {}


def test_pictures_without_content_and_without_change_are_no_evidence():
    rng = np.random.default_rng(2)
    black, still = np.zeros(PICTURES), np.full(PICTURES, rng.integers(0, 2**64, dtype=np.uint64))
    rows = [clip(f"{name}{k}", hashes) for k in range(3) for name, hashes in (("black", black), ("still", still))]
    assert near_duplicates(rows, 10) == {}
    one, two = walk(rng), walk(rng)
    one[:10] = two[:10] = 2**64 - 1
    assert near_duplicates([clip("a", one), clip("b", two)], 10) == {}
    one, two = walk(rng), walk(rng)
    two[9:] = one[9:]
    one[:9] = two[:9] = 1
    assert near_duplicates([clip("a", one), clip("b", two)], 10) == {}, "eleven of twenty are not enough"


def test_the_best_stands_for_its_group_and_a_copy_of_a_copy_is_no_copy():
    whole = walk(np.random.default_rng(3), PICTURES + 12)
    columns = ({"tier": "train", "short_side": 1080}, {"tier": "hq", "short_side": 480}, {"tier": None})
    rows = [clip(f"{k}", whole[6 * k : 6 * k + PICTURES], **columns[k]) for k in range(3)]
    assert near_duplicates(rows, 0, ("train", "hq")) == {"0": "1", "1": "1", "2": "1"}
    assert near_duplicates(rows, 0) == {"0": "0", "1": "0"}, "the third is no copy of the first, which is kept"


def test_rank_takes_tier_then_size_then_bits_then_pose_then_name():
    better = [
        {"tier": "hq", "clip_id": "z"},
        {"tier": "train", "short_side": 720.0, "clip_id": "y"},
        {"tier": "train", "short_side": 480.0, "bits_per_pixel": 0.2, "clip_id": "x"},
        {"tier": "train", "short_side": 480.0, "bits_per_pixel": 0.1, "body_confidence": 0.9, "clip_id": "w"},
        {"tier": "train", "short_side": 480.0, "bits_per_pixel": 0.1, "body_confidence": float("nan"), "clip_id": "a"},
        {"tier": "train", "short_side": 480.0, "bits_per_pixel": 0.1, "body_confidence": None, "clip_id": "b"},
        {"tier": None, "short_side": 2000.0, "clip_id": "c"},
    ]
    assert sorted([*better[3:], *better[:3]], key=lambda row: rank(row, ("train", "hq"))) == better


def test_of_a_crowd_of_copies_one_is_left():
    rng = np.random.default_rng(4)
    whole = walk(rng)
    rows = [clip(f"{k:03d}", flipped(rng, whole, 2)) for k in range(150)]
    assert set(near_duplicates(rows, 10).values()) == {"000"}


@pytest.mark.parametrize("fingerprint", ["0" * 15, "zz" * 8, "0" * 24])
def test_a_malformed_fingerprint_names_its_clip(fingerprint):
    with pytest.raises(SteadyDancerError, match="Clip odd"):
        near_duplicates([{"clip_id": "odd", "source_id": "s", "fingerprint": fingerprint}], 10)


@pytest.mark.parametrize("fingerprint", [None, ""])
def test_clips_without_fingerprint_are_in_no_group(fingerprint):
    rows = [{"clip_id": str(k), "source_id": str(k), "fingerprint": fingerprint} for k in range(2)]
    assert near_duplicates(rows, 10) == {} == near_duplicates([], 10)


FPS = 20


@cache
def figure(seed, moment, height=120, width=80):
    """Frame ``moment`` of a dancer of limbs that swing, before a wall of patches; both by ``seed``."""
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(60, 200, (6, 4, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    phases, paces, middle = rng.uniform(0, 6, 5), rng.uniform(1.5, 4.5, 5), rng.uniform(0.4, 0.6)
    swing = np.sin(phases + paces * moment / FPS)
    hip = np.array([(middle + 0.12 * swing[4]) * width, 0.55 * height])
    neck = hip - [0, 0.28 * height]
    for joint, side, angle in ((neck, 1, 1.2), (neck, -1, 1.2), (hip, 1, 0.3), (hip, -1, 0.3)):
        turn = side * (angle + swing[int(2 * (joint is hip) + (side > 0))])
        end = joint + 0.33 * height * np.array([np.sin(turn), np.cos(turn)])
        cv2.line(wall, joint.astype(int).tolist(), end.astype(int).tolist(), (30, 30, 40), 7)
    cv2.line(wall, neck.astype(int).tolist(), hip.astype(int).tolist(), (200, 40, 40), 15)
    cv2.circle(wall, (neck - [0, 12]).astype(int).tolist(), 9, (230, 190, 160), -1)
    return wall


def film(path, seed, *, seconds=5.7, crf=18, scale=1.0, bar=0, cut=0.0):
    def images():
        for number in range(round((seconds - cut) * FPS)):
            image = figure(seed, round(cut * FPS) + number)
            size = [2 * round(side * scale / 2) for side in image.shape[:2]]
            yield np.pad(video.resize(image, size), ((bar, bar), (0, 0), (0, 0)))

    return video.write(path, images(), FPS, crf=crf)


def hashed(path, bar=0, rate=4):
    """The pHash of the picture without its bars at the even moments of 5 seconds."""
    hashes = []
    for time, image in video.frames(path):
        while len(hashes) < 5 * rate and len(hashes) / rate <= time + 1e-6:
            image = image[bar : image.shape[0] - bar]
            luma = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
            low = cv2.dct(luma.astype(np.float32))[:8, :8].ravel()
            hashes.append(int("".join("01"[value > np.median(low[1:])] for value in low), 2))
    return hashes


def test_copies_of_a_video_are_found_among_other_dancers(tmp_path):
    first = film(tmp_path / "first.mp4", 0)
    rows = [clip("first", hashed(first), short_side=160.0, bits_per_pixel=0.2)]
    copies = {
        "half_bitrate": {"crf": 33},
        "smaller": {"scale": 0.75, "crf": 28},
        "letterboxed": {"bar": 10, "crf": 26},
        "cut": {"cut": 0.7},
        "all": {"cut": 0.7, "scale": 0.75, "bar": 8, "crf": 33},
    }
    for name, changes in copies.items():
        path = film(tmp_path / f"{name}.mp4", 0, **changes)
        rows.append(clip(name, hashed(path, changes.get("bar", 0)), short_side=120.0))
    assert (tmp_path / "half_bitrate.mp4").stat().st_size < first.stat().st_size / 2
    for seed in range(1, 4):
        rows.append(clip(f"dancer{seed}", hashed(film(tmp_path / f"{seed}.mp4", seed)), short_side=300.0))
    assert near_duplicates(rows, 10) == dict.fromkeys(["first", *copies], "first")
