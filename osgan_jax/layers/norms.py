"""Normalisation by name, for images `[N, H, W, C]`.

All but 'batch' treat every sample by itself, as the one-stage gradient of an asymmetric loss
requires of a discriminator. Statistics are float32 whatever the compute dtype.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NAMES = ('group', 'instance', 'layer', 'spectral', 'batch', 'none')

EPSILON = 1e-5  # PyTorch's default for all of these; flax's differs between its modules.


def check(name: str) -> None:
    """Raises a ValueError unless `name` is one of `NAMES`."""
    if name not in NAMES:
        raise ValueError(f'unknown normalisation {name!r}: use one of {", ".join(NAMES)}')


def normal_scale(stddev: float) -> nn.initializers.Initializer:
    """An initialiser that draws from a normal distribution of mean 1."""

    def init(key, shape, dtype=jnp.float32):
        return 1 + stddev * jax.random.normal(key, shape, dtype)

    return init


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018, https://arxiv.org/abs/1803.08494).

    Equal to flax's, but written as a scale and a shift per sample and channel, found from sums over
    space alone. The reductions then run along contiguous channels, forward and backward, which on
    CPU takes half to a quarter of the time.

    Attributes:
      groups: Number of groups; divides the channels.
      dtype: Dtype of the result; statistics are float32.
    """

    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[N, H, W, C]` over space and the channels of a group."""
        n, h, w, c = x.shape
        scale = self.param('scale', nn.initializers.ones, (c,), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (c,), jnp.float32)
        x = jnp.asarray(x, jnp.float32)
        pixels = x.reshape(n, h * w, c)
        per_group = (n, self.groups, c // self.groups)
        count = h * w * per_group[2]
        mean = pixels.sum(1).reshape(per_group).sum(2, keepdims=True) / count
        square = (pixels * pixels).sum(1).reshape(per_group).sum(2, keepdims=True) / count
        # Rounding can leave the difference of two large numbers below zero.
        variance = jnp.maximum(square - mean * mean, 0)
        scale = jax.lax.rsqrt(variance + EPSILON) * scale.reshape(per_group[1:])
        shift = bias.reshape(per_group[1:]) - mean * scale
        scale, shift = (v.reshape(n, 1, 1, c) for v in (scale, shift))
        return jnp.asarray(x * scale + shift, self.dtype)


def batch_norm(
    x: jax.Array,
    *,
    train: bool,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    affine: bool = True,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    name: str | None = None,
) -> jax.Array:
    """Normalises over the batch, within a compact linen method.

    Args:
      x: `[N, ..., C]`.
      train: Whether to use, and average into the running ones, the batch's own statistics.
      dtype: Dtype of the result.
      axis_name: Mapped axis over which statistics are shared; None for this device's batch alone.
      affine: Whether there is a scale and a bias.
      scale_init: Initialiser of the scale.
      name: Name of the submodule.

    Returns:
      An array like `x`.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=EPSILON,
        dtype=dtype,
        axis_name=axis_name,
        use_scale=affine,
        use_bias=affine,
        scale_init=scale_init,
        name=name,
    )(x)


def normalise(
    x: jax.Array,
    kind: str,
    *,
    train: bool,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> jax.Array:
    """Normalises the features of a discriminator, within a compact linen method.

    Args:
      x: Features `[N, H, W, C]`.
      kind: One of `NAMES`. 'group' takes gcd(32, C) groups (Wu and He 2018); 'layer' normalises
        each sample over space and channels, with a scale and bias per channel; 'spectral' and
        'none' leave features as they are (the former normalises the layers' weights, see
        `wrap_spectral`).
      train: Whether 'batch' uses the batch's own statistics.
      dtype: Dtype of the result.
      axis_name: Mapped axis over which 'batch' shares its statistics.
      scale_init: Initialiser of the scale of 'batch'.

    Returns:
      An array like `x`.

    Raises:
      ValueError: if `kind` is unknown.
    """
    check(kind)
    if kind in ('none', 'spectral'):
        return x
    if kind == 'batch':
        return batch_norm(x, train=train, dtype=dtype, axis_name=axis_name, scale_init=scale_init)
    channels = x.shape[-1]
    groups = {'group': math.gcd(32, channels), 'instance': channels, 'layer': 1}[kind]
    return GroupNorm(groups, dtype=dtype)(x)


def wrap_spectral(layer: nn.Module, x: jax.Array, kind: str, *, train: bool) -> jax.Array:
    """Applies a layer, its weights divided by their largest singular value if `kind` is 'spectral'.

    Each call estimates that value by one power iteration (Miyato et al. 2018, algorithm 1), whose
    vector is kept in `batch_stats`.

    Args:
      layer: A linen module with matrix-like parameters, last axis the output's.
      x: Its input.
      kind: Name of the normalisation; all others leave the weights as they are.
      train: Whether the vector is updated.

    Returns:
      The layer's output.
    """
    if kind != 'spectral':
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=train)
