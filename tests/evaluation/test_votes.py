"""Blinded exports and the ballots that come back."""

import base64
import json
import re
from collections import Counter
from itertools import combinations

import pytest
from evaluations import dot, pair, scored, written

import steadydancer
from evaluation.votes.ballots import ASPECTS, Item, Key, read_key, read_votes
from evaluation.votes.export import export_votes
from evaluation.votes.preferences import import_votes
from infra.errors import SteadyDancerError, UsageError
from model import video

MODELS = ["secret one", "secret two", "secret three"]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    pairs = [pair(f"pair{n}") for n in range(4)]
    videos = {f"videos/{m}/{p.id}": (dot(3, (32, 32 + 16 * n)), 16) for n, m in enumerate(MODELS) for p in pairs}
    videos |= {f"drivings/{p.id}": (dot(3), 16) for p in pairs}
    del videos["videos/secret one/pair3"]
    scores = [scored(m, p.id, 1.0) for m in MODELS for p in pairs]
    return written(tmp_path_factory.mktemp("votes") / "e", MODELS, pairs, scores, videos=videos)


def test_an_export_says_nowhere_which_model_made_what(evaluation, tmp_path):
    key = export_votes([evaluation], tmp_path / "out", seed=0)
    page = (tmp_path / "out/votes.html").read_text()
    assert "secret" not in page and not any(commit in page for commit in key.evaluations)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert set(data) == {"export", "items"}
    assert [set(item) for item in data["items"]] == [{"item", "reference", "driving", "left", "right"}] * len(key.items)
    uris = dict(re.findall(r'data-key="(\d+)">data:video/mp4;base64,([^<]+)<', page))
    for shown in data["items"]:
        for side in ("left", "right"):
            (tmp_path / "v.mp4").write_bytes(base64.b64decode(uris[shown[side]["key"]]))
            assert b"secret" not in (tmp_path / "v.mp4").read_bytes()
            model = getattr(key.items[shown["item"]], side)
            assert video.probe(tmp_path / "v.mp4").width == 32 + 16 * MODELS.index(model), "the key is right"


def test_every_two_models_meet_on_every_pair_and_sides_are_even(evaluation, tmp_path, capsys):
    key = export_votes([evaluation], tmp_path / "out", seed=1)
    met = Counter((item.pair, frozenset((item.left, item.right))) for item in key.items.values())
    wanted = {(f"pair{n}", frozenset(two)) for n in range(4) for two in combinations(MODELS, 2)}
    wanted -= {("pair3", frozenset((MODELS[0], other))) for other in MODELS[1:]}
    assert met == Counter(wanted) and "2 items left out" in capsys.readouterr().out
    for two in combinations(MODELS, 2):
        left = [item.left for item in key.items.values() if {item.left, item.right} == set(two)]
        assert abs(left.count(two[0]) - left.count(two[1])) <= 1


def test_an_export_is_the_seed_s_and_is_not_written_over(evaluation, tmp_path):
    keys = [export_votes([evaluation], tmp_path / str(n), seed) for n, seed in enumerate((5, 5, 6))]
    assert keys[0] == keys[1] == read_key(tmp_path / "0") and keys[0].items != keys[2].items
    assert (tmp_path / "0/votes.html").read_bytes() == (tmp_path / "1/votes.html").read_bytes()
    with pytest.raises(SteadyDancerError, match="holds an export already"):
        export_votes([evaluation], tmp_path / "0", 7)
    few = export_votes([evaluation], tmp_path / "few", 5, MODELS[:2], most=2)
    assert len(few.items) == 2 and few.models == MODELS[:2]
    with pytest.raises(UsageError, match="no model 'secret four'"):
        export_votes([evaluation], tmp_path / "x", 5, ["secret four"])
    with pytest.raises(SteadyDancerError, match="nothing to vote on"):
        export_votes([evaluation], tmp_path / "x", 5, MODELS[:1])


KEY = Key(
    format=1,
    export="abc",
    seed=0,
    evaluations=["e"],
    models=["a", "b"],
    items={"1": Item(pair="p", left="a", right="b"), "2": Item(pair="q", left="b", right="a")},
)


