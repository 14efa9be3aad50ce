"""Noise maps that are optimised with latents: what keeps them noise.

Karras et al. 2020 (https://arxiv.org/abs/1912.04958), appendix D.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

_LEAST_GRID = 8


def correlation(maps: Array) -> Array:
    """How far noise maps `[R, H, W]` are from white noise, summed over R (appendix D).

    At every scale down to 8 pixels on the shorter side the squared means of the products of each
    pixel and its right and lower neighbours, around the edge. Halving, 2 x 2 pixels are averaged
    and doubled, which keeps the variance of white noise.
    """
    total = jnp.zeros(())
    while True:
        for axis in (1, 2):
            total += jnp.sum(jnp.mean(maps * jnp.roll(maps, 1, axis), axis=(1, 2)) ** 2)
        count, height, width = maps.shape
        if min(height, width) <= _LEAST_GRID:
            return total
        maps = maps.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4)) * 2


def standardise(maps: Array) -> Array:
    """Noise maps `[R, H, W]`, each brought to mean 0 and deviation 1."""
    maps = maps - maps.mean((1, 2), keepdims=True)
    return maps * jax.lax.rsqrt(jnp.mean(maps**2, axis=(1, 2), keepdims=True) + 1e-8)
