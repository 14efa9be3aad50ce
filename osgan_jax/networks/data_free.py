"""Generators of data-free distillation, from z to the images that a classifier takes.

Their last layer is a BatchNorm, so that images come out standardised (mean 0 and deviation 1 in
each channel) like those the teacher was trained on.

* dfad: Fang et al. 2019 (https://arxiv.org/abs/1912.11006); tanh, then BatchNorm without scale and
  bias.
* zskt: Micaelli and Storkey 2019 (https://arxiv.org/abs/1905.09768); no tanh, BatchNorm with both.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import modules
from osgan_jax.networks import bases

Array = jax.Array

_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class Generator(bases.Generator):
    """Dense to a quarter of the grid, then twice: enlarge, convolve, normalise.

    Images, of sizes that 4 divides, are standardised rather than in [-1, 1].

    Attributes:
      width: Channels of the first two grids; half as many of the last.
      bounded: Whether tanh comes before the last BatchNorm, which then has no scale and bias.
    """

    width: int = 128
    bounded: bool = True

    @nn.compact
    def __call__(self, z: Array, labels: None = None, *, train: bool) -> Array:
        """Maps z `[N, latent_dim]` to standardised images `[N, H, W, C]`."""
        del labels  # z alone decides the class
        grid = self.image_size // 4
        x = nn.Dense(self.width * grid * grid, kernel_init=_uniform, dtype=self.dtype)(z)
        x = self.batch_norm(x.reshape(-1, grid, grid, self.width), train)
        for features in (self.width, self.width // 2):
            x = self.batch_norm(self._conv(x, features, 'enlarge'), train)
            x = nn.leaky_relu(x, 0.2)
        x = self._conv(x, self.channels)
        x = jnp.asarray(jnp.tanh(x) if self.bounded else x, jnp.float32)
        return self.batch_norm(x, train, dtype=jnp.float32, affine=not self.bounded)

    def _conv(self, x: Array, features: int, resample: str | None = None) -> Array:
        return modules.Conv(features, resample=resample, kernel_init=_uniform, dtype=self.dtype)(x)


# Of each: whether it is bounded, and the paper's size of z.
_GENERATORS = {'dfad': (True, 256), 'zskt': (False, 100)}


def names() -> tuple[str, ...]:
    """Returns the names that `build` knows."""
    return tuple(_GENERATORS)


def latent_dim(name: str) -> int:
    """The size of a generator's z in its paper."""
    _check(name)
    return _GENERATORS[name][1]


def build(
    name: str,
    *,
    image_size: int = 32,
    channels: int = 3,
    latent_dim: int | None = None,
    width: int = 128,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> Generator:
    """Builds a generator.

    Args:
      name: One of `names()`.
      image_size: Height and width of the images, a multiple of 4.
      channels: Channels of the images, 1 or 3.
      latent_dim: Size of z; None for the paper's, 256 (dfad) or 100 (zskt).
      width: Channels of the first two grids, at least 2; 128 in both papers.
      dtype: Dtype of the computation; parameters and images are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics; None for each device's own.

    Raises:
      ValueError: for an unknown name, or a number out of range.
    """
    _check(name)
    bounded, usual = _GENERATORS[name]
    latent_dim = usual if latent_dim is None else latent_dim
    if image_size < 4 or image_size % 4:
        raise ValueError(f'{name}: expected an image size that 4 divides, got {image_size}')
    if channels not in (1, 3) or latent_dim < 1:
        raise ValueError(
            f'{name}: expected 1 or 3 channels and a latent_dim of 1 or more, got {channels} and '
            f'{latent_dim}'
        )
    if width < 2:
        raise ValueError(f'{name}: expected a width of at least 2, got {width}')
    return Generator(
        image_size,
        channels,
        latent_dim,
        dtype=dtype,
        axis_name=axis_name,
        width=width,
        bounded=bounded,
    )


def _check(name: str) -> None:
    if name not in _GENERATORS:
        raise ValueError(f'unknown generator {name!r}: use one of {", ".join(names())}')
