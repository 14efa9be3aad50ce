"""Frechet distance between two sets of features (Heusel et al. 2017, arXiv:1706.08500)."""

import numpy as np

from osgan_jax.evaluation.metrics.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared 2-Wasserstein distance between Gaussians with these moments.

    `|m_a - m_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^(1/2)`, with unbiased covariances. The trace
    of the root is that of the symmetric `(R S_b R)^(1/2)`, R the root of S_a: two eigenvalue
    problems of symmetric matrices, exact also where covariances are singular, as those of fewer
    samples than features are.

    Args:
      a: of one set, at least 2 samples.
      b: of the other.

    Returns:
      The distance, 0 or more.

    Raises:
      ValueError: for features of different numbers or fewer than 2 samples.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f'features of {a.mean.shape[0]} and {b.mean.shape[0]} numbers cannot be compared'
        )
    cov_a, cov_b = a.covariance(), b.covariance()
    values, vectors = np.linalg.eigh(cov_a)
    # Rounding leaves eigenvalues of a singular covariance a little below zero.
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    between = root @ cov_b @ root
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh((between + between.T) / 2), 0)).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    # Identical sets leave rounding, of either sign.
    return max(0.0, float(distance))
