"""Several videos of one pair from several seeds: made or found, scored one by one, compared by their mean."""

import base64
import re

import numpy as np
import pytest
from benchmark_files import clip, small
from evaluated_here import config, in_this_process, rows, run  # noqa: F401 - a fixture
from evaluations import pair, scored, written
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evaluation import scoring, video_scoring
from evaluation.comparison import held_together
from evaluation.evaluate import show
from evaluation.media import Media
from evaluation.metrics.registry import METRICS
from evaluation.page_pairs import pairs_of
from evaluation.seeds import averaged, file_names, lowest
from evaluation.summary import failures, summarise, without_values
from evaluation.votes.export import export_votes
from infra.config import load
from infra.errors import UsageError
from model.video import frames

KEYS = st.sets(st.tuples(st.sampled_from("mn"), st.sampled_from("pq"), st.integers(0, 2**62)), min_size=1)


def of_seed(seed: int, *arguments, **named) -> dict:
    return {**scored(*arguments, **named), "seed": seed}


def test_a_score_is_the_mean_over_the_seeds_of_a_pair():
    scores = [of_seed(s, "a", "p", v) for s, v in ((0, 1.0), (1, 2.0), (2, 6.0))] + [of_seed(0, "a", "q", 5.0)]
    (row,) = summarise(scores, [pair("p"), pair("q")], ["a"])
    assert (row.mean, row.n, row.asked) == (4.0, 2, 2)  # (3 + 5) / 2: a pair with more videos weighs no more


def test_seeds_on_both_sides_of_a_target_do_not_cancel():
    ratios = [of_seed(s, "a", "p", v, "motion_energy_ratio") for s, v in ((0, 0.5), (1, 1.5))]
    near = [of_seed(s, "b", "p", 1.2, "motion_energy_ratio") for s in (0, 1)]
    a, b = summarise(ratios + near, [pair("p")], ["a", "b"])
    assert a.mean == 1.0 and a.badness == pytest.approx((np.log(2) + np.log(1.5)) / 2) and b.badness < a.badness


def test_a_pair_counts_only_with_all_its_seeds():
    scores = [of_seed(0, "a", "p", 1.0), of_seed(1, "a", "p", None), of_seed(0, "a", "q", 5.0)]
    (row,) = summarise(scores, [pair("p"), pair("q")], ["a"])
    assert (row.mean, row.n, row.asked) == (5.0, 1, 2)
    assert averaged(scores)[0]["reason"] == "1 of 2 seeds: no ground truth"
    (broken,) = averaged([of_seed(0, "a", "p", None, reason="broken")])
    assert (broken["status"], broken["reason"], broken["badness"]) == ("error", "broken", None)


@given(st.permutations([(0, None, "no truth"), (1, None, "broken"), (2, 3.0, "no truth")]))
def test_what_broke_is_told_before_what_has_no_value_whatever_the_order(seeds):
    (row,) = averaged([of_seed(seed, "a", "p", value, reason=reason) for seed, value, reason in seeds])
    assert (row["seed"], row["value"], row["status"]) == (0, None, "error")
    assert row["reason"] == "1 of 3 seeds: broken" and failures([row]) == ["a p: 1 of 3 seeds: broken"]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.randoms())
def test_the_order_of_seeds_changes_nothing(values, random):
    scores = [of_seed(s, "a", "p", v, "motion_energy_ratio") for s, v in enumerate(values)]
    (one,) = averaged(scores)
    random.shuffle(scores)
    (other,) = averaged(scores)
    assert (one["value"], one["badness"]) == (other["value"], other["badness"])
    assert one["value"] == pytest.approx(np.mean(values))
    badness = METRICS["motion_energy_ratio"].badness
    assert one["badness"] == pytest.approx(np.mean([badness(value) for value in values]))


@given(KEYS)
def test_every_video_has_a_name_of_its_own_and_the_lowest_seed_that_of_the_pair(keys):
    names = file_names(keys)
    assert len(set(names.values())) == len(keys)
    for (model, of), (_, _, seed) in lowest({key: key for key in keys}).items():
        assert names[model, of, seed] == f"videos/{model}/{of}.mp4"
        assert seed == min(number for m, p, number in keys if (m, p) == (model, of))


def test_videos_of_several_seeds_are_made_kept_and_scored(tmp_path, monkeypatch):
    small(tmp_path / "b")
    seen, for_sets = [], {}

    def score_video(video, pair, benchmark, asked, ours):
        if asked.set_keys:
            for_sets[pair.id] = video.read_bytes()
        return video_scoring.score_video(video, pair, benchmark, asked, ours)

    monkeypatch.setattr(scoring, "score_video", score_video)

    def generator(config, model, inputs, seed):
        seen.append(seed)
        return np.random.default_rng(seed).integers(0, 255, (5, 32, 32, 3), np.uint8)

    one = run(tmp_path, config(tmp_path, "evaluate.models=[untrained]"), generator=generator)
    assert len(seen) == len(set(seen)) == 5
    of_one = {(row["pair"], row["metric"]): row["value"] for row in rows(one)}
    asked = config(tmp_path, "evaluate.models=[untrained]", "evaluate.seeds=3", "evaluate.sets=[kid]")
    three = run(tmp_path, asked, generator=generator)
    assert len(seen) == len(set(seen)) == 15, "the videos of the first seed were there"
    assert {row["seed"] for row in rows(three)} == {0, 1, 2}
    assert sorted(row["seed"] for row in rows(three, "costs.parquet")) == sorted([0, 1, 2] * 5)
    first = {(row["pair"], row["metric"]): row["value"] for row in rows(three) if row["seed"] == 0}
    assert first == of_one
    name = "videos/untrained/itself.mp4"
    assert three.files[name]["sha256"] == one.files[name]["sha256"] != three.files[f"{name[:-4]}-2.mp4"]["sha256"]
    assert (
        for_sets == {p: (three.path / f"videos/untrained/{p}.mp4").read_bytes() for p in for_sets}
        and len(for_sets) == 5
    )
    mean = np.mean([row["value"] for row in rows(three) if (row["pair"], row["metric"]) == ("itself", "psnr")])
    shown = {(row["pair"], row["metric"]): row["value"] for row in held_together([three]).scores}
    assert shown["itself", "psnr"] == pytest.approx(mean, rel=1e-12)


