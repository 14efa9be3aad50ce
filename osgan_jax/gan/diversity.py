"""How varied images are beside real ones: all of them, nearest ones, and those of a class."""

from typing import NamedTuple

import numpy as np

_CELLS = 8  # a side; noise of single pixels does not count as diversity
_IDENTICAL = 1e-6  # real images of less diversity are no measure
# Squared distance to the nearest other image, of the real images' median: below it two images are
# doubles. Of real digits and CIFAR-10 images, 16 to 256 at a time, below 3% have one even at 0.05.
_DOUBLE = 0.03
# Shares of the real images' diversity below which all samples, and those of a class, are alike. In
# 10,000 draws of four real images a class the lowest was 0.13 (digits; CIFAR-10 0.21). A
# conditional generator that learns well has 0.03 to 0.1 early on, and one that ignores z none.
_LOW, _CLASS_LOW = 0.2, 0.03
_MANY_DOUBLES = 0.25  # more than real images have
_MOST = 0.5  # of a class
_CLASS_SIZE = 4  # images of a class that tell something of it
_DRAWS = 8  # of as many real images as there are samples
_SHOWN_CLASSES = 5


class Comparison(NamedTuple):
    """Samples beside as many real images.

    Attributes:
      diversity: mean squared distance between two different samples, over that of real images.
      doubles: share of samples that have a double among the others, see `Reference`.
      real_doubles: that share of the real images, the largest of several draws.
      class_doubles: the share of doubles among the samples of each class, by its number; of classes
        with at least four samples, empty without labels.
      class_diversity: the diversity of each of these classes over that of its real images, where
        four of them are known.
    """

    diversity: float
    doubles: float
    real_doubles: float
    class_doubles: dict[int, float]
    class_diversity: dict[int, float]

    def values(self) -> dict[str, float]:
        """What is logged: 1 is as varied as real images."""
        found = {'diversity': self.diversity, 'doubles': self.doubles}
        if self.class_diversity:
            each = list(self.class_diversity.values())
            found |= {'class_diversity': float(np.mean(each)), 'class_diversity_least': min(each)}
        return found

    def fault(self, class_names: tuple[str, ...] = ()) -> str | None:
        """What shows that samples are far more alike than real images, or None.

        Args:
          class_names: names of the classes, in label order.
        """
        if self.diversity < _LOW:
            return f'their diversity is {self.diversity:.1%} of that of real images'
        if self.doubles >= self.real_doubles + _MANY_DOUBLES:
            return (
                f'{self.doubles:.0%} of them have a double among the others, of real images '
                f'{self.real_doubles:.0%}'
            )
        collapsed = [
            label
            for label, doubles in self.class_doubles.items()
            if doubles > _MOST or self.class_diversity.get(label, 1) < _CLASS_LOW
        ]
        if not collapsed:
            return None
        shown = [class_names[i] if i < len(class_names) else str(i) for i in collapsed]
        more = f' and {len(shown) - _SHOWN_CLASSES} more' if len(shown) > _SHOWN_CLASSES else ''
        return (
            f'{len(collapsed)} of {len(self.class_doubles)} classes hardly vary: '
            f'{", ".join(shown[:_SHOWN_CLASSES])}{more}'
        )


class Reference:
    """Real images that samples are compared with.

    A sample's *double* is another sample at less than 3% of the squared distance that real images
    have to their nearest others, as many at a time (the median of them). A generator that takes a
    few images in turn draws doubles alone, however far these few lie apart.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None):
        """Measures the real images.

        Args:
          images: `[N, H, W, C]` in [-1, 1].
          labels: their classes `[N]`; None without.
        """
        self._cells = cells(images)
        self._labels = labels
        self.diversity = _mean_distance(self._cells) if len(images) > 1 else 0.0
        self._nearest: dict[int, tuple[float, float]] = {}

    def compare(self, images: np.ndarray, labels: np.ndarray | None = None) -> Comparison | None:
        """Compares samples.

        Args:
          images: `[N, H, W, C]` in [-1, 1].
          labels: the classes `[N]` that they were drawn of; None without.

        Returns:
          The comparison; None for fewer than two samples, or where all real images are one.
        """
        if len(images) < 2 or self.diversity < _IDENTICAL:
            return None
        samples = cells(images)
        near, real_doubles = self._real_nearest(len(samples))
        class_doubles, class_diversity = {}, {}
        for label in [] if labels is None else np.unique(labels).tolist():
            own = samples[labels == label]
            if len(own) < _CLASS_SIZE:
                continue
            class_doubles[label] = float(np.mean(nearest(own) < near))
            real = self._cells[self._labels == label] if self._labels is not None else ()
            usual = _mean_distance(real) if len(real) >= _CLASS_SIZE else 0.0
            if usual > _IDENTICAL:
                class_diversity[label] = _mean_distance(own) / usual
        return Comparison(
            diversity=_mean_distance(samples) / self.diversity,
            doubles=float(np.mean(nearest(samples) < near)),
            real_doubles=real_doubles,
            class_doubles=class_doubles,
            class_diversity=class_diversity,
        )

    def _real_nearest(self, count: int) -> tuple[float, float]:
        """The distance of a double among `count` images, and the share of real ones that have one.

        Distances to the nearest fall with the number of images, so as many are drawn.
        """
        if count not in self._nearest:
            rng = np.random.default_rng(0)
            size = min(count, len(self._cells))
            draws = [
                nearest(self._cells[rng.choice(len(self._cells), size, replace=False)])
                for _ in range(_DRAWS)
            ]
            limit = _DOUBLE * float(np.median(draws))
            self._nearest[count] = limit, float(np.mean(np.less(draws, limit), axis=1).max())
        return self._nearest[count]


def diversity(images: np.ndarray) -> float:
    """Mean squared distance between two different images, a pixel, at 8x8 pixels.

    Args:
      images: `[N, H, W, C]` in [-1, 1], N of at least 2.

    Returns:
      0 for identical images; real sets lie about 0.2 to 0.6.

    Raises:
      ValueError: for fewer than 2 images.
    """
    if len(images) < 2:
        raise ValueError(f'expected at least 2 images to compare, got {len(images)}')
    return _mean_distance(cells(images))


def nearest(points: np.ndarray) -> np.ndarray:
    """Mean squared distance of each row to the nearest other one, `[N, D] -> [N]`, N at least 2."""
    squares = np.sum(points**2, axis=1)
    distances = squares[:, None] + squares[None] - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    return np.maximum(distances.min(axis=1), 0) / points.shape[1]


def cells(images: np.ndarray) -> np.ndarray:
    """The means of the cells of a grid of at most 8x8, `[N, H, W, C] -> [N, cells * C]`."""
    images = np.asarray(images, np.float64)
    for axis in (1, 2):
        size = images.shape[axis]
        edges = np.linspace(0, size, min(size, _CELLS) + 1).astype(int)
        sums = np.add.reduceat(images, edges[:-1], axis=axis)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(4)])
        images = sums / widths
    return images.reshape(len(images), -1)


def _mean_distance(points: np.ndarray) -> float:
    # The mean over all pairs of different rows is twice the unbiased variance.
    return float(2 * points.var(axis=0, ddof=1).mean())
