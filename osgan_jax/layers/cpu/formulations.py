"""Formulations of strided convolutions and their two adjoints, and the fastest of them on CPU.

Three bilinear functions, for a larger grid x `[N, H, W, large]`, a smaller one y `[N, h, w, small]`
and a kernel `[kh, kw, large, small]`: *down* (x, kernel to y), *up* (y, kernel to x), *correlate*
(x, y to kernel). Their derivatives are defined in `convolutions`.

The `cpu_` functions choose by shape, from measurements with XLA's CPU backend (jax 0.10, two cores
with AVX-512; layers of DCGAN-64, 32 to 64 channels wide, batches of 64 and 128, float32):

* XLA's convolution has a slow path where the channels are an image's: patches gathered by hand
  and one matrix product take a third of the time at its worst, and never much more. The kernel
  gradient is a product of these patches, too: about as fast as slices of the batch convolved, and
  the step of DCGAN at 16 pixels compiles in 5.6 s rather than 6.9.
* Going up, a convolution to the channels of all phases of the output does not multiply with the
  zeros of a dilated image. Where the channels are an image's, or the grid is 4x4, whose border
  costs that convolution half as much again, a matrix product followed by adding shifted images
  takes half its time.
* A 1x1 kernel with stride 1 is a matrix product, forward and backward (`pixels`).
* With stride 1, `pairs` computes two neighbours of a row at a time where neither side has more
  than 16 channels, for which XLA's fast library is not called (16 images of 64x64, 16 to 16
  channels: 6.3 ms became 5.0; 3 to 16: 4.5 became 1.5). To an image's channels the matrix product
  that goes up serves (16 to 3: 6.3 became 1.9).
* Where the kernel is twice the stride, as DCGAN's is, `winograd` multiplies 9/16 as often. Down and
  kernel gradient first write differences of the larger grid, 2.25 times its size, which pays from
  64 channels on (kernel gradients, 32 to 64 channels: 10.5 ms became 12.4; 128 to 256: 5.8 became
  4.3); up pays from 32. Each takes the compiler 0.6 s, others 0.1: a small one is not worth that.
  With stride 1, a 3x3 kernel needs 4/9 of the multiplications (16 images of 32x32, 64 to 64
  channels: 12.9 ms became 6.0; of 16x16, 128 to 128: 12.5 became 5.9). Smaller layers gain less
  than a millisecond, 16 channels nothing, and the kernel gradient takes twice as long in a step.
* XLA has a fast convolution for one order of axes alone. It brings others into it by transposing,
  but not inside loops (lax.scan), where they run fifty times slower: so they are transposed here.
* The kernel gradient contracts over the batch, which XLA first transposes to be innermost; on grids
  of 16x16 and more it is 10 to 25% faster summed over slices of the batch. Its matrix products are
  as wide as the smaller grid's channels: where those are few (9.8 ms become 2.7) or half of very
  many (67 become 39), the two grids' roles are exchanged, which stride 1 allows.
* The gradients that XLA derives of a grouped convolution take twenty times as long as those of a
  dense one of all channels (16 channels a group, 128 in all, 32 images of 8x8: 850 ms; of 16x16:
  4,400). One group after the other, in a loop, they take an eighth to a fifth of the dense one's
  time (5 and 28 ms; dense 40 and 160); a product with patches took 10 and 210. Unrolled they are as
  fast, but compile for half a minute.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from osgan_jax.layers import plain
from osgan_jax.layers.cpu import pairs, pixels, windows, winograd

_NHWC = ('NHWC', 'HWIO', 'NHWC')

_FEW_CHANNELS = 4  # an image's: grey, colours, and a plane for the label
_PAIRED_CHANNELS = 16
_WINOGRAD_CHANNELS = 64
_WINOGRAD_UP_CHANNELS = 32
_WINOGRAD_PRODUCTS = 2**26
_WINOGRAD_DENSE_CHANNELS = 32
_WINOGRAD_DENSE_PRODUCTS = 2**28
_MANY_CHANNELS = 128
_SMALL_GRID = 16  # pixels
_DENSE_GRID = 64  # pixels
_LARGE_GRID = 256  # pixels


def one_by_one(convolve, x, kernel, groups):
    """A grouped convolution as a loop over its groups.

    Args:
      convolve: `(x, kernel) -> y` of one group.
      x: `[N, H, W, groups * I]`.
      kernel: `[kh, kw, I, groups * O]`.
      groups: their number.
    """
    parts = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 0)
    kernels = jnp.moveaxis(kernel.reshape(*kernel.shape[:3], groups, -1), 3, 0)
    y = lax.map(lambda pair: convolve(*pair), (parts, kernels))
    return jnp.moveaxis(y, 0, 3).reshape(*y.shape[1:4], -1)


def product_down_whole(x, kernel):
    """*Down* where the kernel covers the whole image: one matrix product."""
    out = x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[3])
    return out[:, None, None, :]


def product_up_whole(y, kernel):
    """*Up* from a grid of one pixel: one matrix product."""
    out = _times_transposed(y[:, 0, 0, :], kernel.reshape(-1, kernel.shape[3]))
    return out.reshape(y.shape[0], *kernel.shape[:3])


def cpu_down(x, kernel, stride, padding):
    """*Down*, on CPU."""
    if pixels.fits(kernel.shape[:2], stride, padding):
        return pixels.down(x, kernel)
    if stride == 1:
        return stride_one_down(x, kernel, padding)
    if x.shape[3] <= _FEW_CHANNELS:
        return product_down(x, kernel, stride, padding)
    grid = [(x.shape[1 + a] + sum(padding[a]) - kernel.shape[a]) // stride + 1 for a in (0, 1)]
    many = x.shape[3] >= _WINOGRAD_CHANNELS
    if many and _fits_winograd(x.dtype, x.shape[0], kernel.shape, stride, grid):
        return winograd.down(x, kernel, stride, padding)
    return plain.down(x, kernel, stride, padding)


def cpu_up(y, kernel, stride, padding, size):
    """*Up*, on CPU."""
    if pixels.fits(kernel.shape[:2], stride, padding):
        return pixels.up(y, kernel)
    if kernel.shape[2] <= _FEW_CHANNELS:
        return product_up(y, kernel, stride, padding, size)
    if stride == 1 and y.shape[1] * y.shape[2] > _SMALL_GRID:
        return stride_one_up(y, kernel, padding)
    many = stride > 1 and kernel.shape[2] >= _WINOGRAD_UP_CHANNELS
    if many and _fits_winograd(y.dtype, y.shape[0], kernel.shape, stride, y.shape[1:3]):
        return winograd.up(y, kernel, stride, padding, size)
    if y.shape[1] * y.shape[2] <= _SMALL_GRID:
        return product_up(y, kernel, stride, padding, size)
    return depth_to_space_up(y, kernel, stride, padding, size)


def cpu_correlate(x, y, stride, padding, kernel_size):
    """*Correlate*, on CPU."""
    if pixels.fits(kernel_size, stride, padding):
        return pixels.correlate(x, y)
    large, small = x.shape[3], y.shape[3]
    if stride > 1 and large <= _FEW_CHANNELS:
        return product_correlate(x, y, stride, padding, kernel_size)
    shape, many = (*kernel_size, large, small), stride > 1 and large >= _WINOGRAD_CHANNELS
    if many and _fits_winograd(x.dtype, x.shape[0], shape, stride, y.shape[1:3]):
        return winograd.correlate(x, y, stride, padding)
    parts = min(8, x.shape[0] // 8)
    if x.shape[1] * x.shape[2] < _LARGE_GRID or parts < 2 or x.shape[0] % parts:
        parts = 1
    correlate = transposed_correlate
    if stride == 1:
        few = small <= _PAIRED_CHANNELS
        if large >= 2 * small and (few or large >= _MANY_CHANNELS):
            correlate = exchanged_correlate
        elif few and y.shape[2] % 2 == 0 and max(large, x.shape[0] // parts) <= _PAIRED_CHANNELS:
            correlate = paired_correlate
    slices = zip(jnp.split(x, parts), jnp.split(y, parts), strict=True)
    return sum(correlate(a, b, stride, padding, kernel_size) for a, b in slices)


def _fits_winograd(dtype, images, kernel_shape, stride, grid):
    """Whether Winograd's formulation is possible, and worth what compiling it takes."""
    products, least = images * math.prod(grid) * math.prod(kernel_shape), _WINOGRAD_PRODUCTS
    if stride == 1:
        if min(kernel_shape[2:]) < _WINOGRAD_DENSE_CHANNELS or math.prod(grid) < _DENSE_GRID:
            return False
        least = _WINOGRAD_DENSE_PRODUCTS
    return products >= least and winograd.fits(dtype, kernel_shape[:2], stride, grid)


