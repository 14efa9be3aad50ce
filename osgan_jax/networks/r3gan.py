"""R3GAN's networks (Huang et al. 2024, https://arxiv.org/abs/2501.05441), 8 to 256 pixels.

Residual blocks of 1x1, grouped 3x3 and 1x1 convolutions, without any normalisation. Both networks
have a stage for each grid from 4x4 to the image's, of `blocks` blocks each; grids change by the
bilinear filter, [1, 2, 1] convolved with the pixel's own [1, 1], between stages. G begins with a
learnt 4x4 basis that z weighs and ends in a 1x1 convolution to colours, without tanh: images may
leave [-1, 1], and are clipped where they are drawn. D is the same backwards, and ends in a 4x4
depthwise convolution and a linear layer. No layer of D mixes samples.

Published: width 768 for CIFAR-10 and for FFHQ at 64 and 256 pixels (from 64 pixels on the stages
narrow: 384, 192, 96); 1,536 and 32 channels a group for ImageNet at 32 and 64 pixels, whose stages
all have the full width.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import START, ImageSize
from osgan_jax.layers import modules, resampling
from osgan_jax.networks import bases
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

_EXPANSION = 2
_SLOPE = 0.2
_EMBEDDING = 64  # of labels
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))


def _normal(gain: float = 1.0) -> nn.initializers.Initializer:
    """Normal, of standard deviation gain / sqrt(fan_in)."""
    return nn.initializers.variance_scaling(gain**2, 'fan_in', 'normal')


def widths(image_size: ImageSize, width: int, full_width: int = 32) -> list[int]:
    """Channels of the stages from the 4x4 grid up: `width`, and half for each doubling beyond.

    Args:
      image_size: whose shorter side is a power of two; that of oblongs counts.
      width: of the grids of up to `full_width` pixels.
      full_width: pixels.

    Raises:
      ValueError: if half of a width is not a whole number.
    """
    found = []
    for doublings in range(int(math.log2(image_sizes.short(image_size) // START)) + 1):
        halvings = max(0, doublings - max(0, int(math.log2(full_width / START))))
        if width % 2**halvings:
            raise ValueError(
                f'width={width}: r3gan of {image_size} pixels halves it {halvings} times; choose a '
                f'multiple of {2**halvings}'
            )
        found.append(width // 2**halvings)
    return found


class Activation(nn.Module):
    """Adds a bias, then leaky ReLU of slope 0.2.

    Attributes:
      dtype: Dtype of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, C]` to the same."""
        bias = self.param('bias', nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return nn.leaky_relu(x + jnp.asarray(bias, self.dtype), _SLOPE)


class Block(nn.Module):
    """Adds a residual of three convolutions, of which the last begins at zero.

    Attributes:
      depth: Blocks of the whole network, by which residuals are scaled at the start.
      group_channels: Channels a group of the 3x3 convolution.
      dtype: Dtype of the computation.
    """

    depth: int
    group_channels: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, H, W, C]` to the same."""
        channels = x.shape[-1]
        expanded = _EXPANSION * channels
        group = min(self.group_channels, expanded)
        if expanded % group:
            raise ValueError(
                f'{channels} channels of r3gan become {expanded}, which are not groups of {group}: '
                f'choose a --width whose stages are multiples of {group // _EXPANSION}'
            )

        def conv(x, features, kernel_size, init, groups=1):
            return modules.Conv(
                features,
                (kernel_size, kernel_size),
                use_bias=False,
                kernel_init=init,
                groups=groups,
                dtype=self.dtype,
            )(x)

        # Three layers with two activations: the residual's variance is 1 / depth of x's.
        init = _normal(_GAIN * self.depth**-0.25)
        residual = conv(x, expanded, 1, init)
        residual = Activation(self.dtype)(residual)
        residual = conv(residual, expanded, 3, init, expanded // group)
        residual = Activation(self.dtype)(residual)
        return x + conv(residual, channels, 1, nn.initializers.zeros)


def _change_width(x: jax.Array, features: int, dtype: Any) -> jax.Array:
    """A 1x1 convolution where the width changes."""
    if x.shape[-1] == features:
        return x
    return modules.Conv(
        features, (1, 1), use_bias=False, kernel_init=_normal(), dtype=dtype, name=f'to_{features}'
    )(x)


class Generator(bases.Generator):
    """Maps z to images.

    Attributes:
      widths: Channels of the stages, from the 4x4 grid up.
      blocks: Residual blocks a stage.
      group_channels: Channels a group of the 3x3 convolutions.
    """

    widths: tuple[int, ...] = ()
    blocks: int = 2
    group_channels: int = 16

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Generates images, see `bases.Generator`; they may leave [-1, 1]."""
        del train  # no layer behaves otherwise then
        self.check_inputs(z, labels)
        if self.num_classes:
            # A linear layer of one-hot labels.
            init = nn.initializers.normal(self.num_classes**-0.5)
            embed = nn.Embed(self.num_classes, _EMBEDDING, embedding_init=init)
            z = jnp.concatenate([z, embed(labels)], axis=1)
        first = self.widths[0]
        shape = (*image_sizes.grid(self.image_size), first)
        basis = self.param('basis', nn.initializers.normal(1.0), shape, jnp.float32)
        weights = nn.Dense(first, use_bias=False, kernel_init=_normal(), dtype=self.dtype)(z)
        x = jnp.asarray(basis, self.dtype) * weights[:, None, None, :]
        depth = self.blocks * len(self.widths)
        for index, features in enumerate(self.widths):
            if index:
                x = resampling.double(_change_width(x, features, self.dtype))
            for _ in range(self.blocks):
                x = Block(depth, self.group_channels, self.dtype)(x)
        x = modules.Conv(
            self.channels, (1, 1), use_bias=False, kernel_init=_normal(), dtype=self.dtype
        )(x)
        return jnp.asarray(x, jnp.float32)


