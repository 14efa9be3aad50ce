"""An extractor for stacks of grey images: one that judges them, applied to each channel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.evaluation.features import extractors
from osgan_jax.io import checked_npz


def extractor(single: extractors.Extractor) -> extractors.Extractor:
    """Makes an extractor of grey images into one of stacks of them.

    Its features are those of all channels, side by side. Its logits are of the classes that
    `data.Dataset.stack_of` describes: the sums of the channels' log-probabilities, whose softmax is
    the product of the channels' and whose greatest is each channel's greatest.

    Args:
      single: of grey images, with `[N, F]` features and `[N, K]` logits.

    Returns:
      `uint8 [N, H, W, C]` to features `[N, C * F]` and logits `[N, K ** C]`, under the same name.
    """

    @jax.jit
    def join(pooled: jax.Array, logits: jax.Array) -> extractors.Features:
        channels = jax.nn.log_softmax(logits)
        joint = channels[0]
        for each in channels[1:]:
            joint = (joint[:, :, None] + each[:, None, :]).reshape(len(each), -1)
        return extractors.Features(jnp.concatenate(list(pooled), axis=1), joint)

    def apply(images: np.ndarray) -> extractors.Features:
        images = np.asarray(images)
        extractors.check_images(images, 'the classifier')
        stacked = np.moveaxis(images, 3, 0)
        seen = single.apply(stacked.reshape(-1, *images.shape[1:3], 1))
        split = [x.reshape(len(stacked), len(images), -1) for x in seen]
        return join(*split)

    convention = f'{single.convention}, each channel by itself'
    fingerprint = checked_npz.digest(convention, single.fingerprint)
    return dataclasses.replace(single, convention=convention, fingerprint=fingerprint, apply=apply)
