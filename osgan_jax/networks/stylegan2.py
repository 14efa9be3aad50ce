"""StyleGAN2, configuration F (Karras et al. 2020, https://arxiv.org/abs/1912.04958).

The generator sums up images of all grids ("skip"), the discriminator is residual. With labels,
their embedding joins z and the discriminator judges by a projection, as Karras et al. 2020b do
(https://arxiv.org/abs/2006.06676).

The channel multiplier of DGL-GAN scales what convolutions put out; the mapping network, z, w and
the 4x4 constant stay as they are.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from osgan_jax.layers import resampling, style
from osgan_jax.networks import inputs

Array = jax.Array

IMAGE_SIZES = tuple(2**k for k in range(3, 11))
_AVERAGE_DECAY = 0.995
_MIXING = 0.9


def features(grid: int, *, multiplier: float = 1.0, base: int = 16384, most: int = 512) -> int:
    """Channels at a grid of a size: 512 up to 64 pixels, then half at each doubling."""
    return max(1, round(min(most, 2 * base // grid) * multiplier))


def num_styles(image_size: int) -> int:
    """How many style vectors the generator takes for an image."""
    return 2 * int(math.log2(image_size)) - 2


def macs(
    image_size: int, channel_multiplier: float = 1.0, *, channels: int = 3, w_dim: int = 512
) -> int:
    """Multiplications with an addition that the generator makes for an image, filters aside.

    Convolutions that double the grid are counted where they are computed, at the smaller one;
    counted at the larger one, as some tables have it, they cost four times as much.

    Args:
      image_size: One of `IMAGE_SIZES`.
      channel_multiplier: Of what convolutions put out.
      channels: Of the images.
      w_dim: Size of w.
    """
    before, after, grid = features(4), features(4, multiplier=channel_multiplier), 4
    total = 8 * w_dim * w_dim + 16 * after * (9 * before + channels) + w_dim * (before + after)
    while grid < image_size:
        before, pixels, grid = after, grid * grid, 2 * grid
        after = features(grid, multiplier=channel_multiplier)
        total += 9 * pixels * before * after + 4 * pixels * after * (9 * after + channels)
        total += w_dim * (before + 2 * after)
    return total


class Mapping(nn.Module):
    """From z to w: dense layers that learn a hundredth as fast.

    Attributes:
      w_dim: Size of w, and of the hidden layers.
      layers: How many.
      num_classes: Number of labels, 0 for none.
    """

    w_dim: int = 512
    layers: int = 8
    num_classes: int = 0

    @nn.compact
    def __call__(self, z: Array, labels: Array | None) -> Array:
        """Maps `[N, Z]`, labels `[N]` to `[N, w_dim]`, float32."""
        x = style.pixel_norm(jnp.asarray(z, jnp.float32))
        if self.num_classes:
            one_hot = jax.nn.one_hot(labels, self.num_classes)
            embedding = style.Dense(self.w_dim, name='embedding')(one_hot)
            x = jnp.concatenate([x, style.pixel_norm(embedding)], axis=1)
        for _ in range(self.layers):
            x = style.activate(style.Dense(self.w_dim, multiplier=0.01)(x))
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
    def __call__(self, x: Array, w: Array, key: Array) -> Array:
        """Maps `[N, H, W, I]`, style vectors `[N, w_dim]` and a noise key to `[N, H', W', O]`."""
        x = style.ModulatedConv(self.features, double=self.double, dtype=self.dtype)(x, w)
        strength = self.param('noise_strength', nn.initializers.zeros, ())
        noise = strength * jax.random.normal(key, (*x.shape[:3], 1))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        return style.activate(x + jnp.asarray(noise, self.dtype) + jnp.asarray(bias, self.dtype))


class ToImage(nn.Module):
    """Modulated 1x1 convolution to an image, not demodulated.

    Attributes:
      channels: Channels of the image.
      dtype: Dtype of the computation.
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """Maps `[N, H, W, I]`, style vectors `[N, w_dim]` to `[N, H, W, channels]`, float32."""
        conv = style.ModulatedConv(self.channels, size=1, demodulate=False, dtype=self.dtype)
        bias = self.param('bias', nn.initializers.zeros, (self.channels,))
        return jnp.asarray(conv(x, w), jnp.float32) + bias


class SynthesisBlock(nn.Module):
    """Doubles the grid: two styled convolutions, and their image added to the one so far.

    Attributes:
      features: Channels of the output.
      channels: Channels of the image.
      dtype: Dtype of the computation.
    """

    features: int
    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, image: Array, ws: Array, keys: Array) -> tuple[Array, Array]:
        """Maps features, image, three style vectors `[N, 3, w_dim]` and two keys to new ones."""
        x = StyledConv(self.features, double=True, dtype=self.dtype)(x, ws[:, 0], keys[0])
        x = StyledConv(self.features, dtype=self.dtype)(x, ws[:, 1], keys[1])
        added = ToImage(self.channels, self.dtype)(x, ws[:, 2])
        return x, resampling.double(image) + added


