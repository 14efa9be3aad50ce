"""Fidelity and variety apart, by neighbourhoods in feature space.

Kynkaanniemi et al. 2019 (arXiv:1904.06991). Distances are computed tile by tile, so that N x M of
them never exist.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def precision_recall(
    real: np.ndarray, fake: np.ndarray, *, k: int = 3, batch_size: int = 1024
) -> tuple[float, float]:
    """How much of the fake set lies on the real manifold, and of the real on the fake one.

    A set's manifold is the union of balls about its samples, each reaching to the sample's k-th
    nearest other one.

    Args:
      real: features `[N, F]`.
      fake: features `[M, F]`.
      k: neighbour that sets a ball's radius.
      batch_size: rows a tile.

    Returns:
      Precision and recall, 0 to 1.

    Raises:
      ValueError: for features of different numbers, or no more than k samples.
    """
    real, fake = _prepare(real, fake, k)
    precision = _inside(fake, real, _radii(real, k, batch_size), batch_size) > 0
    recall = _inside(real, fake, _radii(fake, k, batch_size), batch_size) > 0
    return float(precision.mean()), float(recall.mean())


def _prepare(real, fake, k: int) -> tuple[jax.Array, jax.Array]:
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f'expected features [N, F] and [M, F], got {real.shape} and {fake.shape}')
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(
            f'k={k}: expected at least 1, and fewer than the {min(len(real), len(fake))} samples'
        )
    # |x|^2 - 2 x.y + |y|^2 cancels where features lie far from zero.
    centre = real.mean(axis=0)
    return jnp.asarray(real - centre, jnp.float32), jnp.asarray(fake - centre, jnp.float32)


def _radii(samples: jax.Array, k: int, batch_size: int) -> np.ndarray:
    """Squared distance `[N]` to the k-th nearest other sample."""
    # Each sample's nearest is itself, or another at the same place.
    return _by_rows(samples, batch_size, lambda rows: _nearest(rows, samples, k + 1))


def _inside(samples, centres, radii: np.ndarray, batch_size: int) -> np.ndarray:
    """In how many balls each sample lies, `[N]`."""
    radii = jnp.asarray(radii)
    return _by_rows(samples, batch_size, lambda rows: _count_inside(rows, centres, radii))


def _by_rows(samples: jax.Array, batch_size: int, of: Callable) -> np.ndarray:
    parts = [of(samples[at : at + batch_size]) for at in range(0, len(samples), batch_size)]
    return np.concatenate([np.asarray(part) for part in parts])


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(a * a, 1)[:, None] + jnp.sum(b * b, 1)[None, :]
    return jnp.maximum(squares - 2 * product, 0)


@functools.partial(jax.jit, static_argnums=2)
def _nearest(rows: jax.Array, samples: jax.Array, k: int) -> jax.Array:
    """Squared distance `[n]` of each row to its k-th nearest sample."""
    return -jax.lax.top_k(-_squared_distances(rows, samples), k)[0][:, -1]


@jax.jit
def _count_inside(rows: jax.Array, centres: jax.Array, radii: jax.Array) -> jax.Array:
    return jnp.sum(_squared_distances(rows, centres) <= radii, axis=1)
