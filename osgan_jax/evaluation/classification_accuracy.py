"""The classification accuracy score: what a classifier learns from samples alone.

A classifier is trained on generated images and the labels they were drawn for, and measured on real
ones (Ravuri and Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models",
https://arxiv.org/abs/1905.10887, section 3). It falls where classes are mixed up, where they are
not recognised, and, unlike the accuracy of a classifier of real images on samples, where they lack
variety. The network and its training are those of `osgan_jax.evaluation.features.classifier`, not
the paper's ResNet-50, so that scores compare with each other and with the same classifier trained
on real images.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from osgan_jax import data
from osgan_jax.data import identity
from osgan_jax.evaluation import drawing, label_policies
from osgan_jax.evaluation.features import classifier_network, classifier_training
from osgan_jax.io import checked_npz
from osgan_jax.networks.inference import Generative

NAME = 'classification_accuracy'
_STREAM = 0x6361_73  # of latents, away from those of training, grids and other scores


class ClassificationAccuracy:
    """Trains classifiers on samples of generators of one shape.

    Attributes:
      about: the facts in which comparable numbers agree.
      names: of the score a call returns: classification_accuracy.
    """

    def __init__(
        self,
        gan: Generative,
        dataset: data.Dataset,
        *,
        num_samples: int = 10_000,
        size: str = 'standard',
        batch_size: int = 256,
        seed: int = 0,
        label_policy: str = 'data',
        progress: Callable[[int, int], None] | None = None,
    ):
        """Prepares to draw and to train.

        Args:
          gan: whose generator's shapes and labels count.
          dataset: the real images to classify, best those that G has not seen.
          num_samples: images drawn to learn from.
          size: of the classifier, one of `features.classifier_network.SIZES`.
          batch_size: images drawn a call.
          seed: of latents, labels and noise, and of the classifier.
          label_policy: see `evaluation.label_policies`.
          progress: called with steps of the classifier done and in all.

        Raises:
          ValueError: for an unconditional generator, real images of other classes or channels, or
            no classifier for their size.
        """
        if gan.num_classes < 2 or gan.num_classes != dataset.num_classes:
            raise ValueError(
                f'{NAME} needs labels: the generator was trained with {gan.num_classes} classes '
                f'and {dataset.name} has {dataset.num_classes}; train with --conditional'
            )
        if gan.image_shape[-1] != dataset.channels:
            raise ValueError(
                f'{NAME}: the generator draws images of {gan.image_shape[-1]} channels, and those '
                f'of {dataset.name} have {dataset.channels}'
            )
        self._dataset, self._size, self._progress = dataset, size, progress
        classifier_training.check(self._drawn(np.zeros((num_samples, *gan.image_shape), np.uint8)))
        classifier_network.architecture(min(gan.image_shape[:2]), size)  # refuses an unknown size
        self._samples = drawing.Samples(
            gan,
            seed=seed,
            stream=_STREAM,
            batch_size=batch_size,
            label_policy=label_policy,
            class_counts=dataset.class_counts(),
        )
        known = identity.identify(dataset)
        self.names = (NAME,)
        self.about: dict[str, Any] = {
            'learner': f'{size} classifier',
            # Other scores have that of their features: here it stands for how features are learnt.
            'fingerprint': checked_npz.digest(NAME, size),
            'num_samples': num_samples,
            'seed': seed,
            'label_policy': label_policies.recorded(label_policy, gan.num_classes),
            **{name: known[name] for name in ('dataset', 'split', 'content')},
            'num_real': len(dataset),
        }

    def __call__(self, variables: Any) -> dict[str, float]:
        """Draws images, trains a classifier on them, and measures it on the real ones.

        Args:
          variables: of the generator, as `TrainState.sampling_variables()` gives them.

        Returns:
          The share of real images that it gives their class, 0 to 1.

        Raises:
          FloatingPointError: training the classifier diverged.
        """
        count, seed = self.about['num_samples'], self.about['seed']
        starts = range(0, count, self._samples.batch_size)
        images = np.concatenate([self._samples.images(variables, start) for start in starts])
        labels = np.concatenate([self._samples.labels(start) for start in starts])
        learner = classifier_training.train(
            self._drawn(images[:count], labels[:count]),
            size=self._size,
            seed=seed,
            progress=self._progress,
        )
        rows = range(len(self._dataset))
        return {NAME: classifier_training.accuracy(learner, self._dataset, rows)}

    def entry(self, step: int, seconds: float | None, values: dict[str, float]) -> dict[str, Any]:
        """The line of `score_log` for a checkpoint's score, as `Evaluator.entry`."""
        return {'step': step, 'seconds': seconds, **values, **self.about}

    def _drawn(self, images: np.ndarray, labels: np.ndarray | None = None) -> data.Dataset:
        """Samples as a dataset with the classes of the real images."""
        labels = np.zeros(len(images), np.int32) if labels is None else labels
        names = self._dataset.class_names
        return data.from_arrays(images, labels, name='samples', class_names=names)
