"""Convolutions with fewer multiplications: exact in integers, as accurate as others in floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import plain
from osgan_jax.layers.cpu import formulations, winograd

# height, width, kernel, stride, padding
CASES = [
    (8, 8, 4, 2, ((1, 1), (1, 1))),  # DCGAN's
    (4, 12, 4, 2, ((1, 1), (1, 1))),
    (6, 10, 4, 2, ((0, 0), (0, 0))),
    (7, 7, 4, 2, ((2, 1), (0, 3))),
    (5, 7, 2, 1, ((0, 0), (0, 0))),
    (12, 18, 6, 3, ((1, 2), (2, 1))),
    (8, 6, 3, 1, ((1, 1), (1, 1))),
    (8, 10, 3, 1, ((2, 2), (0, 0))),
    (9, 5, 4, 2, ((1, 1), (1, 1))),  # a last row and column that no window reaches
]


def _arrays(case, draw):
    height, width, size, stride, padding = case
    x, kernel = draw((3, height, width, 5)), draw((size, size, 5, 7))
    grid = [
        (n + sum(pad) - size) // stride + 1 for n, pad in zip((height, width), padding, strict=True)
    ]
    assert winograd.fits(x.dtype, kernel.shape[:2], stride, grid)
    return x, kernel, draw((3, *grid, 7))


@pytest.mark.parametrize('case', CASES, ids=str)
def test_integers_come_out_exactly(case):
    """All constants are 1 and 1/2, so no rounding may hide a wrong term."""
    rng = np.random.default_rng(0)
    x, kernel, y = _arrays(case, lambda shape: jnp.float32(rng.integers(-9, 10, shape)))
    stride, padding = case[3:]

    @jax.jit
    def both(x, kernel, y):
        size, window, taps = x.shape[1:3], kernel.shape[:2], kernel.shape[0] // stride
        # Of three taps, the adjoint in the image is a convolution with the kernel turned around.
        pads = [[2 - pad for pad in pads] for pads in padding]
        turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        found = [winograd.down(x, kernel, stride, padding)]
        if taps == 2:
            found.append(winograd.up(y, kernel, stride, padding, size))
            found.append(winograd.correlate(x, y, stride, padding))
        else:
            found.append(winograd.down(y, turned, 1, pads))
        expected = (
            plain.down(x, kernel, stride, padding),
            plain.up(y, kernel, stride, padding, size),
            plain.correlate(x, y, stride, padding, window),
        )
        return found, expected[: len(found)]

    for found, expected in zip(*both(x, kernel, y), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_floats_are_as_accurate_as_sums_of_products():
    """Against float64: the errors of a layer of DCGAN-64 stay those of float32."""
    rng = np.random.default_rng(0)
    x, kernel, y = (
        rng.normal(size=shape) for shape in ((4, 16, 16, 64), (4, 4, 64, 128), (4, 8, 8, 128))
    )
    padding = ((1, 1), (1, 1))
    small = [jnp.float32(v) for v in (x, kernel, y)]
    with jax.enable_x64(True):
        exact = [
            np.asarray(v)
            for v in (
                plain.down(jnp.asarray(x), jnp.asarray(kernel), 2, padding),
                plain.up(jnp.asarray(y), jnp.asarray(kernel), 2, padding, (16, 16)),
                plain.correlate(jnp.asarray(x), jnp.asarray(y), 2, padding, (4, 4)),
            )
        ]
    found = (
        winograd.down(small[0], small[1], 2, padding),
        winograd.up(small[2], small[1], 2, padding, (16, 16)),
        winograd.correlate(small[0], small[2], 2, padding),
    )
    for a, b in zip(found, exact, strict=True):
        assert np.linalg.norm(a - b) < 1e-6 * np.linalg.norm(b)


def test_what_does_not_fit():
    assert not winograd.fits(jnp.bfloat16, (4, 4), 2, (8, 8))
    assert not winograd.fits(jnp.float32, (3, 3), 2, (8, 8))
    assert not winograd.fits(jnp.float32, (4, 3), 2, (8, 8))
    assert not winograd.fits(jnp.float32, (6, 6), 2, (8, 8))
    assert not winograd.fits(jnp.float32, (3, 3), 1, (8, 7))
    assert not winograd.fits(jnp.float32, (4, 4), 1, (8, 8))
    assert not winograd.fits(jnp.float32, (4, 4), 2, (8, 7))


# Products where x's channels are many, few, and many in too few images to be worth compiling.
@pytest.mark.parametrize(
    ('images', 'channels', 'expected'),
    [(64, (64, 96), (9, 9, 9)), (64, (32, 64), (0, 9, 0)), (2, (64, 96), (0, 0, 0))],
)
def test_where_it_is_chosen(images, channels, expected):
    large, small = channels
    x, kernel, y = (
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((images, 16, 16, large), (4, 4, large, small), (images, 8, 8, small))
    )
    padding = ((1, 1), (1, 1))
    found = (
        jax.make_jaxpr(lambda x, k: formulations.cpu_down(x, k, 2, padding))(x, kernel),
        jax.make_jaxpr(lambda y, k: formulations.cpu_up(y, k, 2, padding, (16, 16)))(y, kernel),
        jax.make_jaxpr(lambda x, y: formulations.cpu_correlate(x, y, 2, padding, (4, 4)))(x, y),
    )
    for jaxpr, products in zip(found, expected, strict=True):
        _check_products(jaxpr, products)


# With stride 1, a 3x3 kernel: many channels, few on one side, few images, and a small grid.
@pytest.mark.parametrize(
    ('images', 'size', 'channels', 'products'),
    [
        (32, 16, (64, 64), 16),
        (256, 16, (64, 16), 0),
        (8, 16, (64, 64), 0),
        (512, 4, (128, 128), 0),
    ],
)
def test_where_it_is_chosen_with_stride_1(images, size, channels, products):
    large, small = channels
    x, kernel, y = (
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in (
            (images, size, size, large),
            (3, 3, large, small),
            (images, size, size, small),
        )
    )
    padding = ((1, 1), (1, 1))
    down = jax.make_jaxpr(lambda x, k: formulations.cpu_down(x, k, 1, padding))(x, kernel)
    _check_products(down, products)
    correlate = lambda x, y: formulations.cpu_correlate(x, y, 1, padding, (3, 3))  # noqa: E731
    _check_products(jax.make_jaxpr(correlate)(x, y), 0)
    if size > 4:  # where another product takes its place
        up = lambda y, k: formulations.cpu_up(y, k, 1, padding, (size, size))  # noqa: E731
        _check_products(jax.make_jaxpr(up)(y, kernel), products)


def _check_products(jaxpr, products):
    assert str(jaxpr).count('dot_general[') == products
    assert ('conv_general_dilated[' in str(jaxpr)) == (not products)
