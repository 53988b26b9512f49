"""The Fréchet distance between the Gaussians that fit two sets of features, exactly."""

import numpy as np


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½) of features (n, d) and (m, d), n and m at least 2, in float64.

    With A and B the centred features over √(n - 1), so that S1 = AᵀA and S2 = BᵀB, the last trace is the nuclear norm
    of A Bᵀ: no root of a matrix is taken, and sets smaller than d cost less rather than fail. Dowson and Landau 1982
    for the distance. Raises ValueError for fewer than two rows.
    """
    if min(len(real), len(generated)) < 2:
        raise ValueError(f"a covariance needs two rows of features, not {len(real)} and {len(generated)}")
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    shift = real.mean(axis=0) - generated.mean(axis=0)
    a, b = _root(real), _root(generated)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = shift @ shift + np.sum(a * a) + np.sum(b * b) - 2 * shared
    return max(0.0, float(distance))  # equal sets give what rounding leaves of 0


def _root(features: np.ndarray) -> np.ndarray:
    """R of at most d rows with RᵀR the features' covariance (with n - 1)."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred
