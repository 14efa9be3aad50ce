"""The metrics that an evaluation can compute, one entry each.

A metric of one's own is one more `register(Metric(...))`; `experiments.evaluate --metrics=NAME`,
records and plots know it from then on.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # names cost neither numpy nor jax
    import numpy as np

MAX_FEATURES = 10_000
"""Images of either set whose features are kept, for kernel distances and neighborhoods."""


@dataclasses.dataclass(frozen=True)
class FakeStatistics:
    """The statistics of generated images; None where no metric needs them.

    Attributes:
      moments: `moments.Moments` of the features of all images.
      pooled: features `[M, F]` of the first `MAX_FEATURES` images.
      logits: `[N, K]` of all images.
    """

    moments: Any = None
    pooled: 'np.ndarray | None' = None
    logits: 'np.ndarray | None' = None


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      name: its name in `--metrics`.
      scores: names of the values that `compute` returns; a deviation's name ends in `_std`.
      compute: `(real, fake) -> values`, of `features.cache.RealStatistics` (`moments`, `pooled`)
        and `FakeStatistics`, as many floats as `scores`.
      needs: fields of `FakeStatistics` that it reads.
      lower_is_better: its direction; the first such metric of an evaluation decides which
        checkpoint is the best.
      min_samples: the smallest number of generated images it is defined for.
      other_scores: names instead of `scores` on features other than the Inception network's, whose
        distances are not called FID; empty for the same. See `names`.
    """

    name: str
    scores: tuple[str, ...]
    compute: Callable[[Any, FakeStatistics], tuple[float, ...]]
    needs: frozenset[str]
    lower_is_better: bool
    min_samples: int = 2
    other_scores: tuple[str, ...] = ()

    def names(self, extractor: str) -> tuple[str, ...]:
        """The names of its values on an extractor's features.

        They are `fid` by the Inception network, `classifier_fd` by a classifier and, as it is
        published, `fd_dinov2` by DINOv2.
        """
        if extractor == 'inception':
            return self.scores
        scores = self.other_scores or self.scores
        if not extractor.startswith('dinov2'):
            return tuple(f'{extractor}_{score}' for score in scores)
        parts = ((score.removesuffix('_std'), score.endswith('_std')) for score in scores)
        return tuple(f'{stem}_{extractor}' + '_std' * spread for stem, spread in parts)


_METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Adds a metric.

    Raises:
      ValueError: if its name is taken, or `needs` names an unknown field.
    """
    if metric.name in _METRICS:
        raise ValueError(f'there is a metric {metric.name!r} already: choose another name')
    known = {field.name for field in dataclasses.fields(FakeStatistics)}
    if unknown := metric.needs - known:
        raise ValueError(
            f'metric {metric.name!r} needs {sorted(unknown)}: expected some of {sorted(known)}'
        )
    _METRICS[metric.name] = metric


def names() -> tuple[str, ...]:
    """The names of all metrics."""
    return tuple(_METRICS)


def get(name: str) -> Metric:
    """The metric of a name.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in _METRICS:
        raise ValueError(f'metrics: expected some of {", ".join(_METRICS)}, got {name!r}')
    return _METRICS[name]


# The functions are imported where they are called: names cost no jax.


def _fid(real: Any, fake: FakeStatistics) -> tuple[float]:
    from osgan_jax.evaluation.metrics.frechet import frechet_distance

    return (frechet_distance(real.moments, fake.moments),)


def _kid(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    from osgan_jax.evaluation.metrics.kernel import kernel_distance

    return kernel_distance(real.pooled, fake.pooled)


def _inception_score(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    from osgan_jax.evaluation.metrics.inception_score import inception_score

    del real
    return inception_score(fake.logits, splits=min(10, len(fake.logits)))


def _precision_recall(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    from osgan_jax.evaluation.metrics.precision_recall import precision_recall

    # As many of either set: precision and recall depend on how densely each is known.
    size = min(len(fake.pooled), len(real.pooled))
    return precision_recall(real.pooled[:size], fake.pooled[:size])


for _metric in (
    # A covariance needs two samples.
    Metric('fid', ('fid',), _fid, frozenset({'moments'}), True, other_scores=('fd',)),
    Metric(
        'kid',
        ('kid', 'kid_std'),
        _kid,
        frozenset({'pooled'}),
        True,
        other_scores=('kd', 'kd_std'),
    ),
    Metric('is', ('is', 'is_std'), _inception_score, frozenset({'logits'}), False),
    # A neighborhood has three neighbors.
    Metric('pr', ('precision', 'recall'), _precision_recall, frozenset({'pooled'}), False, 4),
):
    register(_metric)
