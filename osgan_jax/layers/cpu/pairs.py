"""Convolutions with stride 1 and few channels, two neighbours of a row at a time.

XLA's CPU backend hands a convolution to a fast library only where one side has more than 16
channels, and makes little use of vector registers where there are fewer to put out. Two neighbours
of a row, taken together, are a pixel with twice the channels: the kernel becomes one tap wider and
occurs twice in it, one tap apart. That multiplies `(kw + 1) / kw` as often, for a third to a half
of the time where the image has three channels, and about three quarters where both sides have 16.

Shapes are those of `formulations`, for a stride of 1 and y of even width.
"""

import jax.numpy as jnp
from jax import lax

from osgan_jax.layers.cpu import windows

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def down(x, kernel, padding):
    """`[N, H, W, large]`, `[kh, kw, large, small]` -> `[N, h, w, small]`, w even."""
    pairs = jnp.stack([_shifted(kernel, shift) for shift in (0, 1)], 3)
    pairs = pairs.reshape(*pairs.shape[:3], -1)
    y = lax.conv_general_dilated(x, pairs, (1, 2), padding, dimension_numbers=_NHWC)
    return y.reshape(*y.shape[:2], 2 * y.shape[2], -1)


def blocked_down(x, kernel, padding):
    """`down` with the image in pairs too: they lie beside each other, if its borders are added."""
    n, _, width, large = x.shape
    kh, kw, _, small = kernel.shape
    count = (width + sum(padding[1]) - kw + 1) // 2
    taps = kw // 2 + 1
    pairs = jnp.stack([_shifted(kernel, shift) for shift in (0, 1)], 3)
    pairs = windows.pad(pairs, ((0, 0), (0, 2 * taps - kw - 1), *[(0, 0)] * 3))
    pairs = pairs.reshape(kh, taps, 2 * large, 2 * small)
    height = x.shape[1] + sum(padding[0])
    x = windows.window(x, [-pad[0] for pad in padding], (height, 2 * (count + taps - 1)))
    x = x.reshape(n, height, -1, 2 * large)
    y = lax.conv_general_dilated(x, pairs, (1, 1), 'VALID', dimension_numbers=_NHWC)
    return y.reshape(n, -1, 2 * count, small)


def correlate(x, y, padding, kernel_size):
    """`[N, H, W, large]`, `[N, h, w, small]` -> `[kh, kw, large, small]`, w even."""
    n, h, w, small = y.shape
    pads = []
    for axis in (0, 1):
        low = padding[axis][0]
        reach = y.shape[1 + axis] - 1 + kernel_size[axis]
        pads.append((low, reach - x.shape[1 + axis] - low))
    pairs = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        y.reshape(n, h, w // 2, 2 * small).transpose(1, 2, 0, 3),
        (1, 1),
        pads,
        rhs_dilation=(1, 2),
        dimension_numbers=_NHWC,
    )
    pairs = pairs.transpose(1, 2, 0, 3).reshape(*pairs.shape[1:3], -1, 2, small)
    return pairs[:, :-1, :, 0] + pairs[:, 1:, :, 1]


def _shifted(kernel, shift):
    """The kernel with one more column, after it or, shifted, before it."""
    return windows.pad(kernel, ((0, 0), (shift, 1 - shift), (0, 0), (0, 0)))
