"""Convolutions with about half of the multiplications: kernels twice their stride, and 3x3.

Winograd's minimal filtering F(2x2, r x r) (Lavin and Gray 2016, "Fast Algorithms for Convolutional
Neural Networks", https://arxiv.org/abs/1509.09308). In blocks of `stride` x `stride` pixels, a
convolution whose kernel is r times its stride has r taps an axis. Two neighbouring outputs of two
taps::

    y0 = d0 g0 + d1 g1          m0 = (d0 - d1) g0      y0 = m0 + m1
    y1 = d1 g0 + d2 g1          m1 = d1 (g0 + g1)      y1 = m1 + m2
                                m2 = (d2 - d1) g1

take three products instead of four, and of three taps four instead of six::

    y0 = d0 g0 + d1 g1 + d2 g2  m0 = (d0 - d2) g0                   y0 = m0 + m1 + m2
    y1 = d1 g0 + d2 g1 + d3 g2  m1 = (d1 + d2) (g0 + g1 + g2) / 2   y1 = m1 - m2 - m3
                                m2 = (d2 - d1) (g0 - g1 + g2) / 2
                                m3 = (d1 - d3) g2

On a plane these are 9 instead of 16, and 16 instead of 36. The products become as many matrix
products over channels, surrounded by additions (and, of three taps, halves of kernels) alone.
Image, kernel and output each have a transform. Of two taps, the adjoints of the convolution use the
transforms' adjoints: the kernel gradient multiplies the transformed image and the transformed
cotangent, which the compiler makes once for all three functions. Of three taps there is *down*
alone, which with the kernel turned around is *up*, too.

Shapes and names are those of `formulations`: *down*, *up* and *correlate* between a larger grid
`[N, H, W, large]` and a smaller one `[N, h, w, small]`, here with h and w even. The only constants
are 1 and 1/2, so that results are about as exact as a sum of products.
"""

import jax.numpy as jnp
from jax import lax

from osgan_jax.layers.cpu import windows


def fits(dtype, kernel_size, stride, grid):
    """Whether a convolution to, or from, a smaller grid `(h, w)` can be computed here.

    It needs at least float32, for differences of images are rounded before they are multiplied.
    """
    exact = jnp.finfo(dtype).bits >= 32
    sizes = [(2 * stride,) * 2, *([(3, 3)] if stride == 1 else [])]
    return exact and tuple(kernel_size) in sizes and all(g % 2 == 0 for g in grid)


