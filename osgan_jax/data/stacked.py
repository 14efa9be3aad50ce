"""Stacked digits: three handwritten digits as one colour image, which has 1,000 modes.

As StackedMNIST (Metz et al. 2017, https://arxiv.org/abs/1611.02163; Lin et al. 2018,
https://arxiv.org/abs/1712.04086), of the digits that ship inside scikit-learn. The class of an
image is the number that its digits make: red are hundreds, green tens, blue ones.

Every class has as many images, 50 to train and 10 to test, so that the classes of the data are
exactly uniform, which is what the generated ones are compared with. Training images are stacked of
training digits alone and test images of test digits, which are of other writers (`data.digits`).
Which digits are stacked is drawn by a constant seed: the dataset is the same everywhere.
"""

import numpy as np

from osgan_jax.data import fingerprints
from osgan_jax.data.dataset import MemorySource, Source, labels_of
from osgan_jax.io import checked_npz

DEPTH = 3
"""Digits in an image, one a channel."""

PER_CLASS = {'train': 50, 'test': 10}
"""Images of each class, by split."""

_SEED = 0x7374_6163  # keeps these draws apart from everyone else's


class StackedSource(MemorySource):
    """Images whose channels are grey images of another source, kept there once each."""

    def __init__(self, base: MemorySource, rows: np.ndarray, num_classes: int):
        """Makes a source.

        Args:
          base: grey images `[H, W, 1]`.
          rows: `[M, DEPTH]`, the positions in `base` of each image's channels.
          num_classes: classes of `base`.
        """
        self._base = base
        self._rows = rows
        places = num_classes ** np.arange(DEPTH)[::-1]
        self._stacked_labels = (labels_of(base)[rows] @ places).astype(np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return self._stacked_labels

    def fingerprint(self) -> str | None:
        """See `MemorySource`."""
        base = fingerprints.of_source(self._base)
        digest = checked_npz.digest(base, self._rows)
        return None if base is None else f'stacked-1:{digest}'

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `MemorySource`."""
        grey, _ = self._base.gather(self._rows[indices].reshape(-1))
        stacks = grey[..., 0].reshape(len(indices), DEPTH, *grey.shape[1:3])
        return np.ascontiguousarray(stacks.transpose(0, 2, 3, 1)), self._stacked_labels[indices]


def draw_rows(labels: np.ndarray, split: str, first: int = 0) -> np.ndarray:
    """Draws which images of a part are stacked, as many of each class of stacks.

    Args:
      labels: `[B]`, classes of the part's images.
      split: 'train' or 'test'.
      first: position of the part's first image.

    Returns:
      Positions `[M, DEPTH]`, in an order that was drawn.
    """
    num_classes = int(labels.max()) + 1
    rng = np.random.default_rng([_SEED, *split.encode()])
    classes = np.indices((num_classes,) * DEPTH).reshape(DEPTH, -1).T
    classes = rng.permutation(np.repeat(classes, PER_CLASS[split], axis=0))
    rows = np.empty_like(classes)
    for each in range(num_classes):
        places = classes == each
        rows[places] = first + rng.choice(np.flatnonzero(labels == each), places.sum())
    return rows


def stack(base: Source, split: str, num_train: int, num_classes: int) -> StackedSource:
    """Stacks the images of a split.

    Args:
      base: grey images of that split, in memory; with 'all' the training images come first.
      split: 'train', 'test' or 'all', which is the images of both.
      num_train: training images in `base`, where it has those of 'all'.
      num_classes: classes of `base`.
    """
    labels = labels_of(base)
    if split == 'all':
        parts = [
            draw_rows(labels[:num_train], 'train'),
            draw_rows(labels[num_train:], 'test', num_train),
        ]
        return StackedSource(base, np.concatenate(parts), num_classes)
    return StackedSource(base, draw_rows(labels, split), num_classes)
