"""Formulations that only TPUs need."""

import jax
import jax.numpy as jnp

from osgan_jax.layers.cpu import formulations

Padding = tuple[tuple[int, int], tuple[int, int]]

_LANES = 128
"""Channels that a TPU's matrix unit takes at a time."""


def grouped_down(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int
) -> jax.Array:
    """A grouped convolution with as many groups in one as the matrix unit takes anyway.

    Each group of fewer channels would be padded to `_LANES` by itself. Kernels of neighbouring
    groups become blocks of a larger one, with zeros between them. Compiled for a v5e in bfloat16
    (64 images of 32x32, 768 channels in groups of 16) forward and backward passes are expected to
    take a third of the cycles.

    Args:
      x: `[N, H, W, groups * I]`.
      kernel: `[kh, kw, I, groups * O]`.
      stride: the same for both axes.
      padding: before and after each axis.
      groups: their number.
    """
    height, width, channels, features = kernel.shape
    merged = 1
    while groups % (2 * merged) == 0 and 2 * merged * channels <= _LANES:
        merged *= 2
    # Depthwise convolutions need no matrix unit.
    if merged > 1 and channels > 1:
        groups //= merged
        blocks = kernel.reshape(height, width, channels, groups, merged, -1)
        own = jnp.eye(merged, dtype=kernel.dtype)
        blocks = jnp.einsum('hwigmo,nm->hwnigmo', blocks, own)
        kernel = blocks.reshape(height, width, merged * channels, features)
    return formulations.plain_down(x, kernel, stride, padding, groups)
