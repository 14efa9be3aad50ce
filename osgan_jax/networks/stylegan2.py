"""StyleGAN2, configuration F (Karras et al. 2020, https://arxiv.org/abs/1912.04958).

The generator sums up images of all grids ("skip"), the discriminator is residual. With labels,
their embedding joins z and the discriminator's logit is a projection, as in Karras et al. 2020b
(https://arxiv.org/abs/2006.06676).

DGL-GAN's channel multiplier scales the outputs of convolutions; the mapping network, z, w and the
4x4 constant keep their sizes.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.core import image_sizes
from osgan_jax.core.image_sizes import ImageSize
from osgan_jax.layers import style
from osgan_jax.networks import bases, style_blocks
from osgan_jax.networks.registry import Blocks, NetworkOptions, NetworkSpec, Pair

Array = jax.Array

IMAGE_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
LATENT_DIM = 512
BASE_CHANNELS = 16384
MAX_CHANNELS = 512
MAPPING_LAYERS = 8

_AVERAGE_DECAY = 0.995
# What of z tells a sample from others: its first numbers, without these bits of their fractions.
_TOLD_BY = 3
_ROUNDED_BITS = 16


def features(
    grid: int, multiplier: float = 1.0, base: int = BASE_CHANNELS, most: int = MAX_CHANNELS
) -> int:
    """Channels of the convolutions at a grid: `2 * base / grid`, at most `most`, then multiplied.

    Raises:
      ValueError: if that leaves no channel.
    """
    # A multiplier such as 1/3 is rounded: the product may fall just below a whole number.
    count = math.floor(min(most, 2 * base // grid) * multiplier + 1e-6)
    if count < 1:
        raise ValueError(
            f'stylegan2 has no channel left at {grid} pixels with width={most} and '
            f'channel_multiplier={multiplier:g}: choose a larger one'
        )
    return count


def num_styles(image_size: ImageSize) -> int:
    """L, the number of style vectors of an image: 2 log2 of its shorter side, less 2."""
    return 2 * int(math.log2(image_sizes.short(image_size))) - 2


def _grids(image_size: ImageSize) -> tuple[int, ...]:
    """Shorter sides of the grids from 4x4 to the image's."""
    SPEC.check_size(image_size)
    return tuple(2**k for k in range(2, int(math.log2(image_sizes.short(image_size))) + 1))


