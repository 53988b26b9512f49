"""The comparison page as a browser runs it: players in step, order, filters, keys."""

import pytest
from browser import Browser
from evaluations import dot, pair, scored, written

from evaluation.comparison import held_together
from evaluation.page import render

VALUES = {"p": (10.0, 11.0), "q": (10.0, 7.0), "r": (10.0, None), "s": (10.0, 15.0)}
TRACKS = {"drivings": (30.0, 45), "poses": (16.0, 24), "videos/a": (16.0, 24), "videos/b": (8.0, 8)}
"""fps and frames: 1.5 s each, but b's is half a second shorter."""
FRAMES, FPS = 24, 16
OPEN = """
const named = section => section.querySelector("b").textContent;
[...document.querySelectorAll("details.pair")].find(section => named(section) === "p").open = true;
const ready = track => track.video.readyState >= 2 && !track.video.seeking;
const settled = async () => {
  for (let calm = 0, n = 0; calm < 4 && n < 150; n++) {
    await wait(20);
    calm = opened && opened.clock.tracks.every(ready) ? calm + 1 : 0;
  }
  return opened.clock.tracks.map(track => track.video.currentTime);
};
await settled();
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    pairs = [pair(name, style="real" if name in "pq" else "anime") for name in VALUES]
    scores = [scored(m, p, v) for p, values in VALUES.items() for m, v in zip("ab", values, strict=True)]
    videos = {f"{name}/p": (dot(frames), fps) for name, (fps, frames) in TRACKS.items()}
    curves = [("a", "p", "psnr", scores[0]["metric_id"], frame, frame / 2) for frame in range(FRAMES)]
    path = folder / "page.html"
    evaluation = written(folder / "e", "ab", pairs, scores, videos=videos, curves=curves)
    path.write_text(render(held_together([evaluation]), {}))
    return path


def moments(frame: int) -> list[float]:
    """The middle of what each player shows at the time of the generated frame ``frame``; the last frame stays."""
    shown = [(min(frames - 1, int(frame / FPS * fps + 1e-3)), fps) for fps, frames in TRACKS.values()]
    return [(number + 0.5) / fps for number, fps in shown]


def test_players_show_the_same_moment_wherever_they_are_sought(browser, page):
    script = """
    const times = {};
    for (const frame of [0, 7, 20]) {
      for (const passing of [3, 23, 11, frame]) { opened.clock.seek(passing); await wait(5); }
      times[frame] = await settled();
    }
    opened.clock.seek(7);
    return {times, frames: opened.clock.frames, reading: document.querySelector(".curve .in-a").textContent.trim()};
    """
    found = browser.run(page, OPEN + script)
    assert (found["frames"], found["reading"]) == (FRAMES, "A 3.500")
    for frame in (0, 7, 20):
        assert found["times"][str(frame)] == pytest.approx(moments(frame), abs=2e-3), frame


@pytest.mark.parametrize("speed", [1, 2])
def test_players_stay_in_step_while_they_play_and_loop(browser, page, speed):
    script = """
    const clock = opened.clock, apart = [], rates = [];
    let loops = 0, last = 0, latest = 0;
    clock.speed = SPEED;
    clock.play();
    for (let n = 0; n < 600 && (loops < 1 || apart.length < 60); n++) {
      await wait(25);
      if (clock.time < last) loops += 1;
      last = clock.time;
      latest = Math.max(latest, last);
      for (const track of clock.tracks) {
        if (clock.time > 0.3 && clock.time < (track.frames - 0.5) / track.fps && ready(track)) {
          apart.push(Math.abs(track.video.currentTime - clock.time));
          rates.push(track.video.playbackRate);
        }
      }
    }
    clock.pause();
    const paused = await settled();
    const median = values => values.sort((a, b) => a - b)[values.length >> 1];
    return {latest, loops, frame: clock.frame, paused, apart: median(apart), rate: median(rates)};
    """
    found = browser.run(page, OPEN + script.replace("SPEED", str(speed)))
    assert found["loops"] >= 1 and 1 < found["latest"] <= 1.5
    assert found["apart"] < 0.1 and 0.75 < found["rate"] / speed < 1.3
    assert found["paused"] == pytest.approx(moments(found["frame"]), abs=2e-3)


def test_pairs_are_sorted_filtered_and_steered(browser, page):
    script = """
    const shown = () => [...document.querySelectorAll("details.pair:not([hidden])")];
    const names = () => shown().map(section => section.querySelector("b").textContent).join("");
    const set = (id, value) => { byId(id).value = value; byId(id).onchange(); };
    const found = {worse: names()};
    for (const order of ["better", "apart", "benchmark"]) { set("order", order); found[order] = names(); }
    set("status", "not_computable"); found.missing = names();
    set("status", "ok"); found.ok = names();
    const style = document.querySelector("select[data-stratum=style]");
    style.value = "real"; style.onchange(); found.real = names();
    set("status", ""); set("a", "1"); set("b", "0"); set("order", "better"); found.swapped = names();
    found.count = byId("count").textContent;
    found.strata = byId("strata").rows[1].textContent;
    found.marks = [...document.querySelectorAll("#summary .mark")].map(mark => mark.textContent.slice(0, 8));
    const key = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    const openPair = () => opened.section.querySelector("b").textContent;
    shown()[0].open = true; await wait(100); found.first = openPair();
    key("j"); await wait(100); found.next = openPair();
    key("ArrowRight"); key("ArrowRight"); key("ArrowLeft"); found.frame = opened.clock.frame;
    key("End"); found.end = opened.clock.frame; key("Home"); found.home = opened.clock.frame;
    key(" "); found.playing = opened.clock.playing; key(" "); found.stopped = !opened.clock.playing;
    found.opened = document.querySelectorAll("details.pair[open]").length;
    return found;
    """
    found = browser.run(page, script)
    assert (found["worse"], found["better"], found["apart"], found["benchmark"]) == ("qpsr", "spqr", "sqpr", "pqrs")
    assert (found["missing"], found["ok"], found["real"]) == ("r", "pqs", "pq")
    assert (found["swapped"], found["count"]) == ("qp", "2 of 4 pairs")
    assert found["strata"].startswith("all pairs3 of 411.0010.00≈ −1.000 [")
    assert found["marks"] == ["≈ −1.000"]
    assert (found["first"], found["next"], found["opened"]) == ("q", "p", 1)
    assert (found["frame"], found["end"], found["home"]) == (1, FRAMES - 1, 0)
    assert found["playing"] and found["stopped"]
