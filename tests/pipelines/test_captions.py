"""Captions, against an endpoint that times out, breaks off and talks nonsense."""

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from caption_server import Stub, completion, good, serve
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UsageError
from infra.schema import Caption
from pipelines.captions import BUDGET_USED, LEDGER, caption
from pipelines.vision_language import EndpointError, as_caption, plain

KEY = "sk-secret-0123456789"
MOTION = "One person, moving fast, in a single uncut shot."


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def clips(*numbers, **changes):
    return [{"clip_id": f"clip{k:02d}", "body_speed": 0.5, "frames": 81, "fps": 16.0, **changes} for k in numbers]


def pictures(row):
    return np.full((81, 48, 96, 3), 10 * int(row["clip_id"][4:]), np.uint8)


def settings(endpoint, **changes):
    values = {"endpoint": endpoint, "model": "seer", "side": 64, "frames": 3, "timeout_s": 0.2, "concurrency": 4}
    return Caption(**values | changes)


def run(rows, endpoint, folder, patience=0.01, **changes):
    return caption(rows, settings(endpoint, **changes), pictures, folder, patience=patience)


def test_own_text_comes_first_and_no_endpoint_means_motion(tmp_path):
    rows = clips(1, sidecar=" She \x07waves\n\ntwice. ", table_caption="no") + clips(2, table_caption="A wave.")
    rows += clips(3, sidecar=" \u202e ", table_caption=None)
    made = caption(rows, Caption(), pictures, tmp_path)
    expected = {
        "clip01": ("She waves twice.", "sidecar"),
        "clip02": ("A wave.", "metadata"),
        "clip03": (MOTION, "motion"),
    }
    assert made.texts == expected and made.fallen == {} and made.told() == []


def test_the_model_is_shown_small_pictures_in_order_and_asked_for_motion_alone(tmp_path):
    stub = Stub()

    def film(row):
        return np.repeat(np.uint8([20, 90, 200]), 27)[:, None, None, None] * np.ones((1, 100, 200, 3), np.uint8)

    with serve(stub) as endpoint:
        made = caption(clips(2), settings(endpoint), film, tmp_path)
    assert made.texts == {"clip02": (good(2), "seer")} and (made.requests, made.tokens) == (1, 100)
    (request,) = stub.requests
    assert request.path == "/v1/chat/completions" and request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "seer" and request.body["temperature"] == 0 and request.body["max_tokens"] > 80
    text, *images = request.body["messages"][0]["content"]
    assert "5.1 seconds" in text["text"] and "3 pictures" in text["text"] and "no clothes" in text["text"]
    uris = [image["image_url"]["url"].removeprefix("data:image/jpeg;base64,") for image in images]
    shown = [cv2.imdecode(np.frombuffer(base64.b64decode(uri), np.uint8), 1) for uri in uris]
    assert [image.shape for image in shown] == [(32, 64, 3)] * 3
    assert [round(float(image.mean()), -1) for image in shown] == [20, 90, 200]


MISDEEDS = {
    1: ["late", 500],
    2: [503, "half"],
    3: ["limited"],
    4: ["<html><body>502 Bad Gateway</body></html>", "reset"],
    5: ["huge", completion("")],
    6: [completion(None), completion([{"type": "text"}]), completion({"text": "x"})],
    7: ["[" * 100_000, {"choices": []}, {"choices": {"0": 1}}],
    8: [completion("I'm sorry, but I can't help with identifying people."), completion("the arm " * 40)],
    9: [completion("word " * 300), completion("<b>Person</b> moves here and there.")],
    10: ["noise", b"\xff\xfe\x00", "dripping", 408],
    11: [completion("一" * 900), completion("12 34 56 78 90"), "null", "3"],
}


def test_every_clip_gets_its_caption_whatever_the_endpoint_does_first(tmp_path):
    stub = Stub({clip: list(answers) for clip, answers in MISDEEDS.items()})
    with serve(stub) as endpoint:
        began = time.monotonic()
        made = run(clips(*range(1, 13)), endpoint, tmp_path)
        assert time.monotonic() - began < 6
        assert made.texts == {f"clip{k:02d}": (good(k), "seer") for k in range(1, 13)}
        assert stub.counts() == {k: 1 + len(MISDEEDS.get(k, [])) for k in range(1, 13)}
        assert made.requests == len(stub.requests) and made.fallen == {}
        again = run(clips(*range(1, 13)), endpoint, tmp_path)
    assert again.texts == made.texts and again.requests == 0 and len(stub.requests) == made.requests
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_retry_after_holds_back_all_requests(tmp_path):
    stub = Stub({1: ["limited"]})
    with serve(stub) as endpoint:
        made = run(clips(1, 2), endpoint, tmp_path, patience=0.5, concurrency=1)
    first, other, again = (request.time for request in stub.requests)
    assert other - first >= 0.3 and again > other and len(made.texts) == 2


