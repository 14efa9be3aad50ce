"""Whether a generator copies its training images: distances of samples to their nearest ones.

A distance alone would take blurred images for copies, since these are near to everything. So a
sample's nearest distance is divided by the mean over its nearest twenty (Carlini et al. 2023,
arXiv:2301.13188, section 4.2, have fifty): a copy is much nearer to one image than to any other.
What is usual is known from the training images themselves, each beside all others, or from
held-out ones.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.data import identity
from osgan_jax.evaluation import drawing, label_policies
from osgan_jax.evaluation.features import cache, extractors
from osgan_jax.networks.inference import Generative

QUANTILE = 0.05
"""Share of real images whose relative distance to the nearest is taken for a copy's."""
MANY = 0.1
"""A warning is printed if the share of copies exceeds that of real images by this much."""

SHEET = 'nearest_training.png'
"""The file of `sheet` in a run's directory."""

_STREAM = 0x6E65_6172  # of latents, away from those of training, grids and scores
_NEIGHBOURS = 20
_REFERENCES = 1000  # real images that tell what is usual
_SIDE = 16  # pixels
_ROUNDING = 1e-6  # of |a|^2 + |b|^2: no distance in float32
_SHOWN, _SHOWN_NEIGHBOURS = 12, 5


class Found(NamedTuple):
    """The nearest training images.

    Attributes:
      relative: `[N]` distance to the nearest over the mean distance to the nearest twenty, 0 to 1.
      rows: `[N, K]` positions of the nearest images in the dataset, nearest first.
      limit: the 5% quantile of `relative` among real images.
      copies: share of the N images at or below it.
      real_copies: that share of the real images, 5% unless many of them are the same.
    """

    relative: np.ndarray
    rows: np.ndarray
    limit: float
    copies: float
    real_copies: float


def pixels() -> extractors.Extractor:
    """Features that need no network: the pixels, at 16x16 at most."""

    def apply(images: np.ndarray) -> extractors.Features:
        extractors.check_images(images, 'pixels')
        images = images.astype(np.float32) / 255
        sides = tuple(min(side, _SIDE) for side in images.shape[1:3])
        if sides != images.shape[1:3]:
            images = jax.image.resize(
                images, (len(images), *sides, images.shape[3]), 'linear', antialias=True
            )
        return extractors.Features(np.asarray(images).reshape(len(images), -1), None)

    return extractors.Extractor('pixels', f'{_SIDE}x{_SIDE}', 'pixels', apply, has_logits=False)


