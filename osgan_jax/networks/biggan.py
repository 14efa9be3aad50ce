"""BigGAN (Brock et al. 2019, https://arxiv.org/abs/1809.11096), for 32 to 256 pixels.

As in its appendix B and its authors' networks: z is split into equal parts, one for the first layer
and one for each block, where it joins a label's embedding that all blocks share; BatchNorm's gain
and bias are linear in both; the discriminator adds a projection on the label to its logit. All
weights but the shared embedding are spectrally normalised. Self-attention follows the 64x64 grid,
or the 32x32 grid at 64 pixels; at 32 pixels there is none.

Its author's recipe for CIFAR-10 has no hierarchical z: all of it enters the first layer, and blocks
are conditioned on the label alone. Weights are drawn from N(0, 0.02) there.

DGL-GAN's channel multiplier narrows the generator alone: z, the embedding and the discriminator
keep their sizes.
"""

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import attention, norms, pooling, spectral
from osgan_jax.networks import bases
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

Array = jax.Array

IMAGE_SIZES = (32, 64, 128, 256)
LATENT_DIM = 120
EMBEDDING_DIM = 128

# Multiples of the width: the generator's 4x4 grid and its blocks, each of which doubles it.
_GENERATOR = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
# The discriminator's blocks as (multiple, whether the block halves the grid).
_DISCRIMINATOR = {
    32: ((4, True), (4, True), (4, False), (4, False)),
    64: ((1, True), (2, True), (4, True), (8, True), (16, False)),
    128: ((1, True), (2, True), (4, True), (8, True), (16, True), (16, False)),
    256: ((1, True), (2, True), (4, True), (8, True), (8, True), (16, True), (16, False)),
}
INITIALISERS = {'orthogonal': spectral.orthogonal, 'normal': nn.initializers.normal(0.02)}
"""How weights are drawn, by the name of the option."""

# The grid after which there is self-attention.
_ATTENTION = {32: None, 64: 32, 128: 64, 256: 64}


