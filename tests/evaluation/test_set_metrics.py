"""Metrics of sets of videos: KID, what each is taken of, when there is no value, and what an id says."""

import numpy as np
import pytest

from evaluation.metrics.evidence import Evidence, NotComputable
from evaluation.metrics.metric import OK
from evaluation.metrics.paired_i3d import PAIRED_I3D
from evaluation.metrics.sets.fid import FID
from evaluation.metrics.sets.frechet import frechet_distance
from evaluation.metrics.sets.fvd import FVD
from evaluation.metrics.sets.kid import KID, KVD, squared_mmd, standard_error
from evaluation.metrics.sets.registry import SET_METRICS


def videos(count: int, rows: int = 6, d: int = 5, seed: int = 0, shift: float = 0) -> list[tuple]:
    generator = np.random.default_rng(seed)
    return [(generator.normal(size=(rows, d)), generator.normal(size=(rows, d)) + shift) for _ in range(count)]


def joined(rows: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate(side) for side in zip(*rows, strict=True))


def singles(real: np.ndarray, generated: np.ndarray) -> list[tuple]:
    """A video of each two rows."""
    return [(a[None], b[None]) for a, b in zip(real, generated, strict=True)]


def test_kid_is_its_definition_pair_by_pair_and_never_within_a_driver():
    made = [(real[: 2 + n], generated[: 3 - n]) for n, (real, generated) in enumerate(videos(3, shift=0.5))]
    made.append((made[1][0], made[0][1] + 1))  # driver 1 again, with another reference
    driver = [0, 1, 2, 1]
    rows = [[(driver[n], row) for n, video in enumerate(made) for row in video[side]] for side in (0, 1)]

    def mean(first, second):
        return np.mean([(float(np.dot(a, b)) / 5 + 1) ** 3 for i, a in first for j, b in second if i != j])

    expected = mean(rows[0], rows[0]) + mean(rows[1], rows[1]) - 2 * mean(*rows)
    assert squared_mmd(made) == pytest.approx(expected, rel=1e-12)


