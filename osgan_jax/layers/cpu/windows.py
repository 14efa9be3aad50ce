"""Cutting and padding images."""

from jax import lax


def window(image, start, size):
    """Takes `size` pixels from `start` of `[N, H, W, C]`; pixels outside of it are zero."""
    config = [(-start[a], size[a] + start[a] - image.shape[1 + a], 0) for a in (0, 1)]
    return _pad(image, [(0, 0, 0), *config, (0, 0, 0)])


def pad(x, amounts):
    """Puts zeros before and after each axis, one pair of `amounts` an axis."""
    return _pad(x, [(low, high, 0) for low, high in amounts])


def _pad(x, config):
    # A literal, which jnp.pad's zero is not: where derivatives of a convolution within a loop are
    # taken twice, jax 0.10 mistakes a constant array for one of its arguments.
    return lax.pad(x, x.dtype.type(0), config)