def latent_dim(image_size: int) -> int:
    """The published size of z: 120, and 140 at 256 pixels.

    Raises:
      ValueError: for an image size that the network is not defined for.
    """
    if image_size not in IMAGE_SIZES:
        sizes = ', '.join(map(str, IMAGE_SIZES))
        raise ValueError(f'biggan has no {image_size}-pixel networks: use one of {sizes}')
    return max(LATENT_DIM, 20 * len(_GENERATOR[image_size]))


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose gain, less 1, and bias are linear in a condition.

    Attributes:
      dtype: Dtype of the result.
      axis_name: Mapped axis over which statistics are shared.
      kernel_init: Initialiser of the kernels.
    """

    dtype: Any = jnp.float32
    axis_name: str | None = None
    kernel_init: nn.initializers.Initializer = spectral.orthogonal

    @nn.compact
    def __call__(self, x: Array, condition: Array | None, *, train: bool) -> Array:
        """Normalises `[N, H, W, C]`, condition `[N, E]`; without one, as any BatchNorm."""
        features, affine = x.shape[-1], condition is None
        x = norms.batch_norm(
            x, train=train, dtype=self.dtype, axis_name=self.axis_name, affine=affine
        )
        if affine:
            return x

        def linear(name):
            layer = spectral.Dense(
                features,
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            return layer(condition, train=train)[:, None, None, :]

        return x * (1 + linear('gain')) + linear('bias')


class GeneratorBlock(nn.Module):
    """Residual block that doubles the grid.

    Attributes:
      features: Channels of the output.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over which BatchNorm shares its statistics.
      kernel_init: Initialiser of the kernels.
    """

    features: int
    dtype: Any = jnp.float32
    axis_name: str | None = None
    kernel_init: nn.initializers.Initializer = spectral.orthogonal

    @nn.compact
    def __call__(self, x: Array, condition: Array | None, train: bool) -> Array:
        """Maps `[N, H, W, C]`, condition `[N, E]` or None, to `[N, 2H, 2W, features]`."""
        conv = functools.partial(
            spectral.Conv, self.features, kernel_init=self.kernel_init, dtype=self.dtype
        )
        residual = x
        for index in range(2):
            norm = ConditionalBatchNorm(self.dtype, self.axis_name, self.kernel_init)
            residual = nn.relu(norm(residual, condition, train=train))
            residual = conv(resample='enlarge' if index == 0 else None)(residual, train=train)
        # A 1x1 convolution commutes with repeating pixels, and costs a quarter before it.
        shortcut = conv((1, 1), name='shortcut')
        return residual + pooling.enlarge(shortcut(x, train=train))


class Generator(bases.Generator):
    """Maps z and labels to images; unconditional, z alone modulates.

    Attributes:
      latent_dim: Size of z, a multiple of the number of its parts.
      width: Unit of the numbers of channels; 96 in the paper.
      embedding_dim: Size of the labels' shared embedding.
      hierarchical: Whether z has a part for each block; otherwise the first layer takes all of it.
      initialiser: How weights are drawn, one of `INITIALISERS`.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    latent_dim: int = LATENT_DIM
    width: int = 96
    embedding_dim: int = EMBEDDING_DIM
    hierarchical: bool = True
    initialiser: str = 'orthogonal'
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        z: Array,
        labels: Array | None = None,
        *,
        train: bool,
        embedding: Array | None = None,
    ) -> Array:
        """Generates images, see `bases.Generator`.

        Labels may be left out given an `embedding` `[N, embedding_dim]`, such as one between two
        classes.
        """
        self.check_inputs(z, labels, labelled=embedding is None)
        first, *blocks = (multiple * self.width for multiple in _GENERATOR[self.image_size])
        parts = len(blocks) + 1 if self.hierarchical else 1
        draw = INITIALISERS[self.initialiser]
        if self.latent_dim % parts:
            raise ValueError(
                f'biggan at {self.image_size} pixels splits z into {parts} equal parts: expected '
                f'a latent_dim that {parts} divides, got {self.latent_dim}'
            )
        z, *conditions = jnp.split(z, parts, axis=1)
        conditions = conditions or [None] * len(blocks)
        if self.num_classes:
            shared = nn.Embed(
                self.num_classes,
                self.embedding_dim,
                embedding_init=draw,
                name='embedding',
            )
            embedding = shared(labels) if embedding is None else embedding
            conditions = [
                embedding if part is None else jnp.concatenate([embedding, part], axis=1)
                for part in conditions
            ]
        x = spectral.Dense(16 * first, kernel_init=draw, dtype=self.dtype)(z, train=train)
        x = x.reshape(-1, 4, 4, first)
        block_type = nn.remat(GeneratorBlock, static_argnums=(3,)) if self.remat else GeneratorBlock
        for index, (features, condition) in enumerate(zip(blocks, conditions, strict=True)):
            block = block_type(features, self.dtype, self.axis_name, draw, name=f'block_{index}')
            x = block(x, condition, train)
            if x.shape[1] == _ATTENTION[self.image_size]:
                x = attention.SelfAttention(self.dtype, draw)(x, train=train)
        x = self.batch_norm(x, train)
        conv = spectral.Conv(self.channels, kernel_init=draw, dtype=self.dtype)
        x = conv(nn.relu(x), train=train)
        return jnp.tanh(jnp.asarray(x, jnp.float32))


