"""Scores of a generator's samples against the real set, through one extractor."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import data, reporting
from osgan_jax.evaluation.features import cache, extractors
from osgan_jax.evaluation.metrics import moments, registry
from osgan_jax.io import paths
from osgan_jax.networks import inference
from osgan_jax.networks.inference import Generative

# Splits the latents of evaluations off the seed, away from those of training and of sample grids.
_STREAM = 0x6576_616C


def _gather(
    batches: Iterable[extractors.Features], metrics: Sequence[registry.Metric]
) -> registry.FakeStatistics:
    """The statistics of generated images that metrics need."""
    needs = frozenset().union(*(metric.needs for metric in metrics))
    total, pooled, logits, count = None, [], [], 0
    for features in batches:
        if 'moments' in needs:
            total = moments.merge(total, moments.of(features.pooled))
        if 'pooled' in needs and count < registry.MAX_FEATURES:
            pooled.append(np.asarray(features.pooled))
        if 'logits' in needs:
            logits.append(np.asarray(features.logits))
        count += len(features.pooled)
    return registry.FakeStatistics(
        moments=total,
        pooled=np.concatenate(pooled)[: registry.MAX_FEATURES] if pooled else None,
        logits=np.concatenate(logits) if logits else None,
    )


class Evaluator:
    """Scores generators of one shape against one real set.

    Attributes:
      headline: the score, lower is better, that decides which of two checkpoints is better; None if
        no such metric was asked for.
      about: the facts in which comparable numbers agree: extractor, convention, fingerprint,
        num_samples, seed, dataset, num_real.
      names: of the scores that a call returns.
    """

    def __init__(
        self,
        gan: Generative,
        dataset: data.Dataset,
        extractor: extractors.Extractor,
        *,
        metrics: Sequence[str] = ('fid',),
        num_samples: int = 10_000,
        batch_size: int = 256,
        seed: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
        warn: Callable[[str], None] | None = None,
        real_progress: Callable[[int, int], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """Prepares to score; reads or computes the dataset's statistics.

        Args:
          gan: whose generator's shapes and labels count.
          dataset: the real images, all of which are compared with.
          extractor: what turns images into features.
          metrics: names of `metrics.registry`.
          num_samples: images drawn for a score. Distances fall with more: compare equal numbers.
          batch_size: images drawn a call.
          seed: of latents, the same for every generator.
          cache_dir: where the real set's statistics are kept; by default the user's.
          warn: called with a sentence about a cached file that could not be used.
          real_progress: called with real images seen and in all, where none are kept.
          progress: called with images scored and in all.

        Raises:
          ValueError: for an unknown metric or too few samples.
        """
        if not metrics:
            raise ValueError(f'metrics: expected some of {", ".join(registry.names())}, got none')
        asked = {registry.get(name).name for name in metrics}
        # In the registry's order, whatever the order of the request.
        self._metrics = [registry.get(name) for name in registry.names() if name in asked]
        least = max(metric.min_samples for metric in self._metrics)
        if num_samples < least:
            raise ValueError(f'num_samples={num_samples}: expected at least {least}')
        self._real = cache.real_statistics(
            dataset,
            extractor,
            cache_dir,
            max_features=registry.MAX_FEATURES,
            progress=real_progress,
            warn=warn,
        )
        self._gan, self._generate = gan, inference.compile_generator(gan.generator)
        self._key = jax.random.fold_in(jax.random.key(seed), _STREAM)
        self._extractor, self._batch_size, self._progress = extractor, batch_size, progress
        falling = [metric for metric in self._metrics if metric.lower_is_better]
        self.headline = falling[0].names(extractor.name)[0] if falling else None
        self.names = tuple(n for metric in self._metrics for n in metric.names(extractor.name))
        self.about: dict[str, Any] = {
            'extractor': extractor.name,
            'convention': extractor.convention,
            'fingerprint': extractor.fingerprint,
            'num_samples': num_samples,
            'seed': seed,
            'dataset': dataset.name,
            'num_real': len(dataset),
        }

    def __call__(self, variables: Any, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Draws samples and scores them.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.
          check: called before each batch; an exception of its ends the evaluation.

        Returns:
          Scores by name, as the metrics' `names` are on this extractor's features.
        """
        fake = _gather(self._features(variables, check), self._metrics)
        values: dict[str, float] = {}
        for metric in self._metrics:
            scores = metric.compute(self._real, fake)
            values |= zip(metric.names(self._extractor.name), scores, strict=True)
        return values

    def _features(
        self, variables: Any, check: Callable[[], None] | None
    ) -> Iterator[extractors.Features]:
        count = self.about['num_samples']
        if self._progress is not None:
            self._progress(0, count)
        for start in range(0, count, self._batch_size):
            if check is not None:
                check()
            images = self._draw(variables, start)[: count - start]
            yield self._extractor.apply(images)
            if self._progress is not None:
                self._progress(min(start + self._batch_size, count), count)

    def _draw(self, variables: Any, start: int) -> np.ndarray:
        """Images of one batch of the seed's latents, uint8."""
        shape = (self._batch_size, self._gan.latent_dim)
        z = jax.random.normal(jax.random.fold_in(self._key, start), shape)
        labels = None
        if self._gan.num_classes:
            labels = jnp.arange(start, start + self._batch_size) % self._gan.num_classes
        return reporting.to_uint8(np.asarray(self._generate(variables, z, labels)))


def extractor_for(
    dataset: data.Dataset,
    *,
    inception_weights: str | os.PathLike[str] | None = None,
    convention: str = 'torch',
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> extractors.Extractor:
    """The Inception network where there are weights, otherwise a classifier of the dataset.

    Args:
      dataset: the real images.
      inception_weights: their file; 'fetch' downloads the published ones, once.
      convention: how the Inception network's images are resized and scaled, see
        `osgan_jax.evaluation.features.inception`.
      cache_dir: where a trained classifier or downloaded weights are kept; by default the user's.
      progress: called with steps done and in all while a classifier is trained.
      warn: called with a sentence about a cached file that could not be used.

    Raises:
      ValueError: for unusable weights, or a dataset without labels and no weights.
      OSError: if the weights cannot be read or downloaded.
    """
    if inception_weights is not None:
        from osgan_jax.evaluation.features import inception

        if str(inception_weights) == 'fetch':
            inception_weights = inception.fetch(cache_dir or paths.cache_dir())
        return inception.extractor(inception_weights, convention=convention)
    from osgan_jax.evaluation.features import classifier

    return classifier.extractor(
        classifier.trained_for(dataset, cache_dir, progress=progress, warn=warn)
    )
