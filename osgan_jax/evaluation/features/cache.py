"""Statistics of a dataset's real images, computed once and kept on disk.

A file belongs to one dataset (name, split, number of images, size, channels and a sample of
the images) and one extractor (fingerprint and convention). Its name has all of that, so that
different statistics never share a file; the file repeats it, so that one that was copied, cut short
or overwritten is noticed, reported, and computed anew.
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
from osgan_jax.evaluation.features import extractors
from osgan_jax.evaluation.metrics import moments
from osgan_jax.io import checked_npz, paths

KIND = 'statistics of real images'
FORMAT = 1
"""Version of the layout of a file; a reader computes anew what has another."""

_SAMPLED = 64  # images
_SEED = 0  # of which images' features are kept
_AHEAD = 2  # batches that are read while one is computed


@dataclasses.dataclass(frozen=True)
class RealStatistics:
    """The statistics of real images that metrics compare with.

    Attributes:
      moments: count, mean and scatter of the features of all images.
      pooled: `[M, F]` float32, features of M images drawn without replacement, in the dataset's
        order; of all images where there are few.
      provenance: their source: 'dataset', 'split', 'num_images', 'image_size',
        'channels', 'content', 'extractor', 'convention', 'fingerprint', 'max_features', 'seed'.
    """

    moments: moments.Moments
    pooled: np.ndarray
    provenance: dict[str, Any]


def identify(dataset: datasets.Dataset) -> dict[str, Any]:
    """The identity of a dataset, as values for JSON.

    Beside name, split, number of images, size and channels that is 'content', a sha256 of 64
    images and labels spread evenly: another file under the same name is noticed at the price of
    reading those. A change that avoids all of them is not.
    """
    count = len(dataset)
    parts = []
    for index in np.unique(np.linspace(0, count - 1, _SAMPLED).round().astype(int)).tolist():
        row = dataset[index]
        parts += [index, row['image'], int(row['label'])]
    return {
        'dataset': dataset.name,
        'split': dataset.split,
        'num_images': count,
        'image_size': dataset.image_size,
        'channels': dataset.channels,
        'content': checked_npz.digest(*parts),
    }


def file_path(
    cache_dir: str | os.PathLike[str] | None, prefix: str, provenance: dict[str, Any], version: int
) -> pathlib.Path:
    """The file in which a result computed from a dataset is kept.

    Args:
      cache_dir: the folder; None is the user's (`osgan_jax.io.paths.cache_dir`).
      prefix: its kind, in a word.
      provenance: its source, `identify(dataset)` included.
      version: version of the format, so that two versions of the program do not overwrite each
        other's files.
    """
    folder = paths.cache_dir() if cache_dir is None else pathlib.Path(cache_dir).expanduser()
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
    max_features: int = 10_000,
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
        (`osgan_jax.io.paths.cache_dir`). One that cannot be written costs a warning, and
        the time again next time.
      batch_size: images a call of the extractor; at least 1.
      max_features: the most features to keep for kernel distance and precision; at least 1.
      progress: called with (images done, images in all) before the first and after every batch; not
        on a hit.
      warn: called with a sentence about a file that could not be used or written; by default they
        go to standard error.

    Raises:
      ValueError: for features that are not finite.
    """
    provenance = {
        **identify(dataset),
        'extractor': extractor.name,
        'convention': extractor.convention,
        'fingerprint': extractor.fingerprint,
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
        'count': np.asarray(statistics.moments.count, np.int64),
        'mean': np.asarray(statistics.moments.mean, np.float64),
        'scatter': np.asarray(statistics.moments.scatter, np.float64),
        'pooled': statistics.pooled,
    }
    checked_npz.write(path, KIND, FORMAT, statistics.provenance, arrays)


def _load(path: pathlib.Path, provenance: dict[str, Any]) -> RealStatistics:
    about, arrays = checked_npz.read(path, KIND, FORMAT)
    changed = [
        f'{key} {about.get(key)!r}, not {value!r}'
        for key, value in provenance.items()
        if about.get(key) != value
    ]
    if changed:
        raise ValueError(f'{path} belongs to other images or features: it has {changed[0]}')
    count = int(arrays['count'])
    found = moments.Moments(count=count, mean=arrays['mean'], scatter=arrays['scatter'])
    return RealStatistics(found, arrays['pooled'], provenance)


def _compute(
    dataset: datasets.Dataset,
    extractor: extractors.Extractor,
    provenance: dict[str, Any],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> RealStatistics:
    count = len(dataset)
    kept = _choose(count, provenance['max_features'], provenance['seed'])
    total, pooled = None, []
    done = 0
    if progress is not None:
        progress(0, count)
    for images in _batches(dataset, batch_size):
        features = np.asarray(extractor.apply(images).pooled)
        if not np.isfinite(features).all():
            raise ValueError(
                f'the {extractor.name} gives features that are not finite for images {done} to '
                f'{done + len(images) - 1} of {dataset.name}: check its weights'
            )
        total = moments.merge(total, moments.of(features))
        pooled.append(features[kept[done : done + len(images)]])
        done += len(images)
        if progress is not None:
            progress(done, count)
    return RealStatistics(total, np.concatenate(pooled).astype(np.float32), provenance)


def _choose(count: int, most: int, seed: int) -> np.ndarray:
    """The images whose features are kept, bool `[count]`."""
    kept = np.ones(count, bool)
    if count > most:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(count, most, replace=False)] = True
    return kept


def _batches(dataset: datasets.Dataset, batch_size: int) -> Iterator[np.ndarray]:
    """Yields all images in order, uint8 `[N, H, W, C]`, reading ahead in threads."""

    def read(start: int) -> np.ndarray:
        rows = range(start, min(start + batch_size, len(dataset)))
        return np.stack([dataset[row]['image'] for row in rows])

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
