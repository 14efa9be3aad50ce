"""Mean and covariance of features, gathered batch by batch."""

from typing import NamedTuple

import jax
import numpy as np


class Moments(NamedTuple):
    """The moments of a set of features, from which a Frechet distance is computed.

    Attributes:
      count: number of samples, N.
      mean: `[F]` float64.
      scatter: `[F, F]` float64, the sum of the centred features' outer products.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    def covariance(self) -> np.ndarray:
        """The covariance `[F, F]`, unbiased (over N - 1).

        Raises:
          ValueError: for fewer than 2 samples.
        """
        if self.count < 2:
            raise ValueError(f'a covariance needs at least 2 samples, got {self.count}')
        return self.scatter / (self.count - 1)


def of(features: np.ndarray | jax.Array) -> Moments:
    """The moments of features `[N, F]`, N of at least 1.

    Raises:
      ValueError: for another shape, or features that are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.shape[0]:
        raise ValueError(f'expected features [N, F], got {features.shape}')
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise ValueError(f'the features of {bad} of {len(features)} images are not finite')
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


def of_covariance(mean: np.ndarray, covariance: np.ndarray, count: int) -> Moments:
    """The moments of `count` samples, at least 2, of a mean `[F]` and covariance `[F, F]`."""
    return Moments(count, mean, covariance * (count - 1))


def merge(a: Moments | None, b: Moments) -> Moments:
    """The moments of two sets together, from theirs (Chan et al. 1979, pairwise update).

    None is the empty set. Nothing is lost: in whatever parts and order a set is gathered, over
    batches or devices, the result is that of the whole, to rounding.

    Raises:
      ValueError: if their features differ in number.
    """
    if a is None:
        return b
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f'features of {a.mean.shape[0]} and {b.mean.shape[0]} numbers cannot be merged'
        )
    count = a.count + b.count
    difference = b.mean - a.mean
    return Moments(
        count,
        a.mean + difference * (b.count / count),
        a.scatter + b.scatter + np.outer(difference, difference) * (a.count * b.count / count),
    )
