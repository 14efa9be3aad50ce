"""Scores of a generator's samples against the real set, through one extractor."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from osgan_jax import data
from osgan_jax.evaluation import drawing, halves, label_policies, per_class
from osgan_jax.evaluation.features import cache, extractors
from osgan_jax.evaluation.metrics import moments, registry
from osgan_jax.io import paths
from osgan_jax.networks.inference import Generative

# Splits the latents of evaluations off the seed, away from those of training and of sample grids.
_STREAM = 0x6576_616C


def gather(
    batches: Iterable[extractors.Features],
    metrics: Sequence[registry.Metric],
    *others: str,
) -> registry.FakeStatistics:
    """The statistics that metrics need, of images in an order that was drawn.

    Single features are kept for the first `metrics.registry.MAX_FEATURES` images only.

    Args:
      batches: features.
      metrics: to compute.
      *others: fields of the statistics to gather beside.
    """
    needs = frozenset(others).union(*(metric.needs for metric in metrics))
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
      about: the facts in which comparable numbers agree: extractor, convention, fingerprint (of the
        extractor's weights), num_samples, seed, label_policy (None without labels), and of the real
        images dataset, split, content (their fingerprint) and num_real.
      halves: scores of one half of the real images against the other, see `evaluation.halves`.
      names: of what a call returns.
      left_out: a sentence about metrics that features or real images do not define; None if there
        are none.
      few: a sentence about scores of too few images to say much; None where there are enough.
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
        label_policy: str = 'data',
        by_class: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        warn: Callable[[str], None] | None = None,
        real_progress: Callable[[int, int], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        class_progress: Callable[[int, int], None] | None = None,
        half_progress: Callable[[int, int], None] | None = None,
        metric_progress: Callable[[int, int], None] | None = None,
    ):
        """Prepares to score; reads or computes the dataset's statistics.

        Args:
          gan: whose generator's shapes and labels count.
          dataset: the real images, all of which are compared with.
          extractor: what turns images into features.
          metrics: names of `metrics.registry`.
          num_samples: images drawn for a score. Distances fall with more: compare equal numbers.
          batch_size: images drawn a call.
          seed: of latents, labels and noise, the same for every generator.
          label_policy: which labels a conditional generator is given, one of
            `label_policies.POLICIES`: as often as the real images have them, or all as often.
          by_class: whether to score each class too, see `evaluation.per_class`.
          cache_dir: where the real set's statistics are kept; by default the user's.
          warn: called with a sentence about a cached file that could not be used.
          real_progress: called with real images seen and in all, where none are kept.
          progress: called with images scored and in all.
          class_progress: called with classes scored and in all.
          half_progress: called with metrics done and in all while halves of the real images are
            scored, where those scores are not kept.
          metric_progress: called likewise, after images were drawn.

        Raises:
          ValueError: for an unknown metric, too few samples, or real images that do not have the
            generator's classes.
        """
        self._metrics, self.left_out = registry.select(
            metrics,
            has_logits=extractor.has_logits,
            own_classes=extractor.own_classes,
            has_labels=gan.num_classes > 0,
            num_real=len(dataset),
        )
        greedy = max(self._metrics, key=lambda metric: metric.min_samples)
        if num_samples < greedy.min_samples:
            raise ValueError(
                f'num_samples={num_samples}: {greedy.name} is not defined for fewer than '
                f'{greedy.min_samples} images; draw more, or leave the metric out'
            )
        if by_class and (not gan.num_classes or gan.num_classes != dataset.num_classes):
            raise ValueError(
                f'scores per class need labels: the generator was trained with {gan.num_classes} '
                f'classes and {dataset.name} has {dataset.num_classes}; train with --conditional'
            )
        self._by_class = (dataset, class_progress) if by_class else None
        self._real = cache.real_statistics(
            dataset,
            extractor,
            cache_dir,
            max_features=2 * registry.MAX_FEATURES,  # two halves
            progress=real_progress,
            warn=warn,
        )
        self._samples = drawing.Samples(
            gan,
            seed=seed,
            stream=_STREAM,
            batch_size=batch_size,
            label_policy=label_policy,
            class_counts=self._real.class_counts,
        )
        self._extractor, self._progress = extractor, progress
        self._metric_progress = metric_progress
        falling = [metric for metric in self._metrics if metric.lower_is_better]
        self.headline = falling[0].names(extractor.name)[0] if falling else None
        self.names = tuple(n for metric in self._metrics for n in metric.names(extractor.name))
        self.names += ('per_class',) if by_class else ()
        self.about: dict[str, Any] = {
            **extractor.facts(),
            'num_samples': num_samples,
            'seed': seed,
            'label_policy': label_policies.recorded(label_policy, gan.num_classes),
            'dataset': dataset.name,
            'split': dataset.split,
            'content': self._real.provenance['content'],
            'num_real': len(dataset),
        }
        self.halves = halves.scores(
            self._real,
            self._metrics,
            extractor.name,
            num_samples,
            cache_dir,
            progress=half_progress,
            warn=warn,
        )
        self.few = halves.describe_few(
            self._metrics,
            extractor.name,
            num_features=len(self._real.moments.mean),
            num_samples=num_samples,
            num_real=len(dataset),
            found=self.halves,
        )

    def __call__(self, variables: Any, check: Callable[[], None] | None = None) -> dict[str, Any]:
        """Draws samples and scores them.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.
          check: called before each batch; an exception of its ends the evaluation.

        Returns:
          Scores by name, as the metrics' `names` are on this extractor's features; None for a
          deviation that is not defined. 'per_class' where it was asked for.
        """
        labels: list[np.ndarray] = []
        others = () if self._by_class is None else ('pooled',)
        fake = gather(self._features(variables, labels, check), self._metrics, *others)
        if labels:
            fake = dataclasses.replace(fake, labels=np.concatenate(labels))
        values = registry.compute(
            self._metrics, self._real, fake, self._extractor.name, self._metric_progress
        )
        if self._by_class is not None:
            dataset, progress = self._by_class
            values['per_class'] = per_class.scores(
                self._real.pooled,
                cache.labels_of_pooled(dataset, self._real),
                fake.pooled,
                fake.labels[: len(fake.pooled)],
                metrics=self._metrics,
                extractor=self._extractor.name,
                class_names=dataset.class_names,
                progress=progress,
            )
        return values

    def _features(
        self, variables: Any, labels: list[np.ndarray], check: Callable[[], None] | None
    ) -> Iterator[extractors.Features]:
        """Yields the features of all samples; their labels, where they have any, go to `labels`."""
        count, batch_size = self.about['num_samples'], self._samples.batch_size
        if self._progress is not None:
            self._progress(0, count)
        for start in range(0, count, batch_size):
            if check is not None:
                check()
            images = self._samples.images(variables, start)[: count - start]
            drawn = self._samples.labels(start)
            if drawn is not None:
                labels.append(drawn[: count - start])
            yield self._extractor.apply(images)
            if self._progress is not None:
                self._progress(min(start + batch_size, count), count)

    def entry(
        self, step: int, seconds: float | None, values: dict[str, float | None]
    ) -> dict[str, Any]:
        """The line of `score_log` for a checkpoint's scores.

        Args:
          step: the checkpoint's.
          seconds: of training until then; None where it is not known.
          values: as a call returned them.
        """
        return {'step': step, 'seconds': seconds, **values, 'halves': self.halves, **self.about}


def extractor_for(
    dataset: data.Dataset,
    *,
    inception_weights: str | os.PathLike[str] | None = None,
    dinov2_weights: str | os.PathLike[str] | None = None,
    convention: str = 'torch',
    classifier: str = 'standard',
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> extractors.Extractor:
    """The Inception network or DINOv2 where there are weights, otherwise a dataset's classifier.

    A classifier judges stacks (`data.Dataset.stack_of`) channel by channel.

    Args:
      dataset: the real images.
      inception_weights: their file; 'fetch' downloads the published ones, once.
      dinov2_weights: DINOv2's file.
      convention: how the network's images are resized and scaled, see
        `osgan_jax.evaluation.features.inception` and `dinov2` beside it.
      classifier: the size of a trained one, of `osgan_jax.evaluation.features.CLASSIFIERS`.
      cache_dir: where a trained classifier or downloaded weights are kept; by default the user's.
      progress: called with steps done and in all while a classifier is trained.
      warn: called with a sentence about a cached file that could not be used.

    Raises:
      ValueError: for unusable weights, those of both networks, a convention that is not the
        network's, or a dataset without labels and no weights.
      OSError: if the weights cannot be read or downloaded.
    """
    if inception_weights is not None and dinov2_weights is not None:
        raise ValueError(
            '--inception_weights and --dinov2_weights exclude each other: score by one, then by '
            'the other; records keep both'
        )
    if dinov2_weights is not None:
        from osgan_jax.evaluation.features import dinov2

        return dinov2.extractor(dinov2_weights, convention=convention)
    if inception_weights is not None:
        from osgan_jax.evaluation.features import inception

        if str(inception_weights) == 'fetch':
            inception_weights = inception.fetch(cache_dir or paths.cache_dir())
        return inception.extractor(inception_weights, convention=convention)
    from osgan_jax.evaluation.features import by_channel
    from osgan_jax.evaluation.features import classifier as classifiers

    trained = classifiers.trained_for(
        dataset.stack_of or dataset, cache_dir, size=classifier, progress=progress, warn=warn
    )
    judge = classifiers.extractor(trained)
    return judge if dataset.stack_of is None else by_channel.extractor(judge)
