"""What the generators and the discriminators have in common, with checks of their inputs."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.layers import norms

Array = jax.Array


class Generator(nn.Module):
    """The base of generators, which map z to images.

    Their `__call__(z, labels=None, *, train)` takes latents `[N, latent_dim]` and labels `[N]`,
    integers below `num_classes`, unused if unconditional. In training BatchNorm uses the batch's
    statistics, and `batch_stats` must be mutable. They return images
    `[N, H, W, channels]`, float32, in [-1, 1], and raise ValueError for z of
    another size or missing labels.

    Attributes:
      image_size: Height and width of the images, one of the network's sizes.
      channels: Channels of the images.
      latent_dim: Size of z.
      num_classes: Number of labels, 0 if unconditional.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
    """

    image_size: ImageSize
    channels: int = 3
    latent_dim: int = 128
    num_classes: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def check_inputs(self, z: Array, labels: Array | None, *, labelled: bool = True) -> None:
        """Raises ValueError for z of another size, or, if `labelled`, missing labels."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f'expected latents [N, {self.latent_dim}], got {z.shape}')
        if self.num_classes and labelled:
            _check_labels(labels, z.shape[0])

    def batch_norm(self, x: Array, train: bool, **options: Any) -> Array:
        """BatchNorm, with further options of `norms.batch_norm`."""
        options = {'dtype': self.dtype, **options}
        return norms.batch_norm(x, train=train, axis_name=self.axis_name, **options)


class Discriminator(nn.Module):
    """The base of discriminators, which map images to logits.

    Their `__call__(images, labels=None, *, train)` takes images
    `[N, H, W, channels]` and labels `[N]`, integers below `num_classes`, unused
    if unconditional. In training BatchNorm uses the batch's statistics and spectral normalisation
    keeps its vectors; `batch_stats` must be mutable. They return logits `[N]`, float32, and raise
    ValueError for images of another shape or missing labels.

    Attributes:
      image_size: Height and width of the images, one of the network's sizes.
      channels: Channels of the images.
      num_classes: Number of labels, 0 if unconditional.
      dtype: Dtype of the computation; the last layers run in float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
    """

    image_size: ImageSize
    channels: int = 3
    num_classes: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def check_inputs(self, images: Array, labels: Array | None) -> None:
        """Raises ValueError for images of another shape, or missing labels."""
        shape = (*image_sizes.sides(self.image_size), self.channels)
        if images.ndim != 4 or images.shape[1:] != shape:
            expected = ', '.join(map(str, shape))
            raise ValueError(f'expected images [N, {expected}], got {images.shape}')
        if self.num_classes:
            _check_labels(labels, images.shape[0])


def _check_labels(labels: Array | None, batch_size: int) -> None:
    if labels is None:
        raise ValueError('this network is class-conditional: pass integer labels [N]')
    if labels.shape != (batch_size,):
        raise ValueError(f'expected labels [{batch_size}], got {labels.shape}')