def macs(options: NetworkOptions, convention: str) -> int:
    """Counts the multiply-accumulates of the generator for one image, without the filters'.

    Args:
      options: complete.
      convention: 'true' counts what is computed here: convolutions that double the grid at the
        smaller one, and all dense layers. 'paper' gives the numbers of DGL-GAN's Tables 2 and 3:
        those convolutions at the larger grid, a bias as one operation an output, the mapping
        network, and the constant as a convolution of 64 positions. The paper does not say how it
        counts; these rules were found from the tables and meet their eight numbers to 0.01 G.

    Raises:
      ValueError: on an unknown convention or image size.
    """
    if convention not in ('paper', 'true'):
        raise ValueError(f"convention={convention!r}: expected 'paper' or 'true'")
    true = convention == 'true'
    multiplier, *rule = _channel_rule(options).values()
    channels, w_dim = options.channels, options.latent_dim
    before = features(4, 1.0, *rule)
    total = options.mapping_layers * w_dim * w_dim
    if not true:
        total += 64 * before * before
    for grid in _grids(options.image_size):
        after = features(grid, multiplier, *rule)
        pixels = math.prod(image_sizes.grid(options.image_size, grid))
        convs = [(before, pixels), (after, pixels)]
        if grid == 4:
            convs = convs[:1]
        elif true:
            convs[0] = (before, pixels // 4)
        total += sum(9 * positions * inputs_ * after for inputs_, positions in convs)
        total += pixels * after * channels
        if true:
            total += w_dim * (sum(inputs_ for inputs_, _ in convs) + after)
        else:
            total += pixels * (len(convs) * after + channels)
        before = after
    return total


class Generator(bases.Generator):
    """Maps z to images, which nothing bounds: they are about in [-1, 1].

    The mapping network runs in float32, and devices share the average of w.

    Attributes:
      latent_dim: Size of z.
      w_dim: Size of w.
      channel_multiplier: Share of the convolutions' output channels, in (0, 1].
      base_channels: Channels times half the grid, below the cap.
      max_channels: The cap of the channels, the 4x4 constant's among them.
      mapping_layers: Layers of the mapping network.
      style_mixing: Share of samples that take the styles of two z in training.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    latent_dim: int = LATENT_DIM
    w_dim: int = LATENT_DIM
    channel_multiplier: float = 1.0
    base_channels: int = BASE_CHANNELS
    max_channels: int = MAX_CHANNELS
    mapping_layers: int = MAPPING_LAYERS
    style_mixing: float = 0.9
    remat: bool = False

    def setup(self):
        """Makes the two networks and the average of w."""
        grids = _grids(self.image_size)
        rule = (self.base_channels, self.max_channels)
        self.mapping_network = style_blocks.Mapping(
            self.w_dim, self.mapping_layers, self.num_classes
        )
        self.synthesis_network = style_blocks.Synthesis(
            grids,
            tuple(features(grid, self.channel_multiplier, *rule) for grid in grids),
            features(4, 1.0, *rule),
            self.channels,
            self.dtype,
            self.remat,
            image_sizes.grid(self.image_size),
        )
        self.average = self.variable('batch_stats', 'w_average', jnp.zeros, (self.w_dim,))

    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """Generates images, see `bases.Generator`.

        With a random stream `style` (`rngs={'style': key}`) noise is drawn from it, and in training
        styles are mixed; without one the result is a function of z and labels alone. Training also
        updates the average of w, in `batch_stats`.
        """
        return self.synthesis(*self.draw_styles(z, labels, train=train))

    @property
    def num_styles(self) -> int:
        """L, the number of style vectors of an image."""
        return num_styles(self.image_size)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the noise maps: of squares, grids 4, 8, 8, 16, 16 and so on."""
        return tuple(
            image_sizes.grid(self.image_size, shorter)
            for shorter in _grids(self.image_size)
            for _ in range(1 if shorter == 4 else 2)
        )

    def shared_noise(self) -> tuple[Array, ...]:
        """The noise maps `[H, W]` of all images that are drawn without a key."""
        keys = jax.random.split(jax.random.key(0), len(self.noise_shapes))
        return tuple(
            jax.random.normal(key, shape)
            for key, shape in zip(keys, self.noise_shapes, strict=True)
        )

    def draw_styles(
        self, z: Array, labels: Array | None = None, *, train: bool
    ) -> tuple[Array, Array | None]:
        """Draws the style vectors and noise keys of `__call__`, whose arguments it takes.

        A sample's randomness depends on the random stream and its own z alone: neither its place in
        the batch nor the number of devices changes it, nor how a program rounds z.

        Returns:
          Style vectors `[N, L, w_dim]`, and keys of the noise `[N]`, None without a random stream.
        """
        w = self.mapping(z, labels)
        if train and not self.is_initializing():
            mean = jax.lax.stop_gradient(jnp.mean(w, axis=0))
            if self.axis_name is not None:
                mean = jax.lax.pmean(mean, self.axis_name)
            self.average.value = mean + _AVERAGE_DECAY * (self.average.value - mean)
        ws = self.styles(w)
        if not self.has_rng('style'):
            return ws, None
        keys = jax.vmap(_key_of_latent, (None, 0))(self.make_rng('style'), z)
        noise_keys, mixing_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        if train and self.style_mixing > 0:
            own_keys, other_keys = jnp.moveaxis(jax.vmap(jax.random.split)(mixing_keys), 1, 0)
            other = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(other_keys)
            ws = self.mix(ws, self.mapping(other, labels), own_keys)
        return ws, noise_keys

    def mapping(self, z: Array, labels: Array | None = None) -> Array:
        """Maps z `[N, latent_dim]` to w `[N, w_dim]`, float32."""
        self.check_inputs(z, labels)
        return self.mapping_network(z, labels)

    def styles(self, w: Array, truncation: float = 1.0, cutoff: int | None = None) -> Array:
        """Repeats w for every layer, and moves those of the first layers towards the average.

        Args:
          w: `[N, w_dim]`.
          truncation: Share of the distance to the average that is kept; 1 changes nothing.
          cutoff: Number of layers that are moved; None for all.

        Returns:
          `[N, L, w_dim]`.
        """
        count = self.num_styles
        near = self.average.value + truncation * (w - self.average.value)
        moved = jnp.arange(count) < (count if cutoff is None else cutoff)
        return jnp.where(moved[None, :, None], near[:, None], w[:, None])

    def mix(self, ws: Array, other: Array, key: Array) -> Array:
        """Style mixing: a second w from a random layer on, at the probability `style_mixing`.

        Args:
          ws: `[N, L, w_dim]`.
          other: `[N, w_dim]`.
          key: Chooses the samples, and the layer uniformly among all but the first; one key, or one
            per sample, `[N]`.

        Returns:
          `[N, L, w_dim]`.
        """
        n, count = ws.shape[:2]

        def choose(key):
            key_layer, key_choice = jax.random.split(key)
            first = jax.random.randint(key_layer, (1,), 1, count)
            return first, jax.random.bernoulli(key_choice, self.style_mixing, (1,))

        first, mixed = jax.vmap(choose)(_key_per_sample(key, n))
        second = mixed & (jnp.arange(count) >= first)
        return jnp.where(second[:, :, None], other[:, None], ws)

    def synthesis(
        self,
        ws: Array,
        noise_key: Array | None = None,
        noise: Sequence[Array] | None = None,
    ) -> Array:
        """Maps style vectors to images.

        Args:
          ws: One vector a layer, `[N, L, w_dim]`.
          noise_key: Draws the noise of each sample: one key, or one per sample, `[N]`; None gives
            all samples and calls the same noise.
          noise: The noise itself, for each layer but the last, the image's: `[H, W]` of
            `noise_shapes`, or one a sample, `[N, H, W]`.

        Returns:
          `[N, H, W, channels]`, float32.
        """
        grids = self.noise_shapes
        if noise is not None:
            maps = [jnp.reshape(n, (-1, *grid, 1)) for n, grid in zip(noise, grids, strict=True)]
        else:
            # Behind the barrier, or the compiler would draw the fixed noise itself, slowly.
            keys = jax.lax.optimization_barrier(jax.random.key(0))[None]
            if noise_key is not None:
                keys = _key_per_sample(noise_key, ws.shape[0])
            layer_keys = jnp.moveaxis(
                jax.vmap(lambda key: jax.random.split(key, len(grids)))(keys), 1, 0
            )
            maps = [
                jax.vmap(lambda key, grid=grid: jax.random.normal(key, (*grid, 1)))(own)
                for own, grid in zip(layer_keys, grids, strict=True)
            ]
        return self.synthesis_network(ws, maps)


def _key_of_latent(key: Array, z: Array) -> Array:
    """A sample's own key, which its z `[latent_dim]` tells from others'.

    The last bits of z are left out: programs round them differently, on one device and on several,
    and a sample would have other noise in each.
    """
    bits = jax.lax.bitcast_convert_type(jnp.asarray(z[:_TOLD_BY], jnp.float32), jnp.uint32)
    for number in bits >> _ROUNDED_BITS:
        key = jax.random.fold_in(key, number)
    return key


def _key_per_sample(key: Array, samples: int) -> Array:
    """Keys `[N]`: N of one key, or the N that were given."""
    return jax.random.split(key, samples) if key.ndim == 0 else key


class Discriminator(bases.Discriminator):
    """Maps images to logits; the layers after the 4x4 grid run in float32.

    Attributes:
      channel_multiplier: Share of the channels, in (0, 1].
      base_channels: Channels times half the grid, below the cap.
      max_channels: The cap of the channels.
      stddev_group: Samples in a group of the minibatch deviation; 0 for no such layer, as one-stage
        training with an asymmetric loss requires.
      stddev_splits: Equal parts of a batch that no group crosses, see
        `style.minibatch_deviation`.
      skips: Whether blocks have residual connections; without them it is the architecture 'orig' of
        Karras et al. 2020b.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    channel_multiplier: float = 1.0
    base_channels: int = BASE_CHANNELS
    max_channels: int = MAX_CHANNELS
    stddev_group: int = 4
    stddev_splits: int = 1
    skips: bool = True
    remat: bool = False

    @nn.compact
    def __call__(self, images: Array, labels: Array | None = None, *, train: bool) -> Array:
        """Computes the logits of images, see `bases.Discriminator`.

        Raises:
          ValueError: also for groups that do not divide N, or an undefined image size.
        """
        del train
        grids = _grids(self.image_size)
        self.check_inputs(images, labels)
        rule = (self.channel_multiplier, self.base_channels, self.max_channels)
        *widths, last = (features(grid, *rule) for grid in reversed(grids))
        x = jnp.asarray(images, self.dtype)
        x = style.activate(style.Conv(widths[0], 1, dtype=self.dtype, name='from_rgb')(x))
        block_type = style_blocks.DiscriminatorBlock
        block_type = nn.remat(block_type) if self.remat else block_type
        after = [*widths[1:], last]
        for grid, *sizes in zip(reversed(grids[1:]), widths, after, strict=True):
            x = block_type(*sizes, self.skips, self.dtype, name=f'block_{grid}')(x)
        x = jnp.asarray(x, jnp.float32)
        if self.stddev_group:
            x = style.minibatch_deviation(x, self.stddev_group, self.stddev_splits)
        x = style.activate(style.Conv(last, name='conv_4')(x)).reshape(x.shape[0], -1)
        x = style.activate(style.Dense(last, name='dense')(x))
        if not self.num_classes:
            return style.Dense(1, name='logit')(x)[:, 0]
        # A projection on the label, embedded by a mapping network.
        projected = style.Dense(last, name='logit')(x)
        target = style_blocks.Mapping(last, num_classes=self.num_classes, name='label')(
            None, labels
        )
        return jnp.sum(projected * target, axis=1) / math.sqrt(last)


def _channel_rule(options: NetworkOptions) -> dict[str, Any]:
    """The numbers of channels; the width caps them, and they keep their published proportions."""
    return {
        'channel_multiplier': float(options.channel_multiplier),
        'base_channels': BASE_CHANNELS // MAX_CHANNELS * options.width,
        'max_channels': options.width,
    }


def _build(options: NetworkOptions) -> Pair:
    shared = {**options.shared(), **_channel_rule(options), 'remat': options.remat}
    return Pair(
        Generator(
            latent_dim=options.latent_dim,
            w_dim=options.latent_dim,
            style_mixing=options.style_mixing,
            mapping_layers=options.mapping_layers,
            **shared,
        ),
        Discriminator(
            stddev_group=options.minibatch_deviation, skips=options.discriminator_skips, **shared
        ),
    )


def _blocks(options: NetworkOptions) -> Blocks:
    """One block a grid, G's mapping network before them and D's last layer after them."""
    grids = _grids(options.image_size)
    synthesis = [
        tuple(f'synthesis_network/{name}' for name in names)
        for names in (
            ('constant', 'conv_4', 'to_rgb_4'),
            *((f'block_{grid}',) for grid in grids[1:]),
        )
    ]
    falling = [(f'block_{grid}',) for grid in reversed(grids[1:])]
    falling[0] = ('from_rgb', *falling[0])
    return Blocks(
        generator=(('mapping_network/dense_*',), *synthesis),
        discriminator=(*falling, ('conv_4', 'dense'), ('logit',)),
    )


SPEC = NetworkSpec(
    name='stylegan2',
    build=_build,
    image_sizes=IMAGE_SIZES,
    oblong=True,
    width=MAX_CHANNELS,
    norms=('none',),
    latent_dim=lambda image_size: LATENT_DIM,
    options={
        'minibatch_deviation': 4,
        'style_mixing': 0.9,
        'mapping_layers': MAPPING_LAYERS,
        'discriminator_skips': True,
        'remat': False,
    },
    samplewise=True,
    has_styles=True,
    has_blocks=True,
    blocks=_blocks,
    macs=macs,
)