def test_videos_made_elsewhere_with_several_seeds_are_all_scored(tmp_path):
    small(tmp_path / "b")
    theirs = tmp_path / "theirs"
    for pair_id in ("d0_r0", "d0_r1", "d1_r0", "d1_r1", "itself"):
        for seed in (4, 11):
            clip(theirs / f"{pair_id}-{seed}.mp4", frames=5 + (seed == 11))
    evaluation = run(tmp_path, config(tmp_path, f"evaluate.videos={{theirs: {theirs}}}"))
    assert not evaluation.meta["notices"]
    assert {(row["pair"], row["seed"]) for row in rows(evaluation)} >= {("itself", 4), ("itself", 11)}
    assert {"videos/theirs/itself.mp4", "videos/theirs/itself-11.mp4"} <= evaluation.files.keys()


def test_the_page_and_the_votes_show_the_lowest_seed(tmp_path):
    """Also where something of it is missing that another seed has: q's curve and cost."""
    dark, bright = np.zeros((2, 32, 32, 3), np.uint8), np.full((2, 32, 32, 3), 200, np.uint8)
    videos = {f"videos/{m}/{p}{s}": (bright if s else dark, 8.0) for m in "ab" for p in "pq" for s in ("", "-7")}
    seeds = [(m, p, s) for s in (7, 2) for m in "ab" for p in "pq"]
    scores = [of_seed(s, m, p, float(s)) for m, p, s in seeds]
    metric_id = scores[0]["metric_id"]
    there = [(m, p, s) for m, p, s in seeds if (p, s) != ("q", 2)]
    curves = [(m, p, "psnr", metric_id, f, 10.0 * s + f, s) for m, p, s in there for f in (0, 1)]
    costs = [(m, p, float(s), 1.0, "cpu", 3, s) for m, p, s in there]
    folder = tmp_path / "evaluation"
    evaluation = written(folder, "ab", [pair("p"), pair("q")], scores, videos=videos, curves=curves, costs=costs)
    p, q = pairs_of(held_together([evaluation]), Media(0), 2)
    assert p["scores"][metric_id][0][0] == 4.5 and p["curves"][metric_id] == [[20.0, 21.0]] * 2
    assert [cost["seconds"] for cost in p["costs"]] == [2.0, 2.0]
    assert q["curves"] == {} and q["costs"] is None
    assert all("reason" not in player for player in p["videos"])
    key = export_votes([evaluation], tmp_path / "votes", 0)
    page = (tmp_path / "votes/votes.html").read_text()
    shown = {base64.b64decode(video) for video in re.findall(r"data:video/mp4;base64,([A-Za-z0-9+/=]+)", page)}
    assert len(key.items) == 2 and shown
    levels = [np.mean([image for _, image in frames(saved(tmp_path / "shown.mp4", content))]) for content in shown]
    assert max(levels) < 50, "none of the bright ones"


def saved(path, content):
    path.write_bytes(content)
    return path


def test_a_metric_of_which_a_seed_has_no_value_is_told_and_not_lost(tmp_path):
    scores = [
        of_seed(0, "a", "p", 1.0),
        of_seed(1, "a", "p", None),
        *(of_seed(s, "a", "p", 1.0, "ssim") for s in (0, 1)),
    ]
    found = averaged(scores)
    assert without_values(found) == {"1 of 2 seeds: no ground truth": ["psnr"]}
    two_definitions = [*found, {**found[0], "metric_id": "psnr@9/other"}]
    assert without_values(two_definitions) == without_values(found)
    assert without_values([*found, {**found[1], "metric": "psnr", "metric_id": "psnr@9/other"}]) == {}
    of_sets = {"model": "a", "kind": "different_source", "metric": "kid", "value": None, "standard_error": None}
    of_sets |= {"status": "not_computable", "reason": "no weights", "videos": 0}
    commit = written(tmp_path / "evaluation", "a", [pair("p")], scores, sets=[of_sets])
    console = Console(width=120)
    with console.capture() as captured:
        show(commit, console)
    assert "ssim" in captured.get() and "psnr: 1 of 2 seeds: no ground truth" in captured.get()
    assert "number of pairs: 1, each the mean of its seeds" in captured.get()
    once = written(tmp_path / "once", "a", [pair("p")], [of_seed(0, "a", "p", 1.0)], sets=[of_sets])
    with console.capture() as captured:
        show(once, console)
    assert "number of pairs: 1\n" in captured.get()


def test_seeds_beyond_64_bits_are_refused():
    with pytest.raises(UsageError, match="leaves no room for evaluate.seeds=2"):
        load("demo", [f"seed={2**63 - 1}", "evaluate.seeds=2"])
    assert load("demo", [f"seed={2**63 - 1}"]).evaluate.seeds == 1
