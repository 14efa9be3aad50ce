"""Statistics of a dataset's real images, computed once and kept on disk.

Datasets are often sorted by class. Whatever is a part of the images here, features that are kept
and halves, is drawn by a seed.

A file belongs to one dataset (name, split, number of images, size, channels, a sample of the images
and, where their source has one, the fingerprint of all) and one extractor (fingerprint and
convention). Its name has all of that, so that different statistics do not share a file; the file
repeats it, so that one that was copied, cut short or overwritten is noticed, reported, and computed
anew.
"""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from osgan_jax.data import dataset as datasets
from osgan_jax.data import identity
from osgan_jax.evaluation.features import extractors
from osgan_jax.evaluation.metrics import moments
from osgan_jax.io import checked_npz, paths

KIND = 'statistics of real images'
FORMAT = 3
"""Version of the layout of a file; a reader computes anew what has another."""

_SEED = 0  # of which images' features are kept, and of the halves
_AHEAD = 2  # batches that are read while one is computed


@dataclasses.dataclass(frozen=True)
class RealStatistics:
    """The statistics of real images that metrics compare with.

    Attributes:
      moments: count, mean and scatter of the features of all images.
      pooled: `[M, F]` float32, features of M images, of all where there are few, in an order drawn
        by the seed: the first n are n images drawn without replacement.
      logits: `[M, K]` float32, of the same images in the same order; None if there are none.
      class_counts: `[num_classes]` int64, the number of images of each class; empty without labels.
      halves: moments of two halves of all images, drawn by the seed, where there are more than M;
        else None, for `pooled` has both.
      provenance: their source: 'dataset', 'split', 'num_images', 'image_size', 'channels',
        'content', 'images' (the fingerprint of the dataset; None without one), 'extractor',
        'convention', 'fingerprint' (of the extractor), 'max_features', 'seed'.
    """

    moments: moments.Moments
    pooled: np.ndarray
    provenance: dict[str, Any]
    logits: np.ndarray | None = None
    class_counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    halves: tuple[moments.Moments, moments.Moments] | None = None


def file_path(
    cache_dir: str | os.PathLike[str] | None, prefix: str, provenance: dict[str, Any], version: int
) -> pathlib.Path:
    """The file in which a result computed from a dataset is kept.

    Args:
      cache_dir: the folder; None is the user's (`osgan_jax.io.paths.cache_dir`).
      prefix: its kind, in a word.
      provenance: its source, `data.identity.identify(dataset)` included.
      version: version of the format, so that two versions of the program do not overwrite each
        other's files.
    """
    folder = paths.cache_dir() if cache_dir is None else pathlib.Path(paths.expand(cache_dir))
    # Enough for a person to tell what may be deleted; the digest covers the rest.
    words = '-'.join(str(provenance[key]) for key in ('dataset', 'split', 'image_size'))
    words = re.sub(r'[^A-Za-z0-9_.-]+', '_', words)[:80]
    return folder / f'{prefix}-{words}-{checked_npz.digest(version, provenance)[:16]}.npz'


