"""The diversity of images, and an alarm for a generator that has collapsed."""

import numpy as np

from osgan_jax import data

_CELLS = 8  # a side; noise of single pixels does not count as diversity
_REAL_IMAGES = 256
_IDENTICAL = 1e-6  # real images of less diversity raise no alarm
_SHARE = 0.2
_PATIENCE = 5


def diversity(images: np.ndarray) -> float:
    """Mean squared distance between two different images, a pixel, at 8x8 pixels.

    Args:
      images: `[N, H, W, C]` in [-1, 1], N of at least 2.

    Returns:
      0 for identical images; real sets lie about 0.2 to 0.6.

    Raises:
      ValueError: for fewer than 2 images.
    """
    count = len(images)
    if count < 2:
        raise ValueError(f'expected at least 2 images to compare, got {count}')
    coarse = _coarse(np.asarray(images, np.float64))
    # The mean over all pairs of different images is twice the unbiased variance.
    return float(2 * coarse.var(axis=0, ddof=1).mean())


class Alarm:
    """Reports once that samples have been far less diverse than the real images for long."""

    def __init__(self, real: data.Dataset, *, share: float = _SHARE, patience: int = _PATIENCE):
        """Measures the real images.

        Args:
          real: the training set.
          share: share of the real diversity below which a sample grid counts.
          patience: sample grids in a row that must count.
        """
        count = min(len(real), _REAL_IMAGES)
        chosen = np.linspace(0, len(real) - 1, count).astype(int)
        images = np.stack([real[int(index)]['image'] for index in chosen])
        self.real = diversity(images / 127.5 - 1) if count > 1 else 0.0
        self._share, self._patience = share, patience
        self._low_since: list[int] = []
        self._reported = False

    @property
    def is_low(self) -> bool:
        """Whether the last sample grid counted."""
        return bool(self._low_since)

    def __call__(self, step: int, images: np.ndarray) -> str | None:
        """Measures a sample grid; returns a warning, or None.

        Args:
          step: number of finished updates.
          images: `[N, H, W, C]` in [-1, 1].
        """
        if len(images) < 2 or self.real < _IDENTICAL:
            return None
        value = diversity(images)
        if value >= self._share * self.real:
            self._low_since.clear()
            return None
        self._low_since.append(step)
        if self._reported or len(self._low_since) < self._patience:
            return None
        self._reported = True
        return (
            f'samples have been far more alike than real images since step {self._low_since[0]} '
            f'(diversity {value:.3g}, of the real {self.real:.3g}): the generator seems to have '
            'collapsed. Try a lower --learning_rate_g or a higher --learning_rate_d, another '
            '--loss or --discriminator_norm, a larger --batch_size, or another --seed'
        )


def _coarse(images: np.ndarray) -> np.ndarray:
    """The means of the cells of a grid of at most 8x8."""
    for axis in (1, 2):
        size = images.shape[axis]
        edges = np.linspace(0, size, min(size, _CELLS) + 1).astype(int)
        sums = np.add.reduceat(images, edges[:-1], axis=axis)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(4)])
        images = sums / widths
    return images
