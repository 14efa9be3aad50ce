"""Grids doubled and halved, without weights."""

import jax
import jax.numpy as jnp

Array = jax.Array


def enlarge(x: Array) -> Array:
    """Repeats every pixel twice along both axes: `[N, H, W, C]` to `[N, 2H, 2W, C]`."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return x.reshape(n, 2 * h, 2 * w, c)


def mean_pool(x: Array) -> Array:
    """Averages 2x2 pixels: `[N, H, W, C]` to `[N, H / 2, W / 2, C]`, rounded up.

    The last row or column of an odd side is averaged alone.
    """
    odd = [(0, side % 2) for side in x.shape[1:3]]
    if any(more for _, more in odd):
        x = jnp.pad(x, ((0, 0), *odd, (0, 0)), 'edge')
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def max_pool(x: Array) -> Array:
    """Takes the greatest of 2x2 pixels: `[N, H, W, C]`, H and W even, to `[N, H / 2, W / 2, C]`.

    Among equal pixels the first, row by row, receives the whole gradient. Slices are compared
    because the gradient of a general window is a scatter, which is slow on CPU.
    """
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    top = _greater(x[:, :, 0, :, 0], x[:, :, 0, :, 1])
    return _greater(top, _greater(x[:, :, 1, :, 0], x[:, :, 1, :, 1]))


def _greater(a: Array, b: Array) -> Array:
    # NaN stays NaN: a run must notice it.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
