"""The blocks of StyleGAN2's networks, see `osgan_jax.networks.stylegan2`."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import resampling, style

Array = jax.Array


class Mapping(nn.Module):
    """The mapping network: dense layers with a hundredth of the learning rate.

    Attributes:
      w_dim: Size of w, of the hidden layers and of the labels' embedding.
      layers: Number of dense layers.
      num_classes: Number of labels, 0 for none.
    """

    w_dim: int
    layers: int = 8
    num_classes: int = 0

    @nn.compact
    def __call__(self, z: Array | None, labels: Array | None = None) -> Array:
        """Maps z `[N, Z]`, labels `[N]`, or both, to `[N, w_dim]`, float32."""
        parts = [] if z is None else [style.pixel_norm(jnp.asarray(z, jnp.float32))]
        if self.num_classes:
            one_hot = jax.nn.one_hot(labels, self.num_classes)
            embedding = style.Dense(self.w_dim, name='embedding')(one_hot)
            parts.append(style.pixel_norm(embedding))
        x = jnp.concatenate(parts, axis=1)
        for index in range(self.layers):
            dense = style.Dense(self.w_dim, multiplier=0.01, name=f'dense_{index}')
            x = style.activate(dense(x))
        return x


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias and activation.

    Attributes:
      features: Channels of the output.
      double: Whether the grid is doubled.
      dtype: Dtype of the computation.
    """

    features: int
    double: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array) -> Array:
        """Maps `[N, H, W, I]`, w `[N, w_dim]` and noise `[N or 1, H', W', 1]` to `[N, H', W', O]`.

        H' is H, or 2H.
        """
        conv = style.ModulatedConv(self.features, double=self.double, dtype=self.dtype, name='conv')
        x = conv(x, w)
        strength = self.param('noise_strength', nn.initializers.zeros, ())
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        added = jnp.asarray(strength * noise, self.dtype) + jnp.asarray(bias, self.dtype)
        return style.activate(x + added)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to an image, not demodulated.

    Attributes:
      channels: Channels of the image.
      dtype: Dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """Maps `[N, H, W, I]`, w `[N, w_dim]` to `[N, H, W, channels]`, float32."""
        conv = style.ModulatedConv(
            self.channels, size=1, demodulate=False, dtype=self.dtype, name='conv'
        )
        bias = self.param('bias', nn.initializers.zeros, (self.channels,))
        return jnp.asarray(conv(x, w), jnp.float32) + bias


class SynthesisBlock(nn.Module):
    """Doubles the grid with two styled convolutions, and adds their image to the one so far.

    Attributes:
      features: Channels of the output.
      channels: Channels of the image.
      dtype: Dtype of the computation.
    """

    features: int
    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, image: Array, ws: Array, noise: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Maps features, image, styles `[N, 3, w_dim]` and noise to larger features and image."""
        up = StyledConv(self.features, double=True, dtype=self.dtype, name='up')
        conv = StyledConv(self.features, dtype=self.dtype, name='conv')
        x = conv(up(x, ws[:, 0], noise[0]), ws[:, 1], noise[1])
        added = ToRGB(self.channels, self.dtype, name='to_rgb')(x, ws[:, 2])
        return x, resampling.double(image) + added


class Synthesis(nn.Module):
    """Maps style vectors to images, each the sum of the images of all grids.

    Attributes:
      grids: Shorter sides, from 4 to the image's.
      widths: Channels at each.
      constant: Channels of the learned constant.
      channels: Channels of the images.
      dtype: Dtype of the computation; images are summed in float32.
      remat: Whether blocks are computed again in the backward pass rather than kept.
      start: Height and width of the constant.
    """

    grids: tuple[int, ...]
    widths: tuple[int, ...]
    constant: int
    channels: int
    dtype: Any = jnp.float32
    remat: bool = False
    start: tuple[int, int] = (4, 4)

    @nn.compact
    def __call__(self, ws: Array, noise: Sequence[Array]) -> Array:
        """Maps `[N, L, w_dim]` and each layer's noise to `[N, H, W, channels]`, float32."""
        shape = (*self.start, self.constant)
        start = self.param('constant', nn.initializers.normal(1.0), shape)
        x = jnp.broadcast_to(jnp.asarray(start, self.dtype), (ws.shape[0], *start.shape))
        conv = StyledConv(self.widths[0], dtype=self.dtype, name='conv_4')
        x = conv(x, ws[:, 0], noise[0])
        image = ToRGB(self.channels, self.dtype, name='to_rgb_4')(x, ws[:, 1])
        block_type = nn.remat(SynthesisBlock) if self.remat else SynthesisBlock
        for index, (grid, width) in enumerate(zip(self.grids[1:], self.widths[1:], strict=True)):
            block = block_type(width, self.channels, self.dtype, name=f'block_{grid}')
            # A grid's image and the next grid's first convolution share a style.
            first = 2 * index + 1
            x, image = block(x, image, ws[:, first : first + 3], (noise[first], noise[first + 1]))
        return image


class DiscriminatorBlock(nn.Module):
    """Halves the grid: two convolutions, beside a linear shortcut if it has one.

    Attributes:
      before: Channels between the two convolutions.
      after: Channels of the output.
      skip: Whether there is the shortcut.
      dtype: Dtype of the computation.
    """

    before: int
    after: int
    skip: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, H / 2, W / 2, after]`."""
        inputs = x
        x = style.activate(style.Conv(self.before, dtype=self.dtype, name='conv')(x))
        x = style.activate(style.Conv(self.after, halve=True, dtype=self.dtype, name='down')(x))
        if not self.skip:
            return x
        shortcut = style.Conv(
            self.after, 1, halve=True, use_bias=False, dtype=self.dtype, name='shortcut'
        )
        # Keeps the variance of a sum of two.
        return (x + shortcut(inputs)) / math.sqrt(2)
