"""Convolutions of an enlarged image, or averaged over 2x2 pixels, as one convolution of stride 2.

Where every pixel is repeated twice (`pooling.enlarge`) before a 3x3 convolution, a pixel of the
result sees four different ones, each times a sum of the kernel's taps, and not nine. Averaging
after one (`pooling.mean_pool`) is the same backwards. Both are 4x4 convolutions with stride 2,
transposed or not, whose kernel sums neighbouring taps: 4/9 of the multiplications, and nothing of
the size of the larger grid is written in between. Results differ by rounding alone.
"""

import jax
import jax.numpy as jnp

from osgan_jax.layers import convolutions, pooling

RESAMPLES = ('enlarge', 'mean_pool')


def conv(
    x: jax.Array,
    kernel: jax.Array,
    resample: str | None = None,
    *,
    implementation: str | None = None,
) -> jax.Array:
    """Convolution that keeps the grid, of an enlarged image or followed by averaging.

    Args:
      x: Images `[N, H, W, I]`.
      kernel: Kernel `[kh, kw, I, O]` with kh and kw odd, in float32 or the dtype of `x`; its taps
        are summed before it is cast.
      resample: 'enlarge' repeats every pixel of `x` twice along both axes first, 'mean_pool'
        averages 2x2 pixels of the result; None does neither.
      implementation: See `convolutions.set_implementation`; None takes the setting.

    Returns:
      `[N, H', W', O]` with H' of 2 H, H / 2 (rounded up) or H.

    Raises:
      ValueError: for another `resample`, and for sides of the kernel that are even where the grid
        changes.
    """
    if resample not in (None, *RESAMPLES):
        raise ValueError(f'unknown resample {resample!r}: use one of {", ".join(RESAMPLES)}')
    options = {'implementation': implementation}
    if resample is None:
        return convolutions.conv(x, jnp.asarray(kernel, x.dtype), **options)
    if not all(side % 2 for side in kernel.shape[:2]):
        raise ValueError(
            f'resample={resample!r}: expected a kernel with odd sides, got {kernel.shape}'
        )
    if resample == 'mean_pool' and any(side % 2 for side in x.shape[1:3]):
        # The last row or column is averaged alone.
        return pooling.mean_pool(convolutions.conv(x, jnp.asarray(kernel, x.dtype), **options))
    pairs = _pairs(_pairs(kernel, 0), 1)
    if resample == 'enlarge':
        pairs = jnp.asarray(jnp.flip(pairs, (0, 1)).swapaxes(2, 3), x.dtype)
        return convolutions.conv_transpose(x, pairs, stride=2, **options)
    return convolutions.conv(x, jnp.asarray(pairs / 4, x.dtype), stride=2, **options)


def _pairs(kernel: jax.Array, axis: int) -> jax.Array:
    """Sums of neighbouring taps, with a zero before the first and after the last."""
    before, after = ([(0, 0)] * kernel.ndim for _ in range(2))
    before[axis], after[axis] = (1, 0), (0, 1)
    return jnp.pad(kernel, before) + jnp.pad(kernel, after)
