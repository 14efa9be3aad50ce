"""The metrics that an evaluation can compute, one entry each.

A metric of one's own is one more `register(Metric(...))`; `experiments.evaluate --metrics=NAME`,
records and plots know it from then on.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # names cost neither numpy nor jax
    import numpy as np

MAX_FEATURES = 10_000
"""Images of either set whose features are compared by kernel distances and neighbourhoods."""

SPLITS = 10
"""Parts of the inception score."""

_SEED = 0  # of the order in which the inception score takes images


@dataclasses.dataclass(frozen=True)
class FakeStatistics:
    """The statistics of generated images; None where no metric needs them.

    Attributes:
      moments: `moments.Moments` of the features of all images.
      pooled: features `[M, F]` of images drawn without replacement, `MAX_FEATURES` at most.
      logits: `[N, K]` of all images.
      labels: `[N]`, the classes that were asked for.
    """

    moments: Any = None
    pooled: 'np.ndarray | None' = None
    logits: 'np.ndarray | None' = None
    labels: 'np.ndarray | None' = None


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
      opposite: those of its scores whose direction is the other one.
      min_samples: the smallest number of images it is defined for, generated ones and, where it
        reads them, real ones; with fewer it is refused or left out.
      fair_samples: with fewer images the score says little about the generator, and a warning is
        printed.
      fair_per_feature: likewise, for each number of the features, whose covariance needs more
        samples than it has rows.
      of_classes: whether its logits must be of the real images' own classes.
      reads_real: whether it looks at the real images at all.
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
    fair_samples: int = 0
    fair_per_feature: int = 0
    reads_real: bool = True
    of_classes: bool = False
    opposite: tuple[str, ...] = ()

    def direction(self, score: str) -> str:
        """Which values of a score of its are better: 'lower' or 'higher'.

        Args:
          score: one of `names`.
        """
        is_opposite = any(score == name or score.endswith(f'_{name}') for name in self.opposite)
        return 'lower' if self.lower_is_better != is_opposite else 'higher'

    def fewest_fair(self, num_features: int) -> int:
        """The number of generated images below which a warning is due."""
        return max(self.fair_samples, self.fair_per_feature * num_features)

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
        raise ValueError(f'a metric named {metric.name!r} already exists: choose another name')
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


def select(
    names: Collection[str],
    *,
    has_logits: bool = True,
    own_classes: bool = True,
    has_labels: bool = True,
    num_real: int | None = None,
    num_fake: int | None = None,
) -> tuple[list[Metric], str | None]:
    """The metrics of some names, and a sentence on those that images and features do not define.

    Args:
      names: of metrics.
      has_logits: whether the features have logits.
      own_classes: whether those are of the real images' own classes, as a trained classifier's.
      has_labels: whether the images that are scored have labels.
      num_real: real images; None leaves them uncounted.
      num_fake: images that are scored; None likewise.

    Returns:
      Metrics in the order of the registry, and None where all are defined. A metric is defined for
      at least `min_samples` images.

    Raises:
      ValueError: for no names, an unknown one, or none that is defined.
    """
    if not names:
        raise ValueError(f'metrics: expected some of {", ".join(_METRICS)}, got none')
    asked = {get(name).name for name in names}
    chosen = [metric for metric in _METRICS.values() if metric.name in asked]
    reasons: dict[str, list[str]] = {}
    for metric in chosen:
        if 'logits' in metric.needs and not has_logits:
            reasons.setdefault('these features have no logits', []).append(metric.name)
        elif metric.of_classes and not own_classes:
            why = "these features have no logits of the real images' own classes"
            reasons.setdefault(why, []).append(metric.name)
        elif 'labels' in metric.needs and not has_labels:
            reasons.setdefault('the images have no labels', []).append(metric.name)
        for count, what in ((num_fake, ''), (num_real if metric.reads_real else None, 'real ')):
            if count is not None and count < metric.min_samples:
                why = f'it takes {metric.min_samples} {what}images, and there are {count}'
                reasons.setdefault(why, []).append(metric.name)
    said = '; '.join(f'{", ".join(names)}, for {why}' for why, names in reasons.items())
    undefined = {name for names in reasons.values() for name in names}
    chosen = [metric for metric in chosen if metric.name not in undefined]
    if not chosen:
        raise ValueError(f'metrics: nothing is left to compute without {said}')
    return chosen, f'Left out: {said}.' if said else None


def of_score(name: str) -> Metric | None:
    """The metric that a score belongs to, as `fid`, `classifier_kd_std` or `fd_dinov2`."""
    stem = re.sub(r'_dinov2\w*?(?=_std$|$)', '', name)
    for metric in _METRICS.values():
        others = metric.other_scores or metric.scores
        if stem in others or name in metric.scores:
            return metric
        if name.endswith(tuple(f'_{score}' for score in others)):
            return metric
    return None


def compute(
    metrics: Sequence[Metric],
    real: Any,
    fake: FakeStatistics,
    extractor: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The scores of metrics by their names on an extractor's features.

    Args:
      metrics: what to compute.
      real: `features.cache.RealStatistics`.
      fake: of the images that are scored.
      extractor: its name.
      progress: called with metrics done and in all.
    """
    values: dict[str, Any] = {}
    for done, metric in enumerate(metrics):
        if progress is not None:
            progress(done, len(metrics))
        values |= zip(metric.names(extractor), metric.compute(real, fake), strict=True)
    return values