def test_what_never_gets_a_caption_is_told_and_tried_again_in_the_next_run(tmp_path):
    stub = Stub({1: [completion("")] * 3, 3: [500] * 3})

    def frames(row):
        if row["clip_id"] == "clip04":
            raise OSError("gone")
        if row["clip_id"] == "clip05":
            return np.zeros((0, 8, 8, 3), np.uint8)
        return pictures(row)

    with serve(stub) as endpoint:
        made = caption(clips(1, 2, 3, 4, 5), settings(endpoint, retries=2), frames, tmp_path, patience=0.01)
        assert made.texts == {
            "clip01": (MOTION, "motion"),
            "clip02": (good(2), "seer"),
            "clip03": (MOTION, "motion"),
            "clip04": (MOTION, "motion"),
            "clip05": (MOTION, "motion"),
        }
        assert sorted(made.fallen) == ["clip01", "clip03", "clip04", "clip05"] and stub.counts() == {1: 3, 2: 1, 3: 3}
        assert any("HTTP 500" in line for line in made.told()) and any("gone" in line for line in made.told())
        again = run(clips(1, 2, 3, 4), endpoint, tmp_path)
    assert again.fallen == {} and stub.counts() == {1: 4, 2: 1, 3: 4, 4: 1}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, "redirect"])
def test_a_refusal_stops_at_once_and_names_endpoint_model_and_what_was_said(tmp_path, status):
    answer = "redirect" if status == "redirect" else (status, f"no such thing, {KEY}")
    stub = Stub({k: [answer] * 9 for k in range(1, 9)})
    with serve(stub) as endpoint, pytest.raises(EndpointError) as error:
        run(clips(*range(1, 9)), endpoint, tmp_path, concurrency=1)
    said = str(error.value)
    assert len(stub.requests) == 1 and endpoint in said and "seer" in said and "OPENAI_API_KEY" in said
    assert KEY not in said and ("127.0.0.2" if status == "redirect" else "no such thing, ***") in said


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_budget_of_requests_is_kept_over_all_runs(tmp_path, concurrency):
    stub = Stub({2: [500, 500], 4: [completion("")]})
    rows = clips(*range(1, 9))
    with serve(stub) as endpoint:
        first = run(rows[:4], endpoint, tmp_path, budget_requests=6, concurrency=concurrency)
        assert len(stub.requests) == first.requests == 6 and sorted(first.texts) == [f"clip0{k}" for k in range(1, 5)]
        assert first.fallen == {"clip02": BUDGET_USED} and first.texts["clip02"] == (MOTION, "motion")
        second = run(rows, endpoint, tmp_path, budget_requests=6, concurrency=concurrency)
        assert len(stub.requests) == 6 and second.texts["clip01"][1] == "seer" and len(second.fallen) == 5
        third = run(rows, endpoint, tmp_path, budget_requests=9, concurrency=concurrency)
    assert len(stub.requests) == 9
    assert [k for k in range(1, 9) if third.texts[f"clip0{k}"][1] == "seer"] == [1, 2, 3, 4, 5, 6]


def test_the_budget_of_tokens_is_never_exceeded(tmp_path):
    stub = Stub({k: [completion(good(k), tokens=650)] for k in range(1, 6)} | {6: [completion(good(6), usage="?")]})
    with serve(stub) as endpoint:
        made = run(clips(*range(1, 10)), endpoint, tmp_path, budget_tokens=3000, frames=1, side=64)
    assert 650 < made.tokens <= 3000 and len(stub.requests) == made.requests < 5
    captioned = sum(source == "seer" for _, source in made.texts.values())
    assert captioned == made.requests and BUDGET_USED in made.told()[0]


