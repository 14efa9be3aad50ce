"""Preprocessing of a classifier's images on the device: shifts, mirroring, standardisation."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.core.collectives import ONE_DEVICE, Collectives

Array = jax.Array


def standardise(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Images `[N, H, W, C]` in [-1, 1] as (x - mean) / std, x being the images in [0, 1]."""
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return (images * 0.5 + (0.5 - mean)) / std


def unstandardise(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """The inverse of `standardise`, clipped to [-1, 1]."""
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return jnp.clip(2 * (images * std + mean) - 1, -1, 1)


def shift_and_flip(
    key: Array,
    images: Array,
    *,
    reach: int,
    flip: bool,
    edge: bool = False,
    collectives: Collectives = ONE_DEVICE,
) -> Array:
    """Shifts each image by up to `reach` pixels along both axes, and mirrors half of them.

    Args:
      key: random key, the same on all devices.
      images: this device's `[n, H, W, C]` in [-1, 1].
      reach: largest shift in pixels; 0 leaves images in place.
      flip: whether half of the images are mirrored.
      edge: whether the border repeats the nearest pixel; otherwise it is black.
      collectives: collectives of the devices; their number does not change an image's shift.

    Returns:
      An array like `images`.
    """
    rows = images.shape[0] * collectives.size
    key_shift, key_flip = jax.random.split(key)
    if reach:
        margin = ((0, 0), (reach, reach), (reach, reach), (0, 0))
        black = {} if edge else {'constant_values': -1}
        padded = jnp.pad(images, margin, mode='edge' if edge else 'constant', **black)
        corners = jax.random.randint(key_shift, (rows, 2), 0, 2 * reach + 1)

        def crop(image, corner):
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

        images = jax.vmap(crop)(padded, collectives.own_part(corners))
    if flip:
        mirrored = collectives.own_part(jax.random.bernoulli(key_flip, shape=(rows, 1, 1, 1)))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images
