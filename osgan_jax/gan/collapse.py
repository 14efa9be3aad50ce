"""An alarm for a generator that has collapsed, as a whole, to a few images, or in some classes."""

import numpy as np

from osgan_jax import data
from osgan_jax.gan.diversity import Reference

_REAL_IMAGES = 256
_PATIENCE = 5


class Alarm:
    """Reports once that samples have been far more alike than real images for long.

    Attributes:
      reference: the real images.
      values: what to log of the last samples, see `osgan_jax.gan.diversity.Comparison.values`.
    """

    def __init__(self, real: data.Dataset, *, patience: int = _PATIENCE):
        """Measures the real images.

        Args:
          real: the training set, of which some images are read.
          patience: sets of samples in a row that must be alike.
        """
        count = min(len(real), _REAL_IMAGES)
        rows = [real[int(i)] for i in np.linspace(0, len(real) - 1, count).astype(int)]
        images = np.stack([row['image'] for row in rows]) / 127.5 - 1
        labels = np.array([row['label'] for row in rows]) if real.num_classes else None
        self.reference = Reference(images, labels)
        self.values: dict[str, float] = {}
        self._class_names, self._patience = real.class_names, patience
        self._low_since: list[int] = []
        self._reported = False

    @property
    def is_low(self) -> bool:
        """Whether the last samples were alike."""
        return bool(self._low_since)

    def __call__(
        self, step: int, images: np.ndarray, labels: np.ndarray | None = None
    ) -> str | None:
        """Measures samples; returns a warning, or None.

        Args:
          step: number of finished updates.
          images: `[N, H, W, C]` in [-1, 1].
          labels: the classes `[N]` that they were drawn of; None without.
        """
        self.values = {}
        compared = self.reference.compare(images, labels)
        if compared is None:
            return None
        self.values = compared.values()
        fault = compared.fault(self._class_names)
        if fault is None:
            self._low_since.clear()
            return None
        self._low_since.append(step)
        if self._reported or len(self._low_since) < self._patience:
            return None
        self._reported = True
        return (
            f'samples have been far more alike than real images since step {self._low_since[0]} '
            f'({fault}): the generator seems to have collapsed. Try a lower --learning_rate_g or a '
            'higher --learning_rate_d, another --loss or --discriminator_norm, a larger '
            '--batch_size, or another --seed'
        )