class Synthesis(nn.Module):
    """From style vectors to an image.

    Attributes:
      image_size: Height and width of the images.
      channels: Channels of the images.
      widths: Channels at each grid, from 4x4 on.
      constant: Channels of the learned 4x4 constant.
      dtype: Dtype of the computation.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    image_size: int
    channels: int
    widths: tuple[int, ...]
    constant: int = 512
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, ws: Array, key: Array) -> Array:
        """Maps `[N, L, w_dim]` and a noise key to `[N, H, W, channels]`, float32."""
        keys = jax.random.split(key, 2 * len(self.widths))
        start = self.param('constant', nn.initializers.normal(1.0), (4, 4, self.constant))
        x = jnp.broadcast_to(jnp.asarray(start, self.dtype), (ws.shape[0], *start.shape))
        x = StyledConv(self.widths[0], dtype=self.dtype, name='first')(x, ws[:, 0], keys[0])
        image = ToImage(self.channels, self.dtype, name='first_image')(x, ws[:, 1])
        block_type = nn.remat(SynthesisBlock) if self.remat else SynthesisBlock
        for index, width in enumerate(self.widths[1:]):
            block = block_type(width, self.channels, self.dtype, name=f'block_{index}')
            # A grid's image and the next grid's first convolution share a style.
            styles = ws[:, 2 * index + 1 : 2 * index + 4]
            x, image = block(x, image, styles, keys[2 * index + 2 : 2 * index + 4])
        return image


class Generator(nn.Module):
    """Maps z to images.

    Attributes:
      image_size: Height and width of the images, one of `IMAGE_SIZES`.
      channels: Channels of the images.
      latent_dim: Size of z.
      w_dim: Size of w.
      channel_multiplier: Of what convolutions put out.
      base_channels: Channels times half the grid, above the cap.
      max_channels: The cap, and the channels of the 4x4 constant.
      mapping_layers: Of the mapping network.
      num_classes: Number of labels, 0 if unconditional.
      dtype: Dtype of the computation.
      axis_name: Mapped axis over which the average of w is shared.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    image_size: int = 256
    channels: int = 3
    latent_dim: int = 512
    w_dim: int = 512
    channel_multiplier: float = 1.0
    base_channels: int = 16384
    max_channels: int = 512
    mapping_layers: int = 8
    num_classes: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    def setup(self):
        """Makes the two networks."""
        grids = [2**k for k in range(2, int(math.log2(self.image_size)) + 1)]
        widths = tuple(
            features(
                grid,
                multiplier=self.channel_multiplier,
                base=self.base_channels,
                most=self.max_channels,
            )
            for grid in grids
        )
        self.map = Mapping(self.w_dim, self.mapping_layers, self.num_classes)
        self.draw = Synthesis(
            self.image_size, self.channels, widths, self.max_channels, self.dtype, self.remat
        )
        self.average = self.variable(
            'batch_stats', 'w_average', lambda: jnp.zeros((self.w_dim,), jnp.float32)
        )

    def __call__(self, z: Array, labels: Array | None = None, *, train: bool) -> Array:
        """Generates images.

        Args:
          z: Latents `[N, latent_dim]`.
          labels: `[N]` integers below `num_classes`; unused if unconditional.
          train: Whether the average of w is updated (`batch_stats` must be mutable then) and, where
            there is a random stream `style`, styles are mixed and noise is drawn from it.

        Returns:
          `[N, image_size, image_size, channels]`, float32, about in [-1, 1]; nothing bounds it.

        Raises:
          ValueError: on z of another size, or labels missing.
        """
        w = self.mapping(z, labels)
        if train and not self.is_initializing():
            mean = jnp.mean(w, axis=0)
            if self.axis_name is not None:
                mean = jax.lax.pmean(mean, self.axis_name)
            mean = jax.lax.stop_gradient(mean)
            self.average.value = mean + _AVERAGE_DECAY * (self.average.value - mean)
        ws, key = self.styles(w), None
        if train and self.has_rng('style'):
            key, mixing = jax.random.split(self.make_rng('style'))
            ws = self._mix(ws, z.shape, labels, mixing)
        return self.synthesis(ws, key)

    def mapping(self, z: Array, labels: Array | None = None) -> Array:
        """From z `[N, latent_dim]` to w `[N, w_dim]`."""
        inputs.check_latents(z, self.latent_dim)
        if self.num_classes:
            inputs.check_labels(labels, z.shape[0])
        return self.map(z, labels)

    def styles(self, w: Array, truncation: float = 1.0, cutoff: int | None = None) -> Array:
        """A style vector for every layer, near to the average.

        Args:
          w: `[N, w_dim]`.
          truncation: Share of the distance to the average that is kept; 1 changes nothing.
          cutoff: Layers that are moved, from the first; None for all.

        Returns:
          `[N, L, w_dim]`.
        """
        count = num_styles(self.image_size)
        near = self.average.value + truncation * (w - self.average.value)
        moved = jnp.arange(count) < (count if cutoff is None else cutoff)
        return jnp.where(moved[None, :, None], near[:, None], w[:, None])

    def synthesis(self, ws: Array, noise_key: Array | None = None) -> Array:
        """From style vectors `[N, L, w_dim]` to images.

        Args:
          ws: One vector a layer.
          noise_key: Of the noise; None is the same for every call.

        Returns:
          As of calling the generator.
        """
        return self.draw(ws, jax.random.key(0) if noise_key is None else noise_key)

    def _mix(self, ws: Array, shape: tuple[int, ...], labels: Array | None, key: Array) -> Array:
        """Styles of a second z from a random layer on, for nine samples of ten."""
        key_z, key_layer, key_choice = jax.random.split(key, 3)
        other = self.mapping(jax.random.normal(key_z, shape), labels)
        count = ws.shape[1]
        first = jax.random.randint(key_layer, (shape[0], 1), 1, count)
        mixed = jax.random.bernoulli(key_choice, _MIXING, (shape[0], 1))
        second = mixed & (jnp.arange(count)[None] >= first)
        return jnp.where(second[:, :, None], other[:, None], ws)