def ballot(path, rater="anna", choices=("left", "right"), **changes):
    votes = [{"item": str(n), "aspect": "motion", "choice": choice} for n, choice in enumerate(choices, 1)]
    path.write_text(json.dumps({"format": 1, "export": "abc", "rater": rater, "votes": votes, **changes}))
    return path


def vote(**changes) -> dict:
    return {"votes": [{"item": "1", "aspect": "motion", "choice": "left", **changes}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rater": "  "}, "rater: .*at least 1 character"),
        ({"rater": None}, "rater: "),
        ({"export": "other"}, "votes on export other, this is abc"),
        ({"format": 2}, "format: "),
        ({"colour": "red"}, "colour: Extra"),
        ({"votes": []}, "votes: "),
        (vote(item="3"), "votes on item '3', the key has 1 to 2"),
        (vote(choice="both"), "votes.0.choice: "),
        (vote(aspect="taste"), "votes.0.aspect: "),
        (vote(item=1), "votes.0.item: "),
    ],
)
def test_a_wrong_ballot_is_named_with_what_is_wrong(tmp_path, changes, message):
    path = ballot(tmp_path / "anna.json", **changes)
    with pytest.raises(SteadyDancerError, match=f"anna.json: {message}"):
        read_votes(KEY, [path])


def test_what_is_no_json_or_not_there_is_named(tmp_path):
    (tmp_path / "x.json").write_text("left")
    with pytest.raises(SteadyDancerError, match="x.json: the file: Invalid JSON"):
        read_votes(KEY, [tmp_path / "x.json"])
    with pytest.raises(UsageError, match="none.json cannot be read"):
        read_votes(KEY, [tmp_path / "none.json"])
    with pytest.raises(UsageError, match="holds no key.json"):
        read_key(tmp_path)


def test_the_same_vote_twice_counts_once_and_another_is_refused(tmp_path):
    first, again = ballot(tmp_path / "1.json", choices=["left"]), ballot(tmp_path / "2.json")
    votes, repeated = read_votes(KEY, [first, again])
    assert [(v.rater, v.item, v.left, v.choice) for v in votes] == [
        ("anna", "1", "a", "left"),
        ("anna", "2", "b", "right"),
    ]
    assert repeated == 1
    changed = ballot(tmp_path / "3.json", choices=["same"])
    with pytest.raises(SteadyDancerError, match="anna says 'same' to the motion of item 1, but 'left' in .*1.json"):
        read_votes(KEY, [first, changed])
    assert len(read_votes(KEY, [first, ballot(tmp_path / "4.json", rater="ben", choices=["same"])])[0]) == 2


def test_the_commands(evaluation, tmp_path, capsys):
    out = tmp_path / "out"
    assert steadydancer._main(["votes", "export", str(evaluation.path), "--out", str(out), "--seed", "3"]) == 0
    export = read_key(out).export
    assert read_key(out).seed == 3 and "raters must not see it" in capsys.readouterr().out
    path = ballot(tmp_path / "anna.json", export=export)
    assert steadydancer._main(["votes", "import", str(out), str(path)]) == 0
    assert "1 raters, 2 of 30 votes: anna" in capsys.readouterr().out
    assert steadydancer._main(["votes", "import", str(tmp_path), str(path)]) == 2


def test_counted_votes_are_printed(tmp_path, capsys):
    (tmp_path / "key.json").write_text(KEY.model_dump_json())
    files = [ballot(tmp_path / "1.json"), ballot(tmp_path / "2.json", rater="ben", choices=("left", "same"))]
    (found,) = import_votes(tmp_path, files)
    assert found.counts == {("a", "b"): (3, 1, 0)} and (found.raters, found.ties, found.votes) == (2, 1, 4)
    assert found.left == pytest.approx(2 / 3)
    out = " ".join(capsys.readouterr().out.split())
    assert f"2 raters, 4 of {2 * 2 * len(ASPECTS)} votes: anna, ben" in out and "motion: 4 votes, 1 ties" in out