def real_statistics(
    dataset: datasets.Dataset,
    extractor: extractors.Extractor,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 256,
    max_features: int = 20_000,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> RealStatistics:
    """Returns the statistics of all images of a dataset, from the cache where it has them.

    Otherwise the images go through the extractor once, in order and never mirrored; besides one
    batch, memory holds at most `max_features` features.

    Args:
      dataset: the real images.
      extractor: what turns them into features.
      cache_dir: folder of the files, created if need be; None is the user's
        (`osgan_jax.io.paths.cache_dir`). If it cannot be written, a warning is given and
        the next call computes the statistics again.
      batch_size: images a call of the extractor; at least 1.
      max_features: the most images whose features and logits to keep, for kernel distance,
        precision and halves; at least 1.
      progress: called with (images done, images in all) before the first and after every batch; not
        on a hit.
      warn: called with a sentence about a file that could not be used or written; by default they
        go to standard error.

    Raises:
      ValueError: for features that are not finite.
    """
    known = identity.identify(dataset)
    provenance = {
        # The extractor has a 'fingerprint' too.
        'images': known.pop('fingerprint', None),
        **known,
        **extractor.facts(),
        'max_features': max_features,
        'seed': _SEED,
    }
    path = file_path(cache_dir, 'statistics', provenance, FORMAT)
    return checked_npz.reuse(
        path,
        load=lambda: _load(path, provenance),
        build=lambda: _compute(dataset, extractor, provenance, batch_size, progress),
        save=lambda statistics: _save(path, statistics),
        warn=warn,
    )


def _save(path: pathlib.Path, statistics: RealStatistics) -> None:
    arrays = {
        **_moments_arrays('', statistics.moments),
        'pooled': statistics.pooled,
        'class_counts': np.asarray(statistics.class_counts, np.int64),
    }
    if statistics.logits is not None:
        arrays['logits'] = statistics.logits
    for index, half in enumerate(statistics.halves or ()):
        arrays |= _moments_arrays(f'half{index}_', half)
    checked_npz.write(path, KIND, FORMAT, statistics.provenance, arrays)


def _moments_arrays(prefix: str, found: moments.Moments) -> dict[str, np.ndarray]:
    return {
        f'{prefix}count': np.asarray(found.count, np.int64),
        f'{prefix}mean': np.asarray(found.mean, np.float64),
        f'{prefix}scatter': np.asarray(found.scatter, np.float64),
    }


def _read_moments(prefix: str, arrays: dict[str, np.ndarray]) -> moments.Moments:
    return moments.Moments(
        count=int(arrays[f'{prefix}count']),
        mean=arrays[f'{prefix}mean'],
        scatter=arrays[f'{prefix}scatter'],
    )


def _load(path: pathlib.Path, provenance: dict[str, Any]) -> RealStatistics:
    about, arrays = checked_npz.read(path, KIND, FORMAT)
    changed = [
        f'{key} {about.get(key)!r}, not {value!r}'
        for key, value in provenance.items()
        if about.get(key) != value
    ]
    if changed:
        raise ValueError(f'{path} belongs to other images or features: it has {changed[0]}')
    halves = None
    if 'half0_count' in arrays:
        halves = (_read_moments('half0_', arrays), _read_moments('half1_', arrays))
    return RealStatistics(
        moments=_read_moments('', arrays),
        pooled=arrays['pooled'],
        provenance=provenance,
        logits=arrays.get('logits'),
        class_counts=arrays['class_counts'],
        halves=halves,
    )


def _compute(
    dataset: datasets.Dataset,
    extractor: extractors.Extractor,
    provenance: dict[str, Any],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> RealStatistics:
    count, most = len(dataset), provenance['max_features']
    order = drawn(count, provenance['seed'])
    # The place of each image in the drawn order.
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    # Where features of all images are kept, they hold the halves.
    half = np.minimum(place // max(1, count // 2), 2) if count > most else np.full(count, 2)
    parts: list[moments.Moments | None] = [None, None, None]
    kept: dict[str, np.ndarray] = {}
    class_counts = np.zeros(dataset.num_classes, np.int64)
    done = 0
    if progress is not None:
        progress(0, count)
    for images, labels in batches(dataset, batch_size):
        features = extractor.apply(images)._asdict()
        features = {n: np.asarray(x) for n, x in features.items() if x is not None}
        pooled = features['pooled']
        if not np.isfinite(pooled).all():
            raise ValueError(
                f'the {extractor.name} gives features that are not finite for images {done} to '
                f'{done + len(images) - 1} of {dataset.name}: check its weights'
            )
        rows = slice(done, done + len(images))
        for index in range(3):
            if (chosen := half[rows] == index).any():
                parts[index] = moments.merge(parts[index], moments.of(pooled[chosen]))
        chosen = place[rows] < most
        for name, values in features.items():
            if name not in kept:
                kept[name] = np.empty((min(count, most), *values.shape[1:]), np.float32)
            kept[name][place[rows][chosen]] = values[chosen]
        if dataset.num_classes:
            class_counts += np.bincount(labels, minlength=dataset.num_classes)
        done += len(images)
        if progress is not None:
            progress(done, count)
    total = None
    for part in parts:
        total = total if part is None else moments.merge(total, part)
    halves = None if parts[0] is None else (parts[0], parts[1])
    return RealStatistics(
        total, kept['pooled'], provenance, kept.get('logits'), class_counts, halves
    )


def drawn(count: int, seed: int = _SEED) -> np.ndarray:
    """An order `[count]` of images; by default that of `RealStatistics.pooled`."""
    return np.random.default_rng(seed).permutation(count)


def labels_of_pooled(dataset: datasets.Dataset, statistics: RealStatistics) -> np.ndarray:
    """The labels `[M]` of the images whose features a dataset's statistics hold."""
    return dataset.labels()[drawn(len(dataset))[: len(statistics.pooled)]]


def batches(
    dataset: datasets.Dataset, batch_size: int, order: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all images, uint8 `[N, H, W, C]`, and labels `[N]`; reads ahead in threads.

    Args:
      dataset: the images.
      batch_size: images at a time.
      order: `[len(dataset)]`; by default the dataset's.
    """
    order = np.arange(len(dataset)) if order is None else order

    def read(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [dataset[row] for row in order[start : start + batch_size].tolist()]
        return np.stack([row['image'] for row in rows]), np.array([row['label'] for row in rows])

    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as pool:
        waiting = collections.deque()
        try:
            for start in range(0, len(dataset), batch_size):
                waiting.append(pool.submit(read, start))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
