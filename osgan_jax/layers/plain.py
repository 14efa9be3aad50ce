"""Strided convolutions and their two adjoints as XLA offers them, on any platform.

Three bilinear functions, for a larger grid x `[N, H, W, large]`, a smaller one y `[N, h, w, small]`
and a kernel `[kh, kw, large, small]`: *down* (x, kernel to y), *up* (y, kernel to x), *correlate*
(x, y to kernel).
"""

import jax.numpy as jnp
from jax import lax

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def down(x, kernel, stride, padding, groups=1):
    """The convolution as XLA offers it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


def up(y, kernel, stride, padding, size):
    """The transposed convolution as XLA offers it: a convolution of a dilated image."""
    pads = []
    for axis in (0, 1):
        taps = kernel.shape[axis]
        low = taps - 1 - padding[axis][0]
        dilated = stride * (y.shape[1 + axis] - 1) + 1
        pads.append((low, size[axis] + taps - 1 - low - dilated))
    return lax.conv_general_dilated(
        y,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=(stride, stride),
        dimension_numbers=('NHWC', 'HWOI', 'NHWC'),
    )


def correlate(x, y, stride, padding, kernel_size):
    """The kernel gradient as XLA offers it: a convolution over the batch with a dilated window."""
    return lax.conv_general_dilated(
        x,
        y,
        (1, 1),
        correlate_padding(x, y, stride, padding, kernel_size),
        rhs_dilation=(stride, stride),
        dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
    )


def correlate_padding(x, y, stride, padding, kernel_size):
    """The padding of x in *correlate*: as many windows fit then as the kernel has taps."""
    pads = []
    for axis in (0, 1):
        low = padding[axis][0]
        reach = stride * (y.shape[1 + axis] - 1) + kernel_size[axis]
        pads.append((low, reach - x.shape[1 + axis] - low))
    return pads