# The functions are imported where they are called: names cost no jax.


def _fid(real: Any, fake: FakeStatistics) -> tuple[float]:
    from osgan_jax.evaluation.metrics.frechet import frechet_distance

    return (frechet_distance(real.moments, fake.moments),)


def _kid(real: Any, fake: FakeStatistics) -> tuple[float, float | None]:
    from osgan_jax.evaluation.metrics.kernel import kernel_distance

    return kernel_distance(real.pooled, fake.pooled)


def _inception_score(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    import numpy as np

    from osgan_jax.evaluation.metrics.inception_score import inception_score

    del real
    # Its parts are consecutive images, and a folder's are often sorted by class.
    order = np.random.default_rng(_SEED).permutation(len(fake.logits))
    return inception_score(np.asarray(fake.logits)[order], splits=SPLITS)


def _precision_recall(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    from osgan_jax.evaluation.metrics.precision_recall import precision_recall

    # As many of either set: precision and recall depend on how densely each is known. Both are in
    # an order that was drawn, and a part of them is a random one.
    size = min(len(fake.pooled), len(real.pooled), MAX_FEATURES)
    return precision_recall(real.pooled[:size], fake.pooled[:size])


def _modes(real: Any, fake: FakeStatistics) -> tuple[float, float]:
    from osgan_jax.evaluation.metrics.modes import modes

    return modes(fake.logits, real.class_counts)


def _gan_test(real: Any, fake: FakeStatistics) -> tuple[float]:
    from osgan_jax.evaluation.metrics.gan_test import gan_test

    del real
    return (gan_test(fake.logits, fake.labels),)


for _metric in (
    Metric(
        'fid',
        ('fid',),
        _fid,
        frozenset({'moments'}),
        lower_is_better=True,
        min_samples=2,  # for a covariance
        other_scores=('fd',),
        fair_samples=1_000,
        fair_per_feature=4,
    ),
    Metric(
        'kid',
        ('kid', 'kid_std'),
        _kid,
        frozenset({'pooled'}),
        lower_is_better=True,
        min_samples=2,
        other_scores=('kd', 'kd_std'),
        fair_samples=2_000,  # subsets of 1,000 that differ
    ),
    Metric(
        'is',
        ('is', 'is_std'),
        _inception_score,
        frozenset({'logits'}),
        lower_is_better=False,
        min_samples=2 * SPLITS,  # of one image a part it is 1, whatever the image
        fair_samples=5_000,
        reads_real=False,
    ),
    Metric(
        'pr',
        ('precision', 'recall'),
        _precision_recall,
        frozenset({'pooled'}),
        lower_is_better=False,
        min_samples=4,  # for three neighbours
        fair_samples=1_000,
    ),
    Metric(
        'modes',
        ('modes', 'reverse_kl'),
        _modes,
        frozenset({'logits'}),
        lower_is_better=False,
        opposite=('reverse_kl',),
        of_classes=True,
    ),
    Metric(
        'gan_test',
        ('gan_test',),
        _gan_test,
        frozenset({'logits', 'labels'}),
        lower_is_better=False,
        min_samples=1,
        of_classes=True,
        reads_real=False,
    ),
):
    register(_metric)
