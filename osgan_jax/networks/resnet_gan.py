"""The residual networks of SNGAN (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

For 32 pixels as in the paper's table 4; for 64 as in its authors' code, whose channels run from
16 times the width at the 4x4 grid to the width itself. Class-conditional networks are those of
Miyato and Koyama 2018 (https://arxiv.org/abs/1802.05637): conditional BatchNorm in the generator
and a projection in the discriminator.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.layers import modules, norms, pooling
from osgan_jax.networks import bases
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

# Multiples of the width: the generator's 4x4 grid and its blocks, and the discriminator's blocks
# as (channels, whether the block halves the grid).
GENERATOR_MULTIPLES = {32: (4, 4, 4, 4), 64: (16, 8, 4, 2, 1)}
DISCRIMINATOR_BLOCKS = {
    32: ((2, True), (2, True), (2, False), (2, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, True)),
}


def _glorot(gain: float) -> nn.initializers.Initializer:
    """Glorot and Bengio's uniform initialiser, its standard deviation times `gain`."""
    return nn.initializers.variance_scaling(gain**2, 'fan_avg', 'uniform')


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose gain and bias belong to the label, if there is one.

    Attributes:
      num_classes: Number of labels, 0 for an ordinary BatchNorm.
      dtype: Dtype of the result.
      axis_name: Mapped axis over which statistics are shared.
    """

    num_classes: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, *, train: bool) -> jax.Array:
        """Normalises `[N, H, W, C]`, labels `[N]`."""
        x = norms.batch_norm(
            x,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
            affine=not self.num_classes,
        )
        if not self.num_classes:
            return x
        features = x.shape[-1]
        gain = nn.Embed(
            self.num_classes, features, embedding_init=nn.initializers.ones, name='gain'
        )(labels)
        bias = nn.Embed(
            self.num_classes, features, embedding_init=nn.initializers.zeros, name='bias'
        )(labels)
        gain, bias = (jnp.asarray(v[:, None, None, :], self.dtype) for v in (gain, bias))
        return x * gain + bias


class GeneratorBlock(nn.Module):
    """Residual block that doubles the grid: norm, ReLU, conv, twice.

    Attributes:
      features: Channels of the output.
      num_classes: Number of labels, 0 if unconditional.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
    """

    features: int
    num_classes: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, *, train: bool) -> jax.Array:
        """Maps `[N, H, W, C]` to `[N, 2H, 2W, features]`."""
        residual = x
        for index in range(2):
            norm = ConditionalBatchNorm(self.num_classes, self.dtype, self.axis_name)
            residual = nn.relu(norm(residual, labels, train=train))
            residual = modules.Conv(
                self.features,
                resample='enlarge' if index == 0 else None,
                dtype=self.dtype,
                kernel_init=_glorot(math.sqrt(2)),
            )(residual)
        # A 1x1 convolution commutes with repeating pixels, and costs a quarter before it.
        shortcut = modules.Conv(
            self.features, (1, 1), dtype=self.dtype, kernel_init=_glorot(1), name='shortcut'
        )(x)
        return residual + pooling.enlarge(shortcut)


class Generator(bases.Generator):
    """Maps z to images whose shorter side is 32 or 64 pixels.

    Attributes:
      width: Unit of the numbers of channels.
    """

    width: int = 64

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Generates images, see `bases.Generator`."""
        self.check_inputs(z, labels)
        multiples = GENERATOR_MULTIPLES[image_sizes.short(self.image_size)]
        first, *blocks = (multiple * self.width for multiple in multiples)
        height, width = image_sizes.grid(self.image_size)
        x = nn.Dense(height * width * first, dtype=self.dtype, kernel_init=_glorot(1))(z)
        x = x.reshape(-1, height, width, first)
        for features in blocks:
            block = GeneratorBlock(features, self.num_classes, self.dtype, self.axis_name)
            x = block(x, labels, train=train)
        x = self.batch_norm(x, train)
        x = modules.Conv(self.channels, dtype=self.dtype, kernel_init=_glorot(1))(nn.relu(x))
        return jnp.tanh(jnp.asarray(x, jnp.float32))