def test_a_dead_endpoint_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.captions.BATCH", 2)
    with serve(Stub()) as endpoint:
        pass
    made = run(clips(*range(1, 20)), endpoint, tmp_path, retries=2, patience=0)
    assert len(made.fallen) == 19 and made.requests == 6
    assert any("no longer answers" in line for line in made.told())


def test_other_settings_ask_anew_and_a_torn_line_is_nothing(tmp_path):
    stub = Stub()
    with serve(stub) as endpoint:
        run(clips(1, 2), endpoint, tmp_path, concurrency=1)
        ledger = tmp_path / LEDGER
        ledger.write_bytes(ledger.read_bytes()[:-20])
        assert run(clips(1, 2), endpoint, tmp_path).requests == 1
        assert run(clips(1, 2), endpoint, tmp_path).requests == 0
        ledger.write_bytes(b'null\n[1]\n{"asked": 3}\n\xff\xfe\n' + ledger.read_bytes())
        assert run(clips(1, 2), endpoint, tmp_path).requests == 0
        assert run(clips(1, 2), endpoint, tmp_path, model="other").requests == 2
        assert run(clips(1, 2), endpoint, tmp_path, max_words=60).requests == 2


def test_a_killed_run_asks_nothing_twice(tmp_path):
    script = """
        import sys
        sys.path.insert(0, "tests/pipelines")
        from test_captions import clips, run
        run(clips(*range(1, 13)), sys.argv[1], sys.argv[2], concurrency=2, timeout_s=30.0)
    """
    stub = Stub({k: ["late"] * 9 for k in range(7, 13)}, slow=60)
    with serve(stub) as endpoint:
        command = [sys.executable, "-c", textwrap.dedent(script), endpoint, str(tmp_path)]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + 30
        while len(stub.requests) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert stub.counts() == dict.fromkeys(range(1, 9), 1)
        stub.script.clear()
        made = run(clips(*range(1, 13)), endpoint, tmp_path)
    assert {source for _, source in made.texts.values()} == {"seer"}
    assert stub.counts() == {k: 1 + (k in (7, 8)) for k in range(1, 13)} and made.requests == 6


def test_an_interrupted_run_stops_soon(tmp_path):
    stub = Stub()

    def interrupt(clip):
        raise KeyboardInterrupt

    with serve(stub) as endpoint, pytest.raises(KeyboardInterrupt):
        caption(clips(*range(1, 25)), settings(endpoint, concurrency=1), pictures, tmp_path, interrupt)
    assert len(stub.requests) < 24


@pytest.mark.parametrize("bad", ["sk-1\nHost: elsewhere", "sk-ü", "a b"])
def test_a_key_that_no_header_can_hold_is_refused_unsaid(tmp_path, monkeypatch, bad):
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with pytest.raises(UsageError) as error:
        run(clips(1), "http://127.0.0.1:9/v1", tmp_path)
    assert bad not in str(error.value) and "OPENAI_API_KEY" in str(error.value)


@pytest.mark.parametrize("address", ["127.0.0.1:9/v1", "ftp://127.0.0.1/v1", "http://"])
def test_an_endpoint_that_is_no_address_is_a_usage_error(tmp_path, address):
    with pytest.raises(UsageError, match="endpoint"):
        run(clips(1), address, tmp_path)


def test_no_key_no_header(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    stub = Stub()
    with serve(stub) as endpoint:
        run(clips(1), endpoint, tmp_path)
    assert "authorization" not in stub.requests[0].headers


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("The person turns.", "The person turns."),
        ('"The person turns left. Then\n\nthe **arms** fall."', "The person turns left. Then the arms fall."),
        ("<think>A dancer?</think>The person turns by 1.5 steps. And th", "The person turns by 1.5 steps."),
        ("The person turns left. The arms and fingers rise, fall and open.", "The person turns left."),
        ("The person sways without end", "The person sways without end"),
    ],
)
def test_captions_are_whole_plain_sentences(said, caption):
    assert as_caption(said, 8) == caption


@given(st.text(max_size=300), st.integers(1, 60))
def test_any_text_becomes_a_bounded_caption_or_is_refused(text, words):
    assert plain(plain(text)) == plain(text)
    try:
        made = as_caption(text, words)
    except ValueError:
        return
    assert 3 <= len(made.split()) <= words and made.isprintable()
    assert json.loads(json.dumps(made)).encode().decode() == made