class DiscriminatorBlock(nn.Module):
    """Residual block: ReLU, conv, twice, then averaging of 2x2 pixels if it halves the grid.

    Attributes:
      features: Channels of the output, and between the two convolutions.
      halve: Whether the grid is halved.
      first: Whether the input is the image: no ReLU of it.
      dtype: Dtype of the computation.
      kernel_init: Initialiser of the kernels.
    """

    features: int
    halve: bool
    first: bool = False
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = spectral.orthogonal

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[N, H, W, C]` to `[N, H, W, features]`, or half of H and W."""
        conv = functools.partial(
            spectral.Conv, self.features, kernel_init=self.kernel_init, dtype=self.dtype
        )
        residual = x if self.first else nn.relu(x)
        residual = conv()(residual, train=train)
        halving = conv(resample='mean_pool' if self.halve else None)
        residual = halving(nn.relu(residual), train=train)
        if not self.halve and x.shape[-1] == self.features:
            return residual + x
        # A 1x1 convolution commutes with averaging, and costs a quarter after it.
        x = pooling.mean_pool(x) if self.halve else x
        return residual + conv((1, 1), name='shortcut')(x, train=train)


class Discriminator(bases.Discriminator):
    """Maps images and labels to logits; it treats samples one by one.

    Attributes:
      width: Unit of the numbers of channels; 96 in the paper.
      initialiser: How weights are drawn, one of `INITIALISERS`.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    width: int = 96
    initialiser: str = 'orthogonal'
    remat: bool = False

    @nn.compact
    def __call__(self, images: Array, labels: Array | None = None, *, train: bool) -> Array:
        """Computes the logits of images, see `bases.Discriminator`."""
        self.check_inputs(images, labels)
        draw = INITIALISERS[self.initialiser]
        x = jnp.asarray(images, self.dtype)
        block_type = DiscriminatorBlock
        if self.remat:
            block_type = nn.remat(DiscriminatorBlock, static_argnums=(2,))
        for index, (multiple, halve) in enumerate(_DISCRIMINATOR[self.image_size]):
            features = multiple * self.width
            block = block_type(features, halve, index == 0, self.dtype, draw, name=f'block_{index}')
            x = block(x, train)
            if halve and x.shape[1] == _ATTENTION[self.image_size]:
                x = attention.SelfAttention(self.dtype, draw)(x, train=train)
        x = jnp.asarray(nn.relu(x), jnp.float32).sum((1, 2))
        logits = spectral.Dense(1, kernel_init=draw)(x, train=train)[:, 0]
        if self.num_classes:
            embed = spectral.Embed(self.num_classes, x.shape[-1], embedding_init=draw)
            embedding = embed(labels, train=train)
            logits = logits + (x * embedding).sum(-1)
        return logits


def macs(options: NetworkOptions, convention: str) -> int:
    """Counts the multiply-accumulates of the generator for one image.

    Args:
      options: complete.
      convention: 'paper' counts shortcuts and 3x3 convolutions after the grid is doubled, as
        DGL-GAN's Table 3 does; 'true' counts shortcuts before it and, of the first convolution of a
        block, the four different taps a pixel (see `layers.resampled`), as computed here.

    Raises:
      ValueError: for an unknown convention.
    """
    if convention not in ('paper', 'true'):
        raise ValueError(f"convention={convention!r}: expected 'paper' or 'true'")
    width = options.multiplied_width()
    features = [multiple * width for multiple in _GENERATOR[options.image_size]]
    first = part = options.latent_dim // len(features)
    if not options.hierarchical_z:
        first, part = options.latent_dim, 0
    condition = part + (EMBEDDING_DIM if options.num_classes else 0)
    total, grid = first * features[0] * 16, 4
    for before, after in itertools.pairwise(features):
        shortcut, taps = (1, 4) if convention == 'true' else (4, 9)
        shortcut *= grid * grid
        grid *= 2
        total += grid * grid * after * (taps * before + 9 * after) + shortcut * before * after
        total += 2 * (before + after) * condition
        if grid == _ATTENTION[options.image_size]:
            pixels = grid * grid
            # Four 1x1 convolutions, then scores and sums over a quarter of the pixels.
            total += pixels * after * (2 * (after // 8) + 2 * (after // 2))
            total += pixels * (pixels // 4) * (after // 8 + after // 2)
    return total + grid * grid * 9 * features[-1] * options.channels


def _build(options: NetworkOptions) -> Pair:
    shared = {**options.shared(), 'remat': options.remat, 'initialiser': options.init}
    width = options.multiplied_width()
    return Pair(
        Generator(
            latent_dim=options.latent_dim,
            width=width,
            hierarchical=options.hierarchical_z,
            **shared,
        ),
        # DGL-GAN compresses the generator alone.
        Discriminator(width=options.width, **shared),
    )


def _blocks(options: NetworkOptions) -> Blocks:
    """Residual blocks, with attention where it follows; first and last layers are blocks too."""
    grid, attended = 4, _ATTENTION[options.image_size]
    generator: list[tuple[str, ...]] = [('Dense_0',)]
    for index in range(len(_GENERATOR[options.image_size]) - 1):
        grid *= 2
        generator.append((f'block_{index}', *(('SelfAttention_0',) if grid == attended else ())))
    discriminator, grid = [], options.image_size
    for index, (_, halve) in enumerate(_DISCRIMINATOR[options.image_size]):
        grid //= 2 if halve else 1
        follows = halve and grid == attended
        discriminator.append((f'block_{index}', *(('SelfAttention_0',) if follows else ())))
    return Blocks((*generator, ('BatchNorm_0', 'Conv_0')), (*discriminator, ('Dense_0',)))


SPEC = NetworkSpec(
    name='biggan',
    build=_build,
    image_sizes=IMAGE_SIZES,
    width=96,
    norms=('spectral',),
    latent_dim=latent_dim,
    options={'hierarchical_z': True, 'init': 'orthogonal', 'remat': False},
    samplewise=True,
    has_blocks=True,
    blocks=_blocks,
    macs=macs,
)
