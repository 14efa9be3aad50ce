"""Bilinear resampling of images under an affine map of their pixels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def resample(images: Array, maps: Array) -> Array:
    """Each image at the places that its map gives, mirrored beyond its borders.

    Places are relative to the image's middle, in pixels. A place between pixels has the bilinear
    interpolation of the four around it, without a filter against aliasing; a map of pixels onto
    pixels is exact to the bit.

    Four gathers, and in the backward pass four scatters: 4 ms, and 19, for 64 images of 64x64x3 on
    two CPU cores. Two passes along rows and columns as matrix products of the interpolation's
    weights take 160, and 160 backward.

    Args:
      images: `[n, H, W, C]` of at least 2x2 pixels, of a floating-point dtype of at least 32 bits.
      maps: `[n, 2, 3]` float32; a pixel of the result at (x, y), right and down, is the image's
        at `maps @ (x, y, 1)`.

    Returns:
      An array like `images`.
    """
    n, height, width, channels = images.shape
    x, y = (jnp.arange(size) - (size - 1) / 2 for size in (width, height))
    x, y = x[None, None, :], y[None, :, None]

    def place(row: int, size: int) -> tuple[Array, Array]:
        """First of two neighbouring pixels along one axis, and the second one's share."""
        across, down, shift = (maps[:, row, i, None, None] for i in range(3))
        at = _mirror(across * x + down * y + shift + (size - 1) / 2, size)
        first = jnp.clip(jnp.floor(at), 0, size - 2)
        return first.astype(jnp.int32), (at - first)[..., None].astype(images.dtype)

    left, to_right = place(0, width)
    top, to_bottom = place(1, height)
    corner = jnp.arange(n)[:, None, None] * (height * width) + top * width + left
    pixels = images.reshape(n * height * width, channels)

    def row(first: Array) -> Array:
        of_left, of_right = (
            pixels.at[first + right].get(mode='promise_in_bounds') for right in range(2)
        )
        return (1 - to_right) * of_left + to_right * of_right

    return (1 - to_bottom) * row(corner) + to_bottom * row(corner + width)


def _mirror(at: Array, size: int) -> Array:
    """Places in `[0, size - 1]`; the border's pixels are not repeated."""
    last = size - 1
    return last - jnp.abs(jnp.mod(at, 2 * last) - last)


def compose(first: Array, *maps: Array) -> Array:
    """The product of homogeneous maps `[n, 3, 3]`, in full precision."""
    for each in maps:
        first = jnp.matmul(first, each, precision='highest')
    return first


def matrix(rows: Sequence[Sequence[Array | float]], n: int) -> Array:
    """A matrix for each of n samples, of entries that are numbers or `[n]`."""
    return jnp.stack(
        [jnp.stack([jnp.broadcast_to(jnp.float32(x), (n,)) for x in row], -1) for row in rows], -2
    )
