"""Formulations that only TPUs need."""

import jax
import jax.numpy as jnp

from osgan_jax.layers import plain

Padding = tuple[tuple[int, int], tuple[int, int]]

_LANES = 128
"""Channels that a TPU's matrix unit takes at a time."""


def grouped_down(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int
) -> jax.Array:
    """A grouped convolution that merges groups until they fill the matrix unit.

    Each group of fewer channels would be padded to `_LANES` by itself. Kernels of neighbouring
    groups become blocks of a larger one, with zeros between them. Compiled for a v5e in bfloat16
    (64 images of 32x32, 768 channels in groups of 16), forward and backward passes take a third of
    the cycles by the compiler's estimate.

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
        blocks = kernel.reshape(height, width, 1, channels, groups, merged, -1)
        # A product that no precision of matrix products rounds.
        blocks = blocks * jnp.eye(merged, dtype=kernel.dtype)[:, None, None, :, None]
        kernel = blocks.reshape(height, width, merged * channels, features)
    return plain.down(x, kernel, stride, padding, groups)
