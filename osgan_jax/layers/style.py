"""Layers of StyleGAN2 (Karras et al. 2020, https://arxiv.org/abs/1912.04958).

Learning rates are equalised: parameters are drawn with deviation 1 and scaled where they are used,
so that an optimiser that normalises moves all layers alike (Karras et al. 2018,
https://arxiv.org/abs/1710.10196, section 4.1).
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import convolutions, resampling

Array = jax.Array
EPSILON = 1e-8

_normal = nn.initializers.normal(1.0)


def activate(x: Array) -> Array:
    """Leaky ReLU with slope 0.2, times the square root of 2, which keeps the variance."""
    return math.sqrt(2) * nn.leaky_relu(x, 0.2)


def pixel_norm(x: Array) -> Array:
    """Divides vectors `[N, C]` by the root of the mean of their squares."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)


class Dense(nn.Module):
    """Dense layer with an equalised learning rate.

    Attributes:
      features: Size of the output.
      bias: Initial value of the bias.
      multiplier: Factor of the learning rate.
      dtype: Dtype of the computation.
    """

    features: int
    bias: float = 0.0
    multiplier: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., I]` to `[..., O]`."""
        size = x.shape[-1]
        init = nn.initializers.normal(1 / self.multiplier)
        kernel = self.param('kernel', init, (size, self.features))
        start = nn.initializers.constant(self.bias / self.multiplier)
        bias = self.param('bias', start, (self.features,))
        kernel = jnp.asarray(kernel * (self.multiplier / math.sqrt(size)), self.dtype)
        return jnp.asarray(x, self.dtype) @ kernel + jnp.asarray(bias * self.multiplier, self.dtype)


class Conv(nn.Module):
    """Convolution with an equalised learning rate, which may halve the grid.

    Attributes:
      features: Channels of the output.
      size: Height and width of the kernel, odd.
      halve: Whether the grid is blurred and halved.
      use_bias: Whether a bias is added.
      dtype: Dtype of the computation.
    """

    features: int
    size: int = 3
    halve: bool = False
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, I]` to `[N, H, W, O]`, or half of H and W."""
        x = jnp.asarray(x, self.dtype)
        kernel = jnp.asarray(_kernel(self, self.size, x.shape[-1], self.features), self.dtype)
        if self.halve and self.size == 1:
            # Filters only at the pixels that are kept.
            x = convolutions.conv(resampling.halve(x), kernel)
        elif self.halve:
            x = convolutions.conv(resampling.blur(x, (2, 2)), kernel, stride=2, padding='valid')
        else:
            x = convolutions.conv(x, kernel)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,))
            x = x + jnp.asarray(bias, self.dtype)
        return x


class ModulatedConv(nn.Module):
    """Convolution whose kernel is scaled for each sample by its style (section 2.2, Eq. 1 and 3).

    The same results come from one kernel for all samples, the input's channels scaled by the style
    and the output's divided by the norm of the scaled kernel.

    The grid is doubled by a transposed convolution of stride 2 and a blur with a gain of 4 and one
    zero on every side. Its kernel is mirrored in both axes, compared with that of a correlation of
    an image spread by zeros: the orientation of the authors' PyTorch code, and the opposite of
    their TensorFlow code's.

    Attributes:
      features: Channels of the output.
      size: Height and width of the kernel, odd.
      double: Whether the grid is doubled and blurred.
      demodulate: Whether outputs are divided by the kernel's norm.
      dtype: Dtype of the computation.
    """

    features: int
    size: int = 3
    double: bool = False
    demodulate: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """Maps `[N, H, W, I]`, style vectors `[N, w_dim]` to `[N, H, W, O]`, or twice H and W."""
        x = jnp.asarray(x, self.dtype)
        kernel = _kernel(self, self.size, x.shape[-1], self.features)
        style = Dense(x.shape[-1], bias=1.0, name='style')(w)
        x = x * jnp.asarray(style, self.dtype)[:, None, None, :]
        taps = jnp.asarray(kernel, self.dtype)
        if self.double:
            grown = convolutions.conv_transpose(x, taps.swapaxes(2, 3), stride=2, padding='valid')
            x = resampling.blur(grown, (1, 1), gain=4.0)
        else:
            x = convolutions.conv(x, taps)
        if self.demodulate:
            squares = jnp.sum(jnp.square(kernel), (0, 1))
            norm = jax.lax.rsqrt(jnp.square(style) @ squares + EPSILON)
            x = x * jnp.asarray(norm, self.dtype)[:, None, None, :]
        return x


def _kernel(module: nn.Module, size: int, before: int, after: int) -> Array:
    kernel = module.param('kernel', _normal, (size, size, before, after))
    return kernel / math.sqrt(size * size * before)


def minibatch_deviation(x: Array, group: int, splits: int = 1) -> Array:
    """Adds a channel: the standard deviation in a group of samples, mean over pixels and channels.

    Karras et al. 2018, section 3, within groups as in StyleGAN2's code.

    Args:
      x: `[N, H, W, C]`.
      group: Samples in a group; a smaller part is one group.
      splits: Equal parts of the batch that do not see each other: 2 where the first half is real
        and the second fake. A group's samples are those of a part whose indices are equal modulo
        the part's number of groups.

    Returns:
      `[N, H, W, C + 1]`. One-stage training with an asymmetric loss excludes this layer, for
      samples of a group see each other.

    Raises:
      ValueError: if parts do not divide the batch, or groups a part.
    """
    n, h, w, c = x.shape
    if n % splits:
        raise ValueError(f'minibatch deviation: {splits} parts do not divide {n} samples')
    group = min(group, n // splits)
    if n // splits % group:
        raise ValueError(
            f'minibatch deviation: groups of {group} do not divide {n // splits} samples'
        )
    grouped = jnp.asarray(x, jnp.float32).reshape(splits, group, -1, h, w, c)
    deviation = jnp.sqrt(jnp.var(grouped, axis=1) + EPSILON).mean((2, 3, 4))
    added = jnp.tile(deviation, (1, group)).reshape(n, 1, 1, 1)
    added = jnp.broadcast_to(jnp.asarray(added, x.dtype), (n, h, w, 1))
    return jnp.concatenate([x, added], axis=-1)
