"""Networks by name: a generator and a discriminator that fit each other.

Generators map `z` `[N, latent_dim]` (and labels `[N]`) to images `[N, H, W, C]` in [-1, 1],
discriminators images (and labels) to logits `[N]`; both float32 whatever the compute dtype. Both
take `train`; with `train=True` the collection `batch_stats` must be mutable.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from osgan_jax.layers import norms
from osgan_jax.networks import biggan, dcgan, resnet_gan

# With their default width.
_MODULES = {'dcgan': (dcgan, 128), 'resnet_gan': (resnet_gan, 64), 'biggan': (biggan, 96)}


class Pair(NamedTuple):
    """A generator and a discriminator."""

    generator: nn.Module
    discriminator: nn.Module


def names() -> tuple[str, ...]:
    """Returns the names that `build` knows."""
    return tuple(_MODULES)


def build(
    name: str,
    *,
    image_size: int,
    channels: int,
    width: int | None = None,
    latent_dim: int = 128,
    num_classes: int = 0,
    discriminator_norm: str = 'group',
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> Pair:
    """Builds a generator and a discriminator.

    Args:
      name: One of `names()`.
      image_size: Height and width of the images, pixels.
      channels: Channels of the images, 1 or 3.
      width: Unit of the numbers of channels; None for the papers' (128 in dcgan, 64 in
        resnet_gan, 96 in biggan).
      latent_dim: Size of `z`.
      num_classes: Number of labels of class-conditional networks, 0 for unconditional ones.
      discriminator_norm: One of `osgan_jax.layers.norms.NAMES`; biggan has 'spectral' alone.
      dtype: Dtype of the computation; parameters, images and logits are float32.
      axis_name: Mapped axis over which BatchNorm shares its statistics; None for each device's own.

    Returns:
      The two modules.

    Raises:
      ValueError: on an unknown name or normalisation, an image size the network is not defined
        for, or numbers below their least value.
    """
    if name not in _MODULES:
        raise ValueError(f'unknown network {name!r}: use one of {", ".join(names())}')
    module, default_width = _MODULES[name]
    if image_size not in module.IMAGE_SIZES:
        sizes = ', '.join(map(str, module.IMAGE_SIZES))
        raise ValueError(f'{name} has no {image_size}-pixel networks: use one of {sizes}')
    norms.check(discriminator_norm)
    if module is biggan and discriminator_norm != 'spectral':
        raise ValueError(
            f'biggan is made with spectral normalisation, got {discriminator_norm!r}: set '
            '--discriminator_norm=spectral'
        )
    width = default_width if width is None else width
    least = {'width': (width, 1), 'channels': (channels, 1), 'latent_dim': (latent_dim, 1)}
    least['num_classes'] = (num_classes, 0)
    for argument, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f'expected {argument} of {minimum} or more, got {value}')
    common = {
        'image_size': image_size,
        'channels': channels,
        'width': width,
        'num_classes': num_classes,
        'dtype': dtype,
        'axis_name': axis_name,
    }
    norm = {} if module is biggan else {'norm': discriminator_norm}
    return Pair(
        module.Generator(latent_dim=latent_dim, **common),
        module.Discriminator(**norm, **common),
    )