class DiscriminatorBlock(nn.Module):
    """Halves the grid: two convolutions beside a linear shortcut.

    Attributes:
      before: Channels between the two convolutions.
      after: Channels of the output.
      dtype: Dtype of the computation.
    """

    before: int
    after: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[N, H, W, C]` to `[N, H / 2, W / 2, after]`."""
        shortcut = style.Conv(
            self.after, 1, halve=True, use_bias=False, dtype=self.dtype, name='shortcut'
        )(x)
        x = style.activate(style.Conv(self.before, dtype=self.dtype)(x))
        x = style.activate(style.Conv(self.after, halve=True, dtype=self.dtype)(x))
        # Keeps the variance of a sum of two.
        return (x + shortcut) / math.sqrt(2)


class Discriminator(nn.Module):
    """Maps images to logits.

    Attributes:
      image_size: Height and width of the images, one of `IMAGE_SIZES`.
      channels: Channels of the images.
      channel_multiplier: Of the numbers of channels.
      base_channels: Channels times half the grid, above the cap.
      max_channels: The cap.
      num_classes: Number of labels, 0 if unconditional.
      stddev_group: Samples that see each other in the minibatch deviation; 0 for no such layer,
        which one-stage training with an asymmetric loss needs.
      dtype: Dtype of the computation; the last layers run in float32.
      axis_name: Unused; for networks that share statistics.
      remat: Whether blocks are computed again in the backward pass rather than kept.
    """

    image_size: int = 256
    channels: int = 3
    channel_multiplier: float = 1.0
    base_channels: int = 16384
    max_channels: int = 512
    num_classes: int = 0
    stddev_group: int = 4
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, images: Array, labels: Array | None = None, *, train: bool) -> Array:
        """Judges images.

        Args:
          images: `[N, image_size, image_size, channels]`.
          labels: `[N]` integers below `num_classes`; unused if unconditional.
          train: Changes nothing here.

        Returns:
          Logits `[N]`, float32.

        Raises:
          ValueError: on images of another shape, labels missing, or groups that do not divide N.
        """
        del train
        inputs.check_images(images, self.image_size, self.channels)
        if self.num_classes:
            inputs.check_labels(labels, images.shape[0])

        def width(grid: int) -> int:
            return features(
                grid,
                multiplier=self.channel_multiplier,
                base=self.base_channels,
                most=self.max_channels,
            )

        x = jnp.asarray(images, self.dtype)
        x = style.activate(style.Conv(width(self.image_size), 1, dtype=self.dtype)(x))
        block_type = nn.remat(DiscriminatorBlock) if self.remat else DiscriminatorBlock
        grid = self.image_size
        while grid > 4:
            x = block_type(width(grid), width(grid // 2), self.dtype, name=f'block_{grid}')(x)
            grid //= 2
        if self.stddev_group:
            x = style.minibatch_deviation(x, self.stddev_group)
        x = style.activate(style.Conv(width(4), dtype=self.dtype)(x))
        x = jnp.asarray(x, jnp.float32).reshape(x.shape[0], -1)
        x = style.activate(style.Dense(width(4))(x))
        if not self.num_classes:
            return style.Dense(1)(x)[:, 0]
        # A projection on what a mapping network makes of the label.
        verdicts = style.Dense(x.shape[1])(x)
        target = Mapping(x.shape[1], 8, 0, name='label')(
            jax.nn.one_hot(labels, self.num_classes), None
        )
        return jnp.sum(verdicts * target, axis=1) / math.sqrt(x.shape[1])
