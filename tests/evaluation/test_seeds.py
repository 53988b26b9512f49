"""Several videos of one pair from several seeds: made or found, scored one by one, compared by their mean."""

import numpy as np
import pytest
from benchmark_files import clip, small
from evaluated_here import config, in_this_process, rows, run  # noqa: F401 - a fixture
from evaluations import pair, scored, written
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import held_together
from evaluation.media import Media
from evaluation.metrics.registry import METRICS
from evaluation.page_pairs import pairs_of
from evaluation.seeds import averaged, file_names, lowest
from evaluation.summary import summarise
from evaluation.votes.export import export_votes

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
    broken = averaged([of_seed(0, "a", "p", None, reason="broken")])
    assert (broken[0]["status"], broken[0]["reason"], broken[0]["badness"]) == ("error", "broken", None)


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


def test_videos_of_several_seeds_are_made_kept_and_scored(tmp_path):
    small(tmp_path / "b")
    seen = []

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
    assert sum(row["videos"] for row in rows(three, "sets.parquet")) <= 5
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
    bars = np.zeros((2, 32, 32, 3), np.uint8)
    videos = {f"videos/{m}/p{s}": (bars, 8.0) for m in "ab" for s in ("", "-7")}
    scores = [of_seed(s, m, "p", float(s)) for m in "ab" for s in (7, 2)]
    curves = [
        (m, "p", "psnr", scores[0]["metric_id"], f, 10.0 * s + f, s) for s in (7, 2) for m in "ab" for f in (0, 1)
    ]
    costs = [(m, "p", float(s), 1.0, "cpu", 2, 3, s) for s in (7, 2) for m in "ab"]
    folder = tmp_path / "evaluation"
    evaluation = written(folder, "ab", [pair("p")], scores, videos=videos, curves=curves, costs=costs)
    (told,) = pairs_of(held_together([evaluation]), Media(0), 1)
    metric_id = scores[0]["metric_id"]
    assert told["scores"][metric_id][0][0] == 4.5 and told["curves"][metric_id] == [[20.0, 21.0]] * 2
    assert [cost["seconds"] for cost in told["costs"]] == [2.0, 2.0]
    assert all("reason" not in player for player in told["videos"])
    key = export_votes([evaluation], tmp_path / "votes", 0)
    assert len(key.items) == 1