def down(x, kernel, stride, padding):
    """`[N, H, W, large]`, `[kh, kw, large, small]` -> `[N, h, w, small]`."""
    n, small, taps = x.shape[0], kernel.shape[3], kernel.shape[0] // stride
    grid = [(x.shape[1 + a] + sum(padding[a])) // stride - taps + 1 for a in (0, 1)]
    products = _products(_image(x, grid, stride, padding, taps), _kernel(kernel, stride), (1, 0))
    products = [p.reshape(n, grid[0] // 2, grid[1] // 2, small) for p in products]
    rows = [_outputs(products[u :: taps + 1]) for u in range(taps + 1)]
    y = jnp.stack([jnp.stack(_outputs(part), 3) for part in zip(*rows, strict=True)], 2)
    return y.reshape(n, *grid, small)


def up(y, kernel, stride, padding, size):
    """`[N, h, w, small]`, `[kh, kw, large, small]` of two taps -> `[N, H, W, large]`."""
    n, h, w, _ = y.shape
    products = _products(_cotangents(y), _kernel(kernel, stride), (1, 1))
    blocks = (n, h // 2, w // 2, stride, stride, kernel.shape[2])
    products = [p.reshape(blocks).transpose(0, 1, 3, 2, 4, 5) for p in products]
    columns = [_overlapping(products[3 * t : 3 * t + 3], 3) for t in range(3)]
    image = _overlapping(columns, 1).reshape(n, (h + 1) * stride, (w + 1) * stride, -1)
    return windows.window(image, [pad[0] for pad in padding], size)


def correlate(x, y, stride, padding):
    """`[N, H, W, large]`, `[N, h, w, small]` -> `[kh, kw, large, small]` of two taps."""
    large, small = x.shape[3], y.shape[3]
    image = _image(x, y.shape[1:3], stride, padding, 2)
    # The order in which the matrix product is up to a quarter faster.
    products = [p.T for p in _products(_cotangents(y), image, (0, 0))]
    products = [p.reshape(stride, stride, large, small) for p in products]
    rows = [_outputs(products[3 * t : 3 * t + 3]) for t in range(3)]
    taps = zip(*(_outputs(row) for row in zip(*rows, strict=True)), strict=True)
    kernel = jnp.stack([jnp.stack(row, 1) for row in taps])
    return kernel.reshape(2 * stride, 2 * stride, large, small)


def _image(x, grid, stride, padding, taps):
    """Matrices `[N h/2 w/2, stride * stride * large]` of differences of blocks."""
    n, large = x.shape[0], x.shape[3]
    blocks = [size + taps - 1 for size in grid]
    x = windows.window(x, [-pad[0] for pad in padding], [stride * count for count in blocks])
    x = x.reshape(n, blocks[0], stride, blocks[1], stride, large).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, *blocks, stride * stride * large)
    return [
        part.reshape(-1, x.shape[3])
        for row in _differences(x, 1, grid[0], taps)
        for part in _differences(row, 2, grid[1], taps)
    ]


def _kernel(kernel, stride):
    """Matrices `[stride * stride * large, small]` of sums of taps."""
    large, small = kernel.shape[2:]
    taps = kernel.shape[0] // stride
    kernel = kernel.reshape(taps, stride, taps, stride, large, small)
    return [
        part.reshape(-1, small)
        for row in _sums(list(kernel))
        for part in _sums([row[:, t] for t in range(taps)])
    ]


def _cotangents(y):
    """Nine matrices `[N h/2 w/2, small]` of sums of neighbours: the adjoint of reading outputs."""
    n, h, w, small = y.shape
    pairs = y.reshape(n, h // 2, 2, w // 2, 2, small)
    return [
        part.reshape(-1, small)
        for row in _sums([pairs[:, :, 0], pairs[:, :, 1]])
        for part in _sums([row[:, :, :, 0], row[:, :, :, 1]])
    ]


def _differences(x, axis, count, taps):
    """Of every block and its neighbours that two of `count` outputs see, what is multiplied."""
    d = [lax.slice_in_dim(x, k, k + count - 1, 2, axis) for k in range(taps + 1)]
    if taps == 2:
        return d[0] - d[1], d[1], d[2] - d[1]
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _sums(taps):
    """The sums of taps that these differences are multiplied with; of two, `_outputs`' adjoint."""
    if len(taps) == 2:
        a, b = taps
        return a, a + b, b
    a, b, c = taps
    return a, (a + b + c) / 2, (a - b + c) / 2, c


def _outputs(products):
    """The two outputs of three products or of four; of three, the adjoint of `_sums`."""
    if len(products) == 3:
        a, b, c = products
        return a + b, b + c
    a, b, c, d = products
    return a + b + c, b - c - d


def _overlapping(three, axis):
    """The adjoint of `_differences` of two taps: neighbouring threes share an entry."""
    a, b, c = three
    none = jnp.zeros_like(lax.slice_in_dim(a, 0, 1, axis=axis))
    shared = jnp.concatenate([a, none], axis) + jnp.concatenate([none, c], axis)
    between = jnp.concatenate([b - a - c, none], axis)
    entries = jnp.stack([shared, between], axis + 1)
    shape = (*shared.shape[:axis], 2 * shared.shape[axis], *shared.shape[axis + 1 :])
    return lax.slice_in_dim(entries.reshape(shape), 0, shape[axis] - 1, axis=axis)


def _products(left, right, axes):
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return [lax.dot_general(a, b, dimensions) for a, b in zip(left, right, strict=True)]