def stride_one_down(x, kernel, padding):
    """*Down* with stride 1."""
    grid = [x.shape[1 + a] + sum(padding[a]) - kernel.shape[a] + 1 for a in (0, 1)]
    if kernel.shape[3] <= _FEW_CHANNELS:
        turned, pads = _turned(kernel, padding)
        return product_up(x, turned, 1, pads, grid)
    if _fits_winograd(x.dtype, x.shape[0], kernel.shape, 1, grid):
        return winograd.down(x, kernel, 1, padding)
    if grid[1] % 2 == 0 and max(kernel.shape[2:]) <= _PAIRED_CHANNELS:
        paired = pairs.blocked_down if x.shape[3] <= _FEW_CHANNELS else pairs.down
        return paired(x, kernel, padding)
    return plain.down(x, kernel, 1, padding)


def stride_one_up(y, kernel, padding):
    """*Up* with stride 1: the convolution with the kernel turned around."""
    return stride_one_down(y, *_turned(kernel, padding))


def _turned(kernel, padding):
    """The kernel and padding of the convolution that is the adjoint of one with stride 1."""
    pads = [[kernel.shape[a] - 1 - pad for pad in padding[a]] for a in (0, 1)]
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3), pads


def transposed_correlate(x, y, stride, padding, kernel_size):
    """The kernel gradient as a convolution of transposed arrays, batch and channels swapped."""
    kernel = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        y.transpose(1, 2, 0, 3),
        (1, 1),
        plain.correlate_padding(x, y, stride, padding, kernel_size),
        rhs_dilation=(stride, stride),
        dimension_numbers=_NHWC,
    )
    return kernel.transpose(1, 2, 0, 3)


