"""Cutting and padding images."""

import jax.numpy as jnp
from jax import lax


def window(image, start, size):
    """Takes `size` pixels from `start` of `[N, H, W, C]`; pixels outside of it are zero."""
    config = [(-start[a], size[a] + start[a] - image.shape[1 + a], 0) for a in (0, 1)]
    return lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *config, (0, 0, 0)])
