"""Mean and covariance of features in a file of pytorch-fid's layout, read and written.

An .npz with `mu` `[F]` and `sigma` `[F, F]` (https://github.com/mseitzer/pytorch-fid), from which a
Frechet distance can be computed, and nothing else. Those written here also have `count`, and the
texts `extractor`, `convention`, `fingerprint` and `dataset`: what they compare with. Others read
past these.
"""

import dataclasses
import os

import numpy as np

from osgan_jax.evaluation.metrics import moments
from osgan_jax.io import atomic, checks, npz
from osgan_jax.io.messages import printable, reason

ABOUT = ('extractor', 'convention', 'fingerprint', 'dataset')


@dataclasses.dataclass(frozen=True)
class MomentsFile:
    """The content of a file.

    Attributes:
      path: of the file, for messages.
      moments: of the features; their count is 2 where the file does not say.
      count: number of images; None where the file does not say.
      about: texts by the names of `ABOUT`; those that the file does not say are missing.
    """

    path: str
    moments: moments.Moments
    count: int | None
    about: dict[str, str]


def is_one(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an .npz file of a mean and a covariance."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, 'rb') as file:
            return {'mu', 'sigma'} <= set(npz.names(file))
    except checks.DAMAGE:
        return False


def read(path: str | os.PathLike[str]) -> MomentsFile:
    """Reads a file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or holds no mean and covariance.
    """
    name = printable(path)
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            arrays = npz.read(file, size, wanted=('mu', 'sigma', 'count'))
            texts = npz.read(file, size, wanted=ABOUT, kinds=npz.TEXT)
    except FileNotFoundError:
        raise FileNotFoundError(f'no file {name}') from None
    except checks.DAMAGE as error:
        raise ValueError(f'cannot read statistics from {name}: {reason(error)}') from None
    try:
        mean, covariance = (np.asarray(arrays[key], np.float64) for key in ('mu', 'sigma'))
    except KeyError as error:
        raise ValueError(f'{name} has no {error.args[0]}: expected mu and sigma') from None
    _check(name, mean, covariance)
    count = None
    if 'count' in arrays:
        if arrays['count'].shape or arrays['count'] < 2:
            raise ValueError(f'{name}: expected count to be a number of at least 2')
        count = int(arrays['count'])
    found = moments.of_covariance(mean, covariance, 2 if count is None else count)
    about = {key: printable(str(value)) for key, value in texts.items() if not value.shape}
    return MomentsFile(name, found, count, about)


def _check(name: str, mean: np.ndarray, covariance: np.ndarray) -> None:
    if mean.ndim != 1 or not mean.size or covariance.shape != (mean.size, mean.size):
        raise ValueError(
            f'{name}: expected mu [F] and sigma [F, F], got {list(mean.shape)} and '
            f'{list(covariance.shape)}'
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f'{name}: mu or sigma is not finite')
    scale = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > 1e-4 * scale or covariance.diagonal().min() < 0:
        raise ValueError(f'{name}: sigma is not a covariance, symmetric and of variances')


def write(path: str | os.PathLike[str], found: moments.Moments, about: dict[str, str]) -> None:
    """Writes a file, in one piece.

    Args:
      path: the file.
      found: the moments.
      about: texts by the names of `ABOUT`.

    Raises:
      OSError: it cannot be written there.
    """
    texts = {key: np.asarray(about[key]) for key in ABOUT if key in about}
    with atomic.replacing(path) as file:
        np.savez(file, mu=found.mean, sigma=found.covariance(), count=found.count, **texts)
