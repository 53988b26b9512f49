"""The Fréchet distance: closed forms, what must not change it, and its bias."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.sets.frechet import frechet_distance

FEW_AND_MANY = [(5, 12), (60, 12)]
"""(rows, dimensions), fewer and more than there are"""


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + generator.normal(size=d)


def with_deviations(deviations: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Rows whose sample mean is 0 and whose sample covariance is exactly diag(deviations²)."""
    raw = np.random.default_rng(seed).normal(size=(n, len(deviations)))
    orthonormal, _ = np.linalg.qr(raw - raw.mean(axis=0))
    return np.sqrt(n - 1) * orthonormal * deviations


@pytest.mark.parametrize(("n", "d"), FEW_AND_MANY)
def test_shifted_by_3_in_12_dimensions_is_108(n, d):
    rows = gaussian(n, d)
    assert frechet_distance(rows, rows + 3) == pytest.approx(108, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), FEW_AND_MANY)
def test_twice_as_wide_is_the_trace_of_the_covariance(n, d):
    rows = gaussian(n, d)
    wide = rows.mean(axis=0) + 2 * (rows - rows.mean(axis=0))
    assert frechet_distance(rows, wide) == pytest.approx(np.trace(np.cov(rows, rowvar=False)), rel=1e-10)


def test_diagonal_gaussians():
    first, second, shift = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.25, 0.5]), np.array([0.0, 4.0, 1.0])
    distance = frechet_distance(with_deviations(first, 20, 0), with_deviations(second, 31, 1) + shift)
    assert distance == pytest.approx(np.sum((first - second) ** 2) + 17, rel=1e-12)


def test_is_the_formula_with_a_matrix_root():
    real, generated = gaussian(60, 8, 1), gaussian(45, 8, 2)
    first, second = (np.cov(rows, rowvar=False) for rows in (real, generated))
    root = np.trace(scipy.linalg.sqrtm(first @ second)).real
    shift = np.sum((real.mean(axis=0) - generated.mean(axis=0)) ** 2)
    expected = shift + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [*FEW_AND_MANY, (2, 12)])
def test_equal_sets_have_none_and_never_less(n, d):
    rows = gaussian(n, d)
    assert 0 <= frechet_distance(rows, rows[::-1]) <= 1e-12 * np.trace(np.cov(rows, rowvar=False))


def test_five_rows_are_measured_in_the_dimensions_they_span():
    inside = [gaussian(5, 4, 1), gaussian(5, 4, 2)]
    basis, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 4)))
    assert frechet_distance(*(rows @ basis.T for rows in inside)) == pytest.approx(frechet_distance(*inside), rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 20), m=st.integers(2, 20), d=st.integers(1, 12))
def test_turns_order_and_sides_change_nothing(seed, n, m, d):
    real, generated = gaussian(n, d, seed), gaussian(m, d, seed + 1)
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(d, d)))
    expected = frechet_distance(real, generated)
    scale = np.sum(real**2) + np.sum(generated**2)
    turned = frechet_distance(generator.permutation(generated) @ turn, generator.permutation(real) @ turn)
    assert turned == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)


def test_of_one_distribution_falls_with_the_number_of_rows():
    def bias(n: int) -> float:
        generator = np.random.default_rng(n)
        return np.mean([frechet_distance(*generator.normal(size=(2, n, 16))) for _ in range(12)])

    assert bias(80) / bias(320) == pytest.approx(4, rel=0.2)
    assert bias(320) / bias(1280) == pytest.approx(4, rel=0.2)


def test_float32_features_are_computed_in_float64():
    narrow = [(gaussian(n, 12, n) + 1000).astype(np.float32) for n in (60, 45)]
    wide = [rows.astype(np.float64) for rows in narrow]
    assert frechet_distance(*narrow) == pytest.approx(frechet_distance(*wide), rel=1e-12)


def test_one_row_has_no_covariance():
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))
