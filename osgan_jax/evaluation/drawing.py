"""The samples that scores are computed on: of every generator by the same latents and labels."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from osgan_jax import reporting
from osgan_jax.evaluation import label_policies
from osgan_jax.networks import inference
from osgan_jax.networks.inference import Generative

# Keys of a batch, beside that of its latents.
_LABELS, _NOISE = 1, 2


class Samples:
    """Draws images of generators of one shape, a batch at a time."""

    def __init__(
        self,
        gan: Generative,
        *,
        seed: int,
        stream: int,
        batch_size: int,
        label_policy: str,
        class_counts: Iterable[int] = (),
    ):
        """Compiles the generator.

        Args:
          gan: whose generator's shapes and labels count.
          seed: of latents, labels and noise.
          stream: keeps them away from what else is drawn by the same seed.
          batch_size: images of a batch.
          label_policy: which labels are drawn, see `evaluation.label_policies`.
          class_counts: images of each class in the data; none without labels.

        Raises:
          ValueError: for an unknown policy, or data without the generator's classes.
        """
        self._gan, self._generate = gan, inference.compile_generator(gan.generator)
        self._key = jax.random.fold_in(jax.random.key(seed), stream)
        self.batch_size = batch_size
        self._frequencies = label_policies.frequencies(label_policy, gan.num_classes, class_counts)

    def images(self, variables: Any, start: int) -> np.ndarray:
        """The batch that begins at an image's number, uint8 `[B, H, W, C]`."""
        key = jax.random.fold_in(self._key, start)
        z = inference.draw_latents(self._gan, key, self.batch_size)
        noise = jax.random.fold_in(key, _NOISE)
        images = self._generate(variables, z, self._draw_labels(key), noise)
        return reporting.to_uint8(np.asarray(images))

    def labels(self, start: int) -> np.ndarray | None:
        """The labels of that batch, int32 `[B]`; None of an unconditional generator."""
        labels = self._draw_labels(jax.random.fold_in(self._key, start))
        return None if labels is None else np.asarray(labels)

    def _draw_labels(self, key: jax.Array) -> jax.Array | None:
        classes = self._gan.num_classes
        if not classes:
            return None
        key = jax.random.fold_in(key, _LABELS)
        return inference.draw_labels(key, self.batch_size, classes, self._frequencies)
