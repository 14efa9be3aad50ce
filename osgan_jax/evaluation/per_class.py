"""Scores within each class: which ones a generator draws badly, or all alike.

The images of a class are few, and distances of few images are large: beside each score stands that
of two halves of the real images of the class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from osgan_jax.evaluation.features import cache
from osgan_jax.evaluation.metrics import moments, registry

Values = dict[str, dict[str, Any]]

LEAST = 4
"""Images of a class, real and generated, below which it is not scored."""


def metrics_for(metrics: Sequence[registry.Metric]) -> list[registry.Metric]:
    """Those that are defined within a class: the inception score compares classes."""
    return [metric for metric in metrics if metric.needs <= {'moments', 'pooled'}]


def scores(
    real: np.ndarray,
    real_labels: np.ndarray,
    fake: np.ndarray,
    fake_labels: np.ndarray,
    *,
    metrics: Sequence[registry.Metric],
    extractor: str,
    class_names: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """Scores the images of each class against the real images of that class.

    Args:
      real: features `[N, F]` of real images, in an order that was drawn.
      real_labels: `[N]` integers.
      fake: features `[M, F]` of generated images, in an order that was drawn.
      fake_labels: `[M]` integers.
      metrics: what to compute; those that a class does not define are left out.
      extractor: its name, for those of scores.
      class_names: by label.
      progress: called with classes done and in all.

    Returns:
      By class 'num_real' and 'num_fake'; where both are at least `LEAST` also scores by name,
      'halves' (as `osgan_jax.evaluation.halves` has them) and 'diversity': the distance between
      generated images over that between real ones, as roots of mean squares; 1 is as diverse, 0
      all alike, None where the real ones are all alike.
    """
    found: Values = {}
    for label, name in enumerate(class_names):
        if progress is not None:
            progress(label, len(class_names))
        of_real, of_fake = real[real_labels == label], fake[fake_labels == label]
        found[name] = {'num_real': len(of_real), 'num_fake': len(of_fake)}
        if min(len(of_real), len(of_fake)) >= LEAST:
            found[name] |= _score(of_real, of_fake, metrics_for(metrics), extractor)
    if progress is not None:
        progress(len(class_names), len(class_names))
    return found


def _score(
    real: np.ndarray, fake: np.ndarray, metrics: Sequence[registry.Metric], extractor: str
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    halves: Values = {}
    rotated = _rotated(real, fake)
    half = min(len(real) // 2, len(fake))
    for metric in metrics:
        if min(len(real), len(fake)) < metric.min_samples:
            continue
        names = metric.names(extractor)
        ours, others = rotated if metric.needs == {'moments'} else (real, fake)
        values |= zip(names, _compute(metric, ours, others), strict=True)
        if half >= metric.min_samples:
            between = _compute(metric, ours[:half], ours[half : 2 * half])
            halves |= {
                name: {'value': value, 'count': half}
                for name, value in zip(names, between, strict=True)
            }
    spread = _spread(real)
    diversity = float(np.sqrt(_spread(fake) / spread)) if spread > 0 else None
    return {**values, 'halves': halves, 'diversity': diversity}


def _compute(metric: registry.Metric, real: np.ndarray, fake: np.ndarray) -> tuple:
    statistics = cache.RealStatistics(moments.of(real), real, {})
    return metric.compute(statistics, registry.FakeStatistics(moments.of(fake), fake))


def _rotated(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same points by fewer coordinates: so few images do not fill thousands of dimensions.

    Means and covariances are as far apart as before, and a covariance costs less.
    """
    together = np.concatenate([real, fake]).astype(np.float64)
    if len(together) >= together.shape[1]:
        return real, fake
    basis, _ = np.linalg.qr(together.T)
    return real @ basis, fake @ basis


def _spread(features: np.ndarray) -> float:
    """The trace of the covariance: half the mean squared distance between two images."""
    return float(features.astype(np.float64).var(axis=0, ddof=1).sum())


def too_few(values: Values) -> list[str]:
    """Names of the classes that have too few images to be scored."""
    return [name for name, scored in values.items() if 'diversity' not in scored]


def lines(values: Values) -> list[str]:
    """A table for a person: a line a class, with the values of two halves of its real images."""
    scored = {name: of_class for name, of_class in values.items() if 'diversity' in of_class}
    table = []
    if scored:
        table.append('By class; in brackets, what two halves of its real images have:')
        columns = [name for name in next(iter(scored.values())) if _is_column(name)]
        rows = [['class', 'real', 'fake', *columns]]
        for name, of_class in scored.items():
            counts = [f'{of_class[key]:,}' for key in ('num_real', 'num_fake')]
            rows.append([name, *counts, *(_cell(of_class, column) for column in columns)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            table.append('  '.join(cells).rstrip())
    if few := too_few(values):
        table.append(f'Not scored, for fewer than {LEAST} images: {", ".join(few)}')
    return table


def _is_column(name: str) -> bool:
    return name not in ('halves', 'num_real', 'num_fake') and not name.endswith('_std')


def _cell(of_class: dict[str, Any], column: str) -> str:
    value = of_class.get(column)
    if value is None:
        return '-'
    half = of_class['halves'].get(column, {}).get('value')
    return f'{value:.4g}' + ('' if half is None else f' ({half:.4g})')