class DiscriminatorBlock(nn.Module):
    """Residual block: ReLU, conv, twice, then averaging of 2x2 pixels if it halves the grid.

    Attributes:
      features: Channels of the output.
      halve: Whether the grid is halved.
      first: Whether the input is the image: no ReLU and no normalisation of it.
      norm: Normalisation, one of `norms.NAMES`.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
    """

    features: int
    halve: bool
    first: bool = False
    norm: str = 'spectral'
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[N, H, W, C]` to `[N, H, W, features]`, or half of `H` and `W`."""

        def conv(x, features, kernel_size, gain, resample=None):
            layer = modules.Conv(
                features,
                kernel_size,
                resample=resample,
                dtype=self.dtype,
                kernel_init=_glorot(gain),
            )
            return norms.wrap_spectral(layer, x, self.norm, train=train)

        def activate(x):
            if not self.first:
                x = norms.normalise(
                    x, self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name
                )
            return nn.relu(x)

        hidden = self.features if self.first else x.shape[-1]
        residual = x if self.first else activate(x)
        residual = conv(residual, hidden, (3, 3), math.sqrt(2))
        halving = 'mean_pool' if self.halve else None
        residual = conv(activate(residual), self.features, (3, 3), math.sqrt(2), halving)
        if not self.halve and x.shape[-1] == self.features:
            return residual + x
        # A 1x1 convolution commutes with averaging, and costs a quarter after it.
        shortcut = pooling.mean_pool(x) if self.halve else x
        return residual + conv(shortcut, self.features, (1, 1), 1.0)


class Discriminator(bases.Discriminator):
    """Maps images whose shorter side is 32 or 64 pixels to logits.

    Attributes:
      width: Unit of the numbers of channels.
      norm: Normalisation, one of `norms.NAMES`; 'spectral' in the paper.
    """

    width: int = 64
    norm: str = 'spectral'

    @nn.compact
    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Computes the logits of images, see `bases.Discriminator`."""
        self.check_inputs(images, labels)
        x = jnp.asarray(images, self.dtype)
        blocks = DISCRIMINATOR_BLOCKS[image_sizes.short(self.image_size)]
        for index, (multiple, halve) in enumerate(blocks):
            x = DiscriminatorBlock(
                multiple * self.width, halve, index == 0, self.norm, self.dtype, self.axis_name
            )(x, train=train)
        x = jnp.asarray(nn.relu(x), jnp.float32).sum((1, 2))
        layer = nn.Dense(1, kernel_init=_glorot(1))
        logits = norms.wrap_spectral(layer, x, self.norm, train=train)[:, 0]
        if self.num_classes:
            embed = nn.Embed(self.num_classes, x.shape[-1], embedding_init=_glorot(1))
            embedding = norms.wrap_spectral(embed, labels, self.norm, train=train)
            logits = logits + (x * embedding).sum(-1)
        return logits


def _build(options: NetworkOptions) -> Pair:
    width, shared = options.multiplied_width(), options.shared()
    return Pair(
        Generator(latent_dim=options.latent_dim, width=width, **shared),
        Discriminator(norm=options.discriminator_norm, width=width, **shared),
    )


def _blocks(options: NetworkOptions) -> Blocks:
    """Residual blocks, with the first and the last layers as blocks of their own."""
    doublings = range(len(GENERATOR_MULTIPLES[image_sizes.short(options.image_size)]) - 1)
    residual = range(len(DISCRIMINATOR_BLOCKS[image_sizes.short(options.image_size)]))
    return Blocks(
        generator=(
            ('Dense_0',),
            *((f'GeneratorBlock_{index}',) for index in doublings),
            ('BatchNorm_0', 'Conv_0'),
        ),
        discriminator=(*((f'DiscriminatorBlock_{index}',) for index in residual), ('Dense_0',)),
    )


SPEC = NetworkSpec(
    name='resnet_gan',
    build=_build,
    image_sizes=tuple(GENERATOR_MULTIPLES),
    oblong=True,
    width=64,
    norms=norms.NAMES,
    samplewise=True,
    blocks=_blocks,
)