def find(
    images: np.ndarray,
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    *,
    held_out: np.ndarray | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Finds the nearest training images of images, in one pass through the training set.

    Memory holds the features of these images and of one batch.

    Args:
      images: uint8 `[N, H, W, C]`, such as a generator's.
      dataset: the training set.
      extractor: what is compared: its features, or `pixels()`.
      held_out: real images that are not of the training set, uint8 `[M, H, W, C]`, which tell what
        is usual; by default 1,000 of the training set, each beside all others.
      batch_size: training images at a time.
      progress: called with training images seen and in all.

    Raises:
      ValueError: for fewer than three training images.
    """
    if len(dataset) < 3:
        raise ValueError(
            f'{dataset.name} has {len(dataset)} images, too few to compare nearest ones'
        )
    own = np.full(len(images), -1)
    if held_out is None:
        rows = np.sort(cache.drawn(len(dataset))[:_REFERENCES])
        held_out = np.stack([dataset[int(row)]['image'] for row in rows])
        own = np.concatenate([own, rows])
    else:
        own = np.concatenate([own, np.full(len(held_out), -1)])
    queries = [
        _features(extractor, part[at : at + batch_size])
        for part in (images, held_out)
        for at in range(0, len(part), batch_size)
    ]
    count = min(_NEIGHBOURS, len(dataset) - 1)
    distances, nearest = _search(
        np.concatenate(queries), own, dataset, extractor, count, batch_size, progress
    )
    mean = distances.mean(axis=1)
    relative = distances[:, 0] / np.where(mean > 0, mean, 1)
    fake, real = relative[: len(images)], relative[len(images) :]
    limit = float(np.quantile(real, QUANTILE))
    return Found(
        relative=fake,
        rows=nearest[: len(images)],
        limit=limit,
        copies=float(np.mean(fake <= limit)),
        real_copies=float(np.mean(real <= limit)),
    )


def sheet(images: np.ndarray, dataset: data.Dataset, found: Found) -> np.ndarray:
    """The samples that are most like copies, a row each: the sample, then its nearest five.

    Args:
      images: uint8 `[N, H, W, C]`, as `find` had them.
      dataset: the training set.
      found: the result of `find`.

    Returns:
      A grid, uint8 `[h, w, C]`, of at most twelve rows.
    """
    tiles = []
    shown = min(_SHOWN_NEIGHBOURS, found.rows.shape[1])
    for index in np.argsort(found.relative, kind='stable')[:_SHOWN]:
        tiles.append(images[index])
        tiles += [dataset[int(row)]['image'] for row in found.rows[index, :shown]]
    scale = reporting.visible_scale(min(images.shape[1:3]))
    return reporting.grid(np.stack(tiles), columns=1 + shown, scale=scale)


class NearestTraining:
    """Tells of generators of one shape whether they copy their training images.

    Attributes:
      about: the facts in which comparable numbers agree, as of an `Evaluator`.
      names: of the score a call returns: copies, on a classifier's features classifier_copies.
    """

    def __init__(
        self,
        gan: Generative,
        dataset: data.Dataset,
        extractor: extractors.Extractor | None = None,
        *,
        num_samples: int = 1000,
        batch_size: int = 256,
        seed: int = 0,
        label_policy: str = 'data',
        sheet: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ):
        """Prepares to draw and to compare.

        Args:
          gan: whose generator's shapes and labels count.
          dataset: the training set.
          extractor: what is compared; by default pixels.
          num_samples: images drawn.
          batch_size: images a call.
          seed: of latents, labels and noise, the same for every generator.
          label_policy: see `evaluation.label_policies`.
          sheet: PNG file of the samples most like copies beside their nearest training images.
          progress: called with training images seen and in all.
          warn: called with a sentence where many samples seem to be copies.

        Raises:
          ValueError: for no samples, or data without the generator's classes.
        """
        if num_samples < 1:
            raise ValueError(f'num_samples={num_samples}: expected at least 1')
        extractor = pixels() if extractor is None else extractor
        self._dataset, self._extractor = dataset, extractor
        self._sheet, self._progress, self._warn = sheet, progress, warn
        self._samples = drawing.Samples(
            gan,
            seed=seed,
            stream=_STREAM,
            batch_size=batch_size,
            label_policy=label_policy,
            class_counts=dataset.class_counts() if gan.num_classes else (),
        )
        self.names = ('copies' if extractor.name == 'inception' else f'{extractor.name}_copies',)
        known = identity.identify(dataset)
        self.about: dict[str, Any] = {
            **extractor.facts(),
            'num_samples': num_samples,
            'seed': seed,
            'label_policy': label_policies.recorded(label_policy, gan.num_classes),
            **{name: known[name] for name in ('dataset', 'split', 'content')},
            'num_real': len(dataset),
        }

    def __call__(self, variables: Any) -> dict[str, float]:
        """Draws samples, looks for their nearest training images, and writes the sheet.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.

        Returns:
          The share of samples that are as near to one training image as 5% of real images are.
        """
        count = self.about['num_samples']
        starts = range(0, count, self._samples.batch_size)
        parts = [self._samples.images(variables, start) for start in starts]
        images = np.concatenate(parts)[:count]
        found = find(images, self._dataset, self._extractor, progress=self._progress)
        if self._sheet is not None:
            reporting.save_png(self._sheet, sheet(images, self._dataset, found))
        if self._warn is not None and found.copies > found.real_copies + MANY:
            shown = f'; {self._sheet} shows them' if self._sheet is not None else ''
            self._warn(
                f'{found.copies:.0%} of the samples are as near to one training image as '
                f'{found.real_copies:.0%} of these are to each other: the generator seems to copy '
                f'its training set{shown}. Try more images, --augment, or fewer steps.'
            )
        return {self.names[0]: found.copies}

    def entry(self, step: int, seconds: float | None, values: dict[str, float]) -> dict[str, Any]:
        """The line of `score_log` for a checkpoint's score, as `Evaluator.entry`."""
        return {'step': step, 'seconds': seconds, **values, **self.about}


def _features(extractor: extractors.Extractor, images: np.ndarray) -> np.ndarray:
    return np.asarray(extractor.apply(images).pooled, np.float32)


def _search(
    queries: np.ndarray,
    own: np.ndarray,
    dataset: data.Dataset,
    extractor: extractors.Extractor,
    count: int,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows `[Q, count]` of the nearest images, nearest first.

    Args:
      queries: features `[Q, F]`.
      own: `[Q]`, the row of the dataset that is the query itself and does not count; -1 for none.
      dataset: the images to look in.
      extractor: what makes features of them.
      count: of neighbours.
      batch_size: images at a time.
      progress: called with images seen and in all.
    """
    best = np.full((len(queries), count), np.inf, np.float32)
    rows = np.full((len(queries), count), -1)
    squares = np.sum(queries**2, axis=1)
    done = 0
    if progress is not None:
        progress(0, len(dataset))
    for images, _ in cache.batches(dataset, batch_size):
        features = _features(extractor, images)
        sums = squares[:, None] + np.sum(features**2, axis=1)
        distances = sums - 2 * queries @ features.T
        distances[distances < _ROUNDING * sums] = 0
        (mine,) = np.nonzero((own >= done) & (own < done + len(images)))
        distances[mine, own[mine] - done] = np.inf
        distances = np.concatenate([best, distances], axis=1)
        places = np.broadcast_to(np.arange(done, done + len(images)), (len(queries), len(images)))
        places = np.concatenate([rows, places], axis=1)
        kept = np.argpartition(distances, count - 1, axis=1)[:, :count]
        best = np.take_along_axis(distances, kept, axis=1)
        rows = np.take_along_axis(places, kept, axis=1)
        done += len(images)
        if progress is not None:
            progress(done, len(dataset))
    order = np.argsort(best, axis=1, kind='stable')
    ordered = (np.take_along_axis(values, order, axis=1) for values in (best, rows))
    distances, rows = ordered
    return np.sqrt(distances), rows
