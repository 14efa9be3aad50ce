"""Scores of one half of the real images against the other.

No score means much by itself. FID of 50 images against 50 others of the same set is above 100, and
an inception score's best depends on the data. So a score is printed beside that of real images in
the generator's place: two halves of the real set, drawn by a seed, as many images each as the
generator draws, or as many as there are.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from osgan_jax.evaluation.features import cache
from osgan_jax.evaluation.metrics import moments, registry
from osgan_jax.io import checked_npz

KIND = 'scores of two halves of real images'
FORMAT = 1

Values = dict[str, dict[str, Any]]


def scores(
    real: cache.RealStatistics,
    metrics: Sequence[registry.Metric],
    extractor: str,
    num_samples: int,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Values:
    """Scores one half of the real images against the other, or reads what was computed before.

    Args:
      real: statistics of the real images.
      metrics: what to compute.
      extractor: its name, for those of scores.
      num_samples: images that the generator draws.
      cache_dir: folder of the files; None is the user's (`osgan_jax.io.paths.cache_dir`).
      progress: called with metrics done and in all, where one is computed.
      warn: called with a sentence about a file that could not be used or written.

    Returns:
      By the name of a score `{'value': float or None, 'count': images a half}`. A metric that so
      few real images do not define is left out.
    """
    found: Values = {}
    begun = False

    def compute(metric, done, one, other):
        nonlocal begun
        if progress is not None and not begun:
            progress(0, len(metrics))
        begun = True
        values = list(metric.compute(one, other))
        if progress is not None:
            progress(done, len(metrics))
        return values

    for done, metric in enumerate(metrics, 1):
        half = _split(real, metric, num_samples)
        if half is None:
            continue
        count, first, second = half
        about = {**real.provenance, 'metric': metric.name, 'count': count}
        path = cache.file_path(cache_dir, 'halves', about, FORMAT)
        values = checked_npz.reuse(
            path,
            load=lambda path=path, about=about: _load(path, about),
            build=functools.partial(compute, metric, done, first, second),
            save=lambda values, path=path, about=about: _save(path, about, values),
            warn=warn,
        )
        names = metric.names(extractor)
        found |= {
            name: {'value': value, 'count': count}
            for name, value in zip(names, values, strict=True)
        }
    return found


def describe_few(
    metrics: Sequence[registry.Metric],
    extractor: str,
    *,
    num_features: int,
    num_samples: int,
    num_real: int,
    found: Values,
) -> str | None:
    """A sentence about scores of too few images to say much; None where there are enough.

    Args:
      metrics: that are computed.
      extractor: its name.
      num_features: numbers of its features.
      num_samples: generated images.
      num_real: real images.
      found: scores of two halves of the real images.
    """
    few: dict[str, int] = {}
    clauses = []
    for count, what, concerned in (
        (num_samples, 'samples', metrics),
        (num_real, 'real images', [metric for metric in metrics if metric.reads_real]),
    ):
        fair = {m.names(extractor)[0]: m.fewest_fair(num_features) for m in concerned}
        short = {name: fewest for name, fewest in fair.items() if count < fewest}
        if short:
            takes = ', '.join(f'{name} ({fewest:,} or more)' for name, fewest in short.items())
            clauses.append(f'{count:,} {what} for {takes}')
        few |= short
    if not few:
        return None
    known = [
        f'{name} {found[name]["value"]:.4g} ({found[name]["count"]:,} images)'
        for name in few
        if name in found
    ]
    measured = f'; one half of the real images scores {", ".join(known)} against the other'
    return f'too few images for a reliable score: {"; ".join(clauses)}{measured if known else ""}'


def _split(
    real: cache.RealStatistics, metric: registry.Metric, num_samples: int
) -> tuple[int, cache.RealStatistics, registry.FakeStatistics] | None:
    """Images a half, the half that stands for the real images, and the one for the generated."""
    largest = real.moments.count // 2
    # The covariance of all images is known by halves; single features only of those that are kept.
    if metric.needs <= {'moments'} and real.halves and num_samples >= largest:
        one, other = real.halves
        return largest, dataclasses.replace(real, moments=one), registry.FakeStatistics(other)
    count = min(num_samples, len(real.pooled) // 2)
    if count < metric.min_samples or ('logits' in metric.needs and real.logits is None):
        return None
    if 'labels' in metric.needs:  # nobody asked for the real images by class
        return None
    halves = []
    for rows in (slice(count), slice(count, 2 * count)):
        pooled = real.pooled[rows]
        halves.append(
            {
                'moments': moments.of(pooled),
                'pooled': pooled,
                'logits': None if real.logits is None else real.logits[rows],
            }
        )
    one, other = halves
    other['pooled'] = other['pooled'][: registry.MAX_FEATURES]
    first = dataclasses.replace(real, **one, halves=None)
    return count, first, registry.FakeStatistics(**other)


def _save(path: os.PathLike[str], about: dict[str, Any], values: Sequence[float | None]) -> None:
    # JSON keeps every digit, and null for a deviation that is not defined.
    text = json.dumps(list(values)).encode()
    checked_npz.write(path, KIND, FORMAT, about, {'values': np.frombuffer(text, np.uint8)})


def _load(path: os.PathLike[str], about: dict[str, Any]) -> list[float | None]:
    found, arrays = checked_npz.read(path, KIND, FORMAT)
    if found != about:
        raise ValueError(f'{path} belongs to other images or features')
    return json.loads(arrays['values'].tobytes())