def test_kid_of_two_halves_is_0_on_average_and_below_at_times():
    values = [squared_mmd(singles(*np.random.default_rng(seed).normal(size=(2, 15, 4)))) for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert 0.3 < np.mean(np.array(values) < 0) < 0.8


def clustered(count: int, generator: np.random.Generator, references: int = 1) -> list[tuple]:
    """Videos of 6 rows that are like each other and like their driver's, each driver with several references."""
    made = []
    for _ in range(count):
        middle = generator.normal(size=3)
        real = middle + 0.1 * generator.normal(size=(6, 3))
        made += [(real, middle + 0.1 * generator.normal(size=(6, 3))) for _ in range(references)]
    return made


@pytest.mark.parametrize("count", [5, 10, 20])
@pytest.mark.parametrize("references", [1, 3])
def test_kid_of_rows_clustered_in_videos_is_0_on_average(count, references):
    generator = np.random.default_rng(count)
    values = [squared_mmd(clustered(count, generator, references)) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_kid_does_not_depend_on_the_number_of_rows_as_fid_does():
    def means(n: int) -> tuple[float, float]:
        generator = np.random.default_rng(n)
        drawn = [(generator.normal(size=(n, 4)), generator.normal(size=(n, 4)) + 0.7) for _ in range(200)]
        return np.mean([squared_mmd(singles(*d)) for d in drawn]), np.mean([frechet_distance(*d) for d in drawn])

    (kid_of_8, fid_of_8), (kid_of_64, fid_of_64) = means(8), means(64)
    assert kid_of_8 == pytest.approx(kid_of_64, rel=0.15)
    assert fid_of_8 > 1.5 * fid_of_64


def test_kid_error_is_the_jackknife_over_drivers():
    made = [(real, generated[: 3 + number % 3]) for number, (real, generated) in enumerate(videos(7, shift=0.5))]
    left_out = np.array([squared_mmd(made[:i] + made[i + 1 :]) for i in range(7)])
    assert standard_error(made) == pytest.approx(np.sqrt(6 / 7 * np.sum((left_out - left_out.mean()) ** 2)), rel=1e-9)
    again = [(real, generated + 1) for real, generated in made]  # each driver twice: it is left out with both
    left_out = np.array([squared_mmd([*(made + again)[:i], *(made + again)[i + 1 : 7 + i], *(made + again)[8 + i :]])
                         for i in range(7)])  # fmt: skip
    expected = np.sqrt(6 / 7 * np.sum((left_out - left_out.mean()) ** 2))
    assert standard_error(made + again) == pytest.approx(expected, rel=1e-9)


def test_kid_of_one_driver_is_none_and_of_two_has_no_error():
    real, generated = videos(1)[0]
    assert "one driver only" in KID.compute([(real, generated), (real, generated + 1)]).reason
    of_two = KID.compute(videos(2))
    assert (of_two.status, of_two.standard_error) == (OK, None)


def test_kid_error_is_the_spread_of_repeated_measurements():
    repeated = [KID.compute(videos(20, seed=seed, shift=0.4)) for seed in range(60)]
    spread = np.std([score.value for score in repeated])
    assert np.mean([score.standard_error for score in repeated]) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("metric", [KID, FID])
def test_a_value_does_not_depend_on_the_order_of_videos(metric):
    made = videos(5, shift=1)
    first, second = metric.compute(made), metric.compute(made[::-1])
    assert second.value == pytest.approx(first.value, rel=1e-12)
    assert (first.status, first.videos, first.n_real, first.n_generated) == (OK, 5, 30, 30)
    assert first.value > metric.compute([(real, real[::-1]) for real, _ in made]).value


def test_fvd_of_few_clips_is_refused():
    made = videos(16, rows=15)
    refused = FVD.compute(made)
    assert (refused.value, refused.status, refused.n_real) == (None, "not_computable", 240)
    assert "240 real and 240 generated" in refused.reason
    assert "256" in refused.reason
    enough = videos(16, rows=16)
    assert FVD.compute(enough).value == pytest.approx(frechet_distance(*joined(enough)))
    assert KVD.compute(made).status == OK


def test_no_value_is_told_why():
    one = videos(1, rows=1)
    assert "needs 2" in FID.compute(one).reason
    assert "needs 256" in FVD.compute(one).reason
    assert "no video" in KID.compute([]).reason
    broken = [(real, np.full_like(generated, np.nan)) for real, generated in videos(3)]
    assert "no finite" in FID.compute(broken).reason
    with pytest.raises(ValueError, match="features must be"):
        FID.compute([*videos(2), *videos(1, d=4)])
    with pytest.raises(ValueError, match="features must be"):
        FID.compute([(np.zeros(4), np.zeros(4))])
    with pytest.raises(ValueError, match="features must be"):
        FID.compute([*videos(2), (np.zeros((0, 5)), np.zeros((3, 5)))])


def test_an_id_says_what_the_value_depends_on():
    score = FVD.compute(videos(16, rows=16))
    assert FVD.identify(score, {16.0}, {(1024, 576)}).endswith("short224crop-16fps-n256x256-1024x576")
    assert FVD.identify(score, {16.0, 30.0}, {(64, 64), (64, 32)}).endswith("short224crop-mixedfps-n256x256-mixed")
    of_two, of_three = (FID.compute(videos(count)) for count in (2, 3))
    assert FID.identify(of_two, {16.0}, {(8, 8)}) == FID.identify(of_two, {25.0}, {(9, 9)})
    assert FID.identify(of_two, {16.0}, {(8, 8)}) != FID.identify(of_three, {16.0}, {(8, 8)})
    assert KID.identify(of_two, {16.0}, {(8, 8)}) == KID.identify(of_three, {16.0}, {(8, 8)})


def test_every_set_metric_tells_what_it_is():
    score = KID.compute(videos(2))
    for name, metric in SET_METRICS.items():
        assert metric.identify(score, {16.0}, {(8, 8)}).startswith(f"{name}@{metric.version}/{metric.preprocessing}")
        assert metric.definition and metric.source and metric.range[0] < metric.range[1]
        assert metric.direction == "lower"


def levels(*values: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])


def mean_levels(name: str, pictures: np.ndarray, others=None) -> np.ndarray:
    """As a backbone with a row per picture."""
    return pictures.mean(axis=(1, 2, 3), dtype=np.float64)[:, None].astype(np.float32)


def clip_levels(name: str, pictures: np.ndarray, others=None) -> np.ndarray:
    """As a backbone with a row per clip of 16."""
    clips = [pictures[start : start + 16] for start in range(0, len(pictures) - 15, 16)]
    return np.array([[clip.mean(dtype=np.float64), 1] for clip in clips], np.float32).reshape(-1, 2)


def test_real_rows_are_the_driver_at_the_moments_of_the_generated_frames():
    evidence = Evidence(levels(9, 8, 7), 8, driving_frames=levels(*range(0, 60, 10)), driving_fps=16)
    evidence.embedder = mean_levels
    real, generated = FID.rows(evidence)
    assert real.ravel().tolist() == [0, 20, 40]
    assert generated.ravel().tolist() == [9, 8, 7]


def test_rows_say_what_is_missing():
    with pytest.raises(NotComputable, match="no driving video"):
        KID.rows(Evidence(levels(1), 8, embedder=mean_levels))
    with pytest.raises(NotComputable, match="no backbone: inception_fid"):
        KID.rows(Evidence(levels(1), 8, driving_frames=levels(1), driving_fps=8))
    with pytest.raises(NotComputable, match="too few for i3d_logits"):
        short = levels(*[1] * 15)
        FVD.rows(Evidence(short, 8, driving_frames=short, driving_fps=8, embedder=clip_levels))


def test_paired_i3d_is_the_mean_squared_distance_of_clips():
    made, truth = levels(*[10] * 16, *[20] * 16, *[90] * 5), levels(*[13] * 16, *[15] * 16, *[0] * 5)
    evidence = Evidence(made, 8, driving_frames=truth, driving_fps=8, same_source=True, embedder=clip_levels)
    score = PAIRED_I3D.score(evidence)
    assert score.value == pytest.approx((9 + 25) / 2)
    assert score.curve == (9.0,) * 16 + (25.0,) * 16 + (None,) * 5
    short = Evidence(made[:9], 8, driving_frames=truth, driving_fps=8, same_source=True, embedder=clip_levels)
    assert "9 frames" in PAIRED_I3D.score(short).reason
