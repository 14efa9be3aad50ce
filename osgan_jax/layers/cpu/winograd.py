"""Convolutions whose kernel is twice their stride, with 9/16 of the multiplications.

Winograd's minimal filtering F(2x2, 2x2) (Lavin and Gray 2016, "Fast Algorithms for Convolutional
Neural Networks", https://arxiv.org/abs/1509.09308). In blocks of `stride` x `stride` pixels such a
convolution has two taps an axis. Two neighbouring outputs of two taps::

    y0 = d0 g0 + d1 g1          m0 = (d0 - d1) g0      y0 = m0 + m1
    y1 = d1 g0 + d2 g1          m1 = d1 (g0 + g1)      y1 = m1 + m2
                                m2 = (d2 - d1) g1

take three products instead of four, and on a plane nine instead of sixteen. The products become
nine matrix products over channels, surrounded by additions alone. Image, kernel and output
each have a transform, and the adjoints of the convolution use the transforms' adjoints: the kernel
gradient multiplies the transformed image and the transformed cotangent, which the compiler makes
once for all three functions.

Shapes and names are those of `formulations`: *down*, *up* and *correlate* between a larger grid
`[N, H, W, large]` and a smaller one `[N, h, w, small]`, here with h and w even. The only constant
is 1, so that results are about as exact as a sum of products.
"""

import jax.numpy as jnp
from jax import lax

from osgan_jax.layers.cpu import windows


def fits(dtype, kernel_size, stride, grid):
    """Whether a convolution to, or from, a smaller grid `(h, w)` can be computed here.

    It needs at least float32, for differences of images are rounded before they are multiplied.
    """
    exact = jnp.finfo(dtype).bits >= 32
    return exact and all(k == 2 * stride for k in kernel_size) and all(g % 2 == 0 for g in grid)


def down(x, kernel, stride, padding):
    """`[N, H, W, large]`, `[kh, kw, large, small]` -> `[N, h, w, small]`."""
    n, small = x.shape[0], kernel.shape[3]
    grid = [(x.shape[1 + a] + sum(padding[a])) // stride - 1 for a in (0, 1)]
    products = _products(_image(x, grid, stride, padding), _kernel(kernel, stride), (1, 0))
    products = [p.reshape(n, grid[0] // 2, grid[1] // 2, small) for p in products]
    rows = [_halves(products[u::3]) for u in range(3)]
    y = jnp.stack([jnp.stack(_halves(half), 3) for half in zip(*rows, strict=True)], 2)
    return y.reshape(n, *grid, small)


def up(y, kernel, stride, padding, size):
    """`[N, h, w, small]`, `[kh, kw, large, small]` -> `[N, H, W, large]`."""
    n, h, w, _ = y.shape
    products = _products(_output(y), _kernel(kernel, stride), (1, 1))
    blocks = (n, h // 2, w // 2, stride, stride, kernel.shape[2])
    products = [p.reshape(blocks).transpose(0, 1, 3, 2, 4, 5) for p in products]
    columns = [_overlapping(products[3 * t : 3 * t + 3], 3) for t in range(3)]
    image = _overlapping(columns, 1).reshape(n, (h + 1) * stride, (w + 1) * stride, -1)
    return windows.window(image, [pad[0] for pad in padding], size)


def correlate(x, y, stride, padding):
    """`[N, H, W, large]`, `[N, h, w, small]` -> `[kh, kw, large, small]`."""
    large, small = x.shape[3], y.shape[3]
    image = _image(x, y.shape[1:3], stride, padding)
    # The order in which the matrix product is up to a quarter faster.
    products = [p.T for p in _products(_output(y), image, (0, 0))]
    products = [p.reshape(stride, stride, large, small) for p in products]
    rows = [_halves(products[3 * t : 3 * t + 3]) for t in range(3)]
    taps = zip(*(_halves(row) for row in zip(*rows, strict=True)), strict=True)
    kernel = jnp.stack([jnp.stack(row, 1) for row in taps])
    return kernel.reshape(2 * stride, 2 * stride, large, small)


def _image(x, grid, stride, padding):
    """Nine matrices `[N h/2 w/2, stride * stride * large]` of differences of blocks."""
    n, large = x.shape[0], x.shape[3]
    h, w = grid
    size = [(h + 1) * stride, (w + 1) * stride]
    x = windows.window(x, [-pad[0] for pad in padding], size)
    x = x.reshape(n, h + 1, stride, w + 1, stride, large).transpose(0, 1, 3, 2, 4, 5)
    blocks = x.reshape(n, h + 1, w + 1, stride * stride * large)
    return [
        part.reshape(-1, blocks.shape[3])
        for row in _differences(blocks, 1, h)
        for part in _differences(row, 2, w)
    ]


def _kernel(kernel, stride):
    """Nine matrices `[stride * stride * large, small]` of sums of taps."""
    large, small = kernel.shape[2:]
    taps = kernel.reshape(2, stride, 2, stride, large, small)
    return [
        part.reshape(-1, small)
        for row in _sums(taps[0], taps[1])
        for part in _sums(row[:, 0], row[:, 1])
    ]


def _output(y):
    """Nine matrices `[N h/2 w/2, small]` of sums of neighbours: the adjoint of reading outputs."""
    n, h, w, small = y.shape
    pairs = y.reshape(n, h // 2, 2, w // 2, 2, small)
    return [
        part.reshape(-1, small)
        for row in _sums(pairs[:, :, 0], pairs[:, :, 1])
        for part in _sums(row[:, :, :, 0], row[:, :, :, 1])
    ]


def _differences(x, axis, count):
    """d0 - d1, d1 and d2 - d1 of every three entries that two of `count` outputs see."""
    d0, d1, d2 = (lax.slice_in_dim(x, k, k + count - 1, 2, axis) for k in range(3))
    return d0 - d1, d1, d2 - d1


def _sums(a, b):
    return a, a + b, b


def _halves(three):
    """The two outputs of three products, or the two taps of three products' sums."""
    a, b, c = three
    return a + b, b + c


def _overlapping(three, axis):
    """The adjoint of `_differences`: neighbouring threes share an entry."""
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
