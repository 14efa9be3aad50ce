"""Maps of what discriminators look at: SmoothGrad, as in Figure 5 of Tian et al. 2024 (DGL-GAN).

SmoothGrad (Smilkov et al. 2017, https://arxiv.org/abs/1706.03825) is the mean gradient of the logit
at noisy copies of an image. Of a student of compression its own and its teacher's discriminator are
shown at the same images.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import reporting
from osgan_jax.compression import teachers
from osgan_jax.compression.config import CompressConfig
from osgan_jax.gan.sampling import Sampler

Array = jax.Array

_RANGE = 2.0  # of pixels
_DEVIATIONS = 3.0  # beyond which values are cut off


class Judge(NamedTuple):
    """A discriminator.

    Attributes:
      name: whose it is.
      module: linen module `(images, labels, train) -> logits [N]`.
      variables: its own.
    """

    name: str
    module: nn.Module
    variables: Any


def judges(sampler: Sampler) -> list[Judge]:
    """The run's discriminator and, of a student of compression, its teacher's.

    Raises:
      ValueError: if a discriminator is missing, of a run of converted weights.
      FileNotFoundError: if the teacher's run is not there.
    """
    config = sampler.run.config
    own = teachers.of_sampler(sampler)
    if not isinstance(config, CompressConfig):
        return [_judge('D', own)]
    teacher = teachers.load(config.teacher, config.teacher_step)
    return [_judge("the student's D", own), _judge("the teacher's D", teacher)]


def _judge(name: str, one: teachers.Teacher) -> Judge:
    return Judge(name, one.gan.discriminator, one.variables['discriminator'])


def smooth_gradients(
    judge: Judge,
    images: Array,
    labels: Array | None,
    *,
    samples: int,
    noise: float,
    seed: int = 0,
) -> np.ndarray:
    """SmoothGrad of a discriminator's logit.

    Args:
      judge: the discriminator, in inference mode.
      images: `[N, H, W, C]` in [-1, 1].
      labels: `[N]`; None if the discriminator has no classes.
      samples: noisy copies of each image.
      noise: their deviation, as a share of the range of pixels.
      seed: of the noise, which all discriminators and images share.

    Returns:
      `[N, H, W, C]`, float32.
    """
    gradient = _compiled(judge.module, samples)
    rows = [
        gradient(
            judge.variables,
            jnp.asarray(images[row]),
            None if labels is None else jnp.asarray(labels[row]),
            noise * _RANGE,
            jax.random.key(seed),
        )
        for row in range(len(images))
    ]
    return np.stack(rows)


@functools.lru_cache(maxsize=4)
def _compiled(module: nn.Module, samples: int):
    """`(variables, image, label, deviation, key) -> gradient`; one copy at a time is in memory."""
    module = module.clone(axis_name=None)

    def logit(image, variables, label):
        labels = None if label is None else label[None]
        # Alone: images of a batch see each other through the minibatch deviation.
        return module.apply(variables, image[None], labels, train=False)[0]

    def gradient(variables, image, label, deviation, key):
        def add(total, index):
            added = deviation * jax.random.normal(jax.random.fold_in(key, index), image.shape)
            return total + jax.grad(logit)(image + added, variables, label), None

        total, _ = jax.lax.scan(add, jnp.zeros(image.shape), jnp.arange(samples))
        return total / samples

    return jax.jit(gradient)


def sheet(
    judges: Sequence[Judge], images: np.ndarray, labels: np.ndarray | None, **options: Any
) -> np.ndarray:
    """Images and the maps of discriminators, a row for each image.

    Args:
      judges: the discriminators.
      images: `[N, H, W, C]`, float32 in [-1, 1].
      labels: `[N]`; None if unconditional.
      **options: of `smooth_gradients`.

    Returns:
      `[N, 1 + J * C, H, W, C]`, uint8: the image, then of each discriminator a grey map of each
      channel: mid grey is 0, black and white three deviations of that map and beyond.
    """
    columns = [reporting.to_uint8(images)]
    channels = images.shape[-1]
    for judge in judges:
        found = smooth_gradients(judge, images, labels, **options)
        deviation = found.std(axis=(1, 2), keepdims=True)
        scaled = found / np.maximum(_DEVIATIONS * deviation, np.finfo(np.float32).tiny)
        levels = reporting.to_uint8(scaled)
        for channel in range(channels):
            columns.append(np.repeat(levels[..., channel : channel + 1], channels, axis=-1))
    return np.stack(columns, axis=1)


def describe(judges: Sequence[Judge], channels: int) -> str:
    """The columns of a sheet, in words."""
    of_channels = ' by red, green and blue' if channels == 3 else ''
    names = ' and '.join(judge.name for judge in judges)
    return f'the image; gradients of the logit{of_channels} of {names}'
