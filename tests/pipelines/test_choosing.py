"""Which of the clips that pass are kept: the best windows of a shot, and one of every group of copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.choosing import choose, settle, worth


def window(clip, *, shot=0, source="a", start=0.0, speed=0.5, body=1.0, hands=0.5, face=0.5, **changes):
    row = {"clip_id": clip, "source_id": source, "shot": shot, "start": start, "body_speed": speed, "verdict": "kept"}
    row |= {"body_visibility": body, "hand_visibility": hands, "face_visibility": face, "tier": "train"}
    return row | {"reason": None, "reasons": [], "missed": [], "error": None, "group": None} | changes


def test_worth_follows_its_formula():
    assert worth(window("x")) == 0.75
    assert worth(window("x", speed=0.15)) == 0.375 and worth(window("x", speed=2.4)) == 0.375
    assert worth(window("x", speed=0)) == 0 and worth(window("x", speed=None)) == 0
    assert worth(window("x", hands=float("nan"))) == 0.625
    assert worth(window("x", body=0.5)) == 0.5


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.1, 0.3, 0.6])), max_size=12))
def test_of_every_shot_the_best_stay(drawn):
    rows = [window(f"{k:02d}", shot=a, source=str(b), start=-k, speed=c) for k, (a, b, c) in enumerate(drawn)]
    for per_shot in (1, 2):
        spare = choose(rows, per_shot)
        assert spare == choose(rows[::-1], per_shot)
        for row in rows:
            same = [r for r in rows if (r["source_id"], r["shot"]) == (row["source_id"], row["shot"])]
            same.sort(key=lambda r: (-worth(r), r["start"]))
            assert (row["clip_id"] in spare) == (same.index(row) >= per_shot)
            assert spare.get(row["clip_id"], same[0]["clip_id"]) == same[0]["clip_id"]


def test_settle_rejects_spares_and_copies_and_leaves_all_others_alone():
    rng = np.random.default_rng(0)
    dance = rng.integers(0, 2**64, 11, np.uint64).astype(">u8").tobytes().hex()
    other = rng.integers(0, 2**64, 11, np.uint64).astype(">u8").tobytes().hex()
    rows = [
        window("spare", speed=0.2, fingerprint=dance, tier="hq", short_side=2000),
        window("best", fingerprint=dance, short_side=720),
        window("copy", source="b", fingerprint=dance, short_side=1080),
        window("hq", source="c", fingerprint=dance, short_side=540, tier="hq", missed=["text"]),
        window("alone", source="d", fingerprint=other),
        window("unseen", source="e", fingerprint=None),
        window("rejected", source="f", fingerprint=dance, verdict="rejected", reason="blurred"),
        {"clip_id": "broken", "verdict": "rejected", "reason": "unreadable"},
    ]
    before = [dict(row) for row in rows]
    made = settle(rows, 10, 1, ("train", "hq"))
    assert rows == before and [row["clip_id"] for row in made] == [row["clip_id"] for row in rows]
    assert made[4:] == rows[4:] and made[3] == rows[3] | {"group": "hq"}
    assert made[0] == rows[0] | {
        "verdict": "rejected",
        "reason": "spare",
        "reasons": ["spare"],
        "error": "a better window of the same shot is best",
        "tier": None,
        "missed": [],
    }
    for row in made[1:3]:
        assert (row["verdict"], row["reason"], row["reasons"], row["tier"]) == (
            "rejected",
            "duplicate",
            ["duplicate"],
            None,
        )
        assert row["group"] == "hq" and row["error"] == "near-duplicate of hq"
    assert settle(made, 10, 1, ("train", "hq")) == made


@pytest.mark.parametrize("rows", [[], [{"clip_id": "x", "verdict": "rejected"}]])
def test_settle_of_nothing_is_nothing(rows):
    assert settle(rows, 10, 1) == rows
