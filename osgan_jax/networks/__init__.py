"""Networks by name: a generator and a discriminator that fit each other.

Generators map `z` `[N, latent_dim]` (and labels `[N]`) to images `[N, H, W, C]` in [-1, 1],
discriminators images (and labels) to logits `[N]`; both float32 whatever the compute dtype. Both
take `train`; with `train=True` the collection `batch_stats` must be mutable.
"""

import fractions
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from osgan_jax.layers import norms
from osgan_jax.networks import biggan, dcgan, resnet_gan, stylegan2

# With their default width.
_MODULES = {
    'dcgan': (dcgan, 128),
    'resnet_gan': (resnet_gan, 64),
    'biggan': (biggan, 96),
    'stylegan2': (stylegan2, stylegan2.MAX_CHANNELS),
}
# Where the discriminator's normalisation is part of the network.
NORMS = {'biggan': 'spectral', 'stylegan2': 'none'}
_LATENT_DIM = 100


class Pair(NamedTuple):
    """A generator and a discriminator."""

    generator: nn.Module
    discriminator: nn.Module


def names() -> tuple[str, ...]:
    """Returns the names that `build` knows."""
    return tuple(_MODULES)


def latent_dim(name: str, image_size: int) -> int:
    """The size of z that a network is published with; 100 for those that take any."""
    if name == 'stylegan2':
        return stylegan2.LATENT_DIM
    if name == 'biggan':
        return biggan.latent_dim(image_size)
    return _LATENT_DIM


def build(
    name: str,
    *,
    image_size: int,
    channels: int,
    width: int | None = None,
    channel_multiplier: fractions.Fraction | float = 1,
    latent_dim: int = 128,
    num_classes: int = 0,
    discriminator_norm: str = 'group',
    minibatch_deviation: int | None = None,
    style_mixing: float | None = None,
    remat: bool = False,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> Pair:
    """Builds a generator and a discriminator.

    Args:
      name: One of `names()`.
      image_size: Height and width of the images, pixels.
      channels: Channels of the images, 1 or 3.
      width: Unit of the numbers of channels; None for the papers' (128 in dcgan, 64 in
        resnet_gan, 96 in biggan). In stylegan2 the most channels of a layer, 512, to which the
        numbers of all others are in proportion.
      channel_multiplier: Share of the channels that is left, above 0 and up to 1: of both networks,
        in biggan of the generator alone, as DGL-GAN has it.
      latent_dim: Size of `z`.
      num_classes: Number of labels of class-conditional networks, 0 for unconditional ones.
      discriminator_norm: One of `osgan_jax.layers.norms.NAMES`; biggan has 'spectral' alone,
        stylegan2 'none'.
      minibatch_deviation: Samples of a group in stylegan2's discriminator, 0 for none; None for the
        authors' 4.
      style_mixing: Share of samples that take the styles of two z, in stylegan2; None for the
        authors' 0.9.
      remat: Whether blocks are computed again in the backward pass, in biggan and stylegan2.
      dtype: Dtype of the computation; parameters, images and logits are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics; None for each device's own.

    Returns:
      The two modules.

    Raises:
      ValueError: on an unknown name or normalisation, an image size the network is not defined
        for, numbers below their least value, or a part that the network has not.
    """
    if name not in _MODULES:
        raise ValueError(f'unknown network {name!r}: use one of {", ".join(names())}')
    module, default_width = _MODULES[name]
    if image_size not in module.IMAGE_SIZES:
        sizes = ', '.join(map(str, module.IMAGE_SIZES))
        raise ValueError(f'{name} has no {image_size}-pixel networks: use one of {sizes}')
    norms.check(discriminator_norm)
    if name in NORMS and discriminator_norm != NORMS[name]:
        raise ValueError(
            f'{name} is made with {NORMS[name]!r} for normalisation, got {discriminator_norm!r}: '
            f'set --discriminator_norm={NORMS[name]}'
        )
    _check_parts(name, minibatch_deviation, style_mixing, remat)
    if not 0 < channel_multiplier <= 1:
        raise ValueError(f'channel_multiplier={channel_multiplier}: expected above 0 and up to 1')
    width = default_width if width is None else width
    least = {'width': (width, 1), 'channels': (channels, 1), 'latent_dim': (latent_dim, 1)}
    least['num_classes'] = (num_classes, 0)
    for argument, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f'expected {argument} of {minimum} or more, got {value}')
    common = {
        'image_size': image_size,
        'channels': channels,
        'num_classes': num_classes,
        'dtype': dtype,
        'axis_name': axis_name,
    }
    if name == 'stylegan2':
        rule = {
            'channel_multiplier': float(channel_multiplier),
            'base_channels': stylegan2.BASE_CHANNELS // stylegan2.MAX_CHANNELS * width,
            'max_channels': width,
            'remat': remat,
        }
        mixing = 0.9 if style_mixing is None else style_mixing
        group = 4 if minibatch_deviation is None else minibatch_deviation
        return Pair(
            stylegan2.Generator(
                latent_dim=latent_dim,
                w_dim=latent_dim,
                mixing_probability=mixing,
                **rule,
                **common,
            ),
            stylegan2.Discriminator(stddev_group=group, **rule, **common),
        )
    narrow = _narrow(name, width, channel_multiplier)
    if name == 'biggan':
        return Pair(
            biggan.Generator(latent_dim=latent_dim, width=narrow, remat=remat, **common),
            biggan.Discriminator(width=width, remat=remat, **common),
        )
    return Pair(
        module.Generator(latent_dim=latent_dim, width=narrow, **common),
        module.Discriminator(norm=discriminator_norm, width=narrow, **common),
    )


def check_rows(discriminator: nn.Module, rows: int) -> None:
    """Raises a ValueError unless a discriminator can judge so many images at a time.

    Args:
      discriminator: One of `build`'s.
      rows: Images of one kind, real or fake, that a device judges together.
    """
    group = min(getattr(discriminator, 'stddev_group', 0), rows)
    if group and rows % group:
        raise ValueError(
            f'groups of {group} (minibatch_deviation) do not divide the {rows} images that a '
            'device judges at a time: choose another --batch_size'
        )


def _check_parts(
    name: str, minibatch_deviation: int | None, style_mixing: float | None, remat: bool
) -> None:
    asked = {
        'minibatch_deviation': (minibatch_deviation is not None, ('stylegan2',)),
        'style_mixing': (style_mixing is not None, ('stylegan2',)),
        'remat': (remat, ('biggan', 'stylegan2')),
    }
    for option, (given, having) in asked.items():
        if given and name not in having:
            raise ValueError(f'{name} has no {option}: leave it out, or use {" or ".join(having)}')


def _narrow(name: str, width: int, multiplier: fractions.Fraction | float) -> int:
    narrow = round(width * multiplier)
    if narrow < 1 or abs(narrow - width * multiplier) > 1e-6:
        raise ValueError(
            f'channel_multiplier={multiplier}: {name} of width {width} would have '
            f'{float(width * multiplier):g} channels a unit; choose one that leaves a whole number'
        )
    return narrow
