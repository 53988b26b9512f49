"""The raters' page as a browser runs it: what it hands out is what the import takes."""

import json

import pytest
from browser import Browser
from evaluations import dot, pair, scored, written

from evaluation.votes.ballots import ASPECTS, read_votes
from evaluation.votes.export import export_votes


def test_answers_become_a_ballot_and_outlast_the_visit(tmp_path):
    pairs = [pair("p"), pair("q")]
    videos = {f"videos/{m}/{p.id}": (dot(8), 16) for m in "ab" for p in pairs}
    evaluation = written(
        tmp_path / "e", "ab", pairs, [scored(m, p.id, 1.0) for m in "ab" for p in pairs], videos=videos
    )
    key = export_votes([evaluation], tmp_path / "out", seed=0)
    answer = """
    const key = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    byId("rater").value = " anna "; byId("rater").oninput({target: byId("rater")});
    const empty = byId("download").disabled;
    key("1"); key("2"); key("3");
    byId("open").onclick();
    document.querySelector("button[data-aspect=identity][data-choice=right]").onclick();
    players.clock.seek(5); await wait(300);
    const times = players.clock.tracks.map(track => track.video.currentTime);
    return {empty, ballot: JSON.stringify(ballot()), times, progress: byId("progress").textContent};
    """
    again = "return {ballot: JSON.stringify(ballot()), at, open: !byId('download').disabled};"
    with Browser(tmp_path / "browser") as browser:
        found = browser.run(tmp_path / "out/votes.html", answer)
        later = browser.run(tmp_path / "out/votes.html", again)
    assert found["empty"] and found["progress"] == "1 of 2 answered"
    assert found["times"] == pytest.approx([5.5 / 16] * 2, abs=2e-3)
    assert later == {"ballot": found["ballot"], "at": 1, "open": True}
    (tmp_path / "anna.json").write_text(found["ballot"])
    votes, _ = read_votes(key, [tmp_path / "anna.json"])
    assert json.loads(found["ballot"])["rater"] == "anna"
    expected = [("1", aspect, choice) for aspect, choice in zip(ASPECTS, ("left", "same", "right"), strict=True)]
    assert [(v.item, v.aspect, v.choice) for v in votes] == [*expected, ("2", "identity", "right")]
    assert all((v.left, v.right) == (key.items[v.item].left, key.items[v.item].right) for v in votes)