def paired_correlate(x, y, stride, padding, kernel_size):
    """The kernel gradient of stride 1, two neighbours of a row at a time."""
    del stride  # 1
    return pairs.correlate(x, y, padding, kernel_size)


def exchanged_correlate(x, y, stride, padding, kernel_size):
    """The kernel gradient of stride 1 with the two grids' roles exchanged, and turned around.

    The channels of the larger grid are then those that the convolution puts out.
    """
    del stride  # 1
    pads = []
    for axis in (0, 1):
        taps, rows = kernel_size[axis], x.shape[1 + axis]
        low = taps - 1 - padding[axis][0]
        pads.append((low, taps - 1 + rows - y.shape[1 + axis] - low))
    kernel = lax.conv_general_dilated(
        y.transpose(3, 1, 2, 0),
        x.transpose(1, 2, 0, 3),
        (1, 1),
        pads,
        dimension_numbers=_NHWC,
    )
    return jnp.flip(kernel, (1, 2)).transpose(1, 2, 3, 0)


def product_down(x, kernel, stride, padding):
    """*Down* as one matrix product with the patches."""
    grid = [(x.shape[1 + a] + sum(padding[a]) - kernel.shape[a]) // stride + 1 for a in (0, 1)]
    taps, kernel = _split_taps(kernel, stride)
    large, small = kernel.shape[4:]
    size = [(grid[a] + taps[a] - 1) * stride for a in (0, 1)]
    n = x.shape[0]
    x = windows.window(x, [-pad[0] for pad in padding], size)
    x = x.reshape(n, size[0] // stride, stride, size[1] // stride, stride, large)
    blocks = x.transpose(0, 1, 3, 2, 4, 5).reshape(
        n, size[0] // stride, size[1] // stride, stride * stride * large
    )
    patches = jnp.concatenate(
        [
            blocks[:, t : t + grid[0], u : u + grid[1]]
            for t in range(taps[0])
            for u in range(taps[1])
        ],
        axis=-1,
    )
    matrix = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(-1, small)
    return (patches.reshape(-1, matrix.shape[0]) @ matrix).reshape(n, *grid, small)


def product_correlate(x, y, stride, padding, kernel_size):
    """The kernel gradient as one matrix product with the patches of `product_down`."""
    kernel = jax.ShapeDtypeStruct((*kernel_size, x.shape[3], y.shape[3]), y.dtype)
    (out,) = jax.linear_transpose(lambda k: product_down(x, k, stride, padding), kernel)(y)
    return out


def product_up(y, kernel, stride, padding, size):
    """*Up* as one matrix product, whose blocks are then added where they overlap."""
    n, h, w, small = y.shape
    taps, kernel = _split_taps(kernel, stride)
    large = kernel.shape[4]
    painted = _times_transposed(y.reshape(-1, small), kernel.reshape(-1, small))
    painted = painted.reshape(n, h, w, taps[0], stride, taps[1], stride, large)
    blocks = sum(
        windows.pad(
            painted[:, :, :, t, :, u],
            ((0, 0), (t, taps[0] - 1 - t), (u, taps[1] - 1 - u), (0, 0), (0, 0), (0, 0)),
        )
        for t in range(taps[0])
        for u in range(taps[1])
    )
    image = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(
        n, (h + taps[0] - 1) * stride, (w + taps[1] - 1) * stride, large
    )
    return windows.window(image, [pad[0] for pad in padding], size)


def depth_to_space_up(y, kernel, stride, padding, size):
    """*Up* as a stride-1 convolution to `stride**2` times the channels, which then interleave."""
    taps, kernel = _split_taps(kernel, stride)
    large, small = kernel.shape[4:]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(*taps, small, stride * stride * large)
    # Output block j collects kernel tap t from input pixel j - t.
    blocks = lax.conv_general_dilated(
        y,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        [(tap - 1, tap - 1) for tap in taps],
        dimension_numbers=_NHWC,
    )
    n, rows, columns, _ = blocks.shape
    blocks = blocks.reshape(n, rows, columns, stride, stride, large)
    image = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * stride, columns * stride, large)
    return windows.window(image, [pad[0] for pad in padding], size)


def _split_taps(kernel, stride):
    """Splits each axis of a kernel into (tap, phase), with zeros up to a multiple of the stride."""
    taps = [-(-kernel.shape[a] // stride) for a in (0, 1)]
    fill = [(0, taps[a] * stride - kernel.shape[a]) for a in (0, 1)]
    kernel = windows.pad(kernel, (*fill, (0, 0), (0, 0)))
    return taps, kernel.reshape(taps[0], stride, taps[1], stride, *kernel.shape[2:])


def _times_transposed(a, b):
    """`[M, K]`, `[N, K]` -> `[M, N]`."""
    return lax.dot_general(a, b, (((1,), (1,)), ((), ())))