class Discriminator(bases.Discriminator):
    """Maps images to logits.

    Attributes:
      widths: Channels of the stages, from the 4x4 grid up.
      blocks: Residual blocks a stage.
      group_channels: Channels a group of the 3x3 convolutions.
    """

    widths: tuple[int, ...] = ()
    blocks: int = 2
    group_channels: int = 16

    @nn.compact
    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Computes the logits of images, see `bases.Discriminator`."""
        del train  # no layer behaves otherwise then
        self.check_inputs(images, labels)
        x = jnp.asarray(images, self.dtype)
        falling = self.widths[::-1]
        x = modules.Conv(
            falling[0], (1, 1), use_bias=False, kernel_init=_normal(), dtype=self.dtype
        )(x)
        depth = self.blocks * len(falling)
        for index, features in enumerate(falling):
            if index:
                x = _change_width(resampling.halve(x), features, self.dtype)
            for _ in range(self.blocks):
                x = Block(depth, self.group_channels, self.dtype)(x)
        # One filter a channel, which covers the grid: fan_in is its pixels.
        grid = image_sizes.grid(self.image_size)
        init = nn.initializers.normal(math.prod(grid) ** -0.5)
        basis = self.param('basis', init, (*grid, falling[-1]), jnp.float32)
        features = jnp.sum(jnp.asarray(x, jnp.float32) * basis, (1, 2))
        size = _EMBEDDING if self.num_classes else 1
        logits = nn.Dense(size, use_bias=False, kernel_init=_normal())(features)
        if not self.num_classes:
            return logits[:, 0]
        # A linear layer of one-hot labels, for an inner product of that many terms.
        init = nn.initializers.normal((self.num_classes * _EMBEDDING) ** -0.5)
        embed = nn.Embed(self.num_classes, _EMBEDDING, embedding_init=init)
        return jnp.sum(logits * embed(labels), axis=1)


def _build(options: NetworkOptions) -> Pair:
    sizes = {
        'widths': tuple(widths(options.image_size, options.multiplied_width(), options.full_width)),
        'blocks': options.blocks,
        'group_channels': options.group_channels,
        **options.shared(),
    }
    return Pair(Generator(latent_dim=options.latent_dim, **sizes), Discriminator(**sizes))


def _blocks(options: NetworkOptions) -> Blocks:
    """Stages, one for each grid, with the first and the last layers in or after them."""
    rising = widths(options.image_size, options.multiplied_width(), options.full_width)

    def stages(features: list[int], first: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for index, width in enumerate(features):
            begin = index * options.blocks
            own = [f'Block_{begin + offset}' for offset in range(options.blocks)]
            change = (f'to_{width}',) if index and width != features[index - 1] else ()
            found.append((*(first if not index else change), *own))
        return found

    return Blocks(
        generator=(*stages(rising, ('basis', 'Dense_0')), ('Conv_0',)),
        discriminator=(*stages(rising[::-1], ('Conv_0',)), ('basis', 'Dense_0')),
    )


SPEC = NetworkSpec(
    name='r3gan',
    build=_build,
    image_sizes=(8, 16, 32, 64, 128, 256),
    oblong=True,
    width=768,
    norms=('none',),
    latent_dim=lambda image_size: 64,
    options={'blocks': 2, 'group_channels': 16, 'full_width': 32},
    samplewise=True,
    has_groups=True,
    blocks=_blocks,
)
