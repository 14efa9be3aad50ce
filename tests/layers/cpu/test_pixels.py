"""Kernels of one pixel: products of matrices, exact in integers, in all orders of derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import convolutions
from osgan_jax.layers.cpu import pixels


@pytest.mark.parametrize('function', [convolutions.conv, convolutions.conv_transpose])
def test_all_orders_of_derivatives_are_plain_and_products_alone(function):
    rng = np.random.default_rng(0)
    large, small = (3, 5) if function is convolutions.conv else (5, 3)
    x = jnp.asarray(rng.integers(-9, 10, (2, 4, 7, 3)), jnp.float32)
    kernel = jnp.asarray(rng.integers(-9, 10, (1, 1, large, small)), jnp.float32)

    def everything(implementation):
        def loss(x, kernel):
            return (function(x, kernel, implementation=implementation) ** 2).sum()

        def penalty(x, kernel):
            gx, gk = jax.grad(loss, (0, 1))(x, kernel)
            return gx.sum() + gk.sum()

        return lambda x, k: (loss(x, k), jax.grad(loss, (0, 1))(x, k), jax.grad(penalty)(x, k))

    found = jax.jit(everything('adjoint'))(x, kernel)
    jax.tree.map(np.testing.assert_array_equal, found, jax.jit(everything('plain'))(x, kernel))
    assert 'conv_general_dilated[' not in str(jax.make_jaxpr(everything('adjoint'))(x, kernel))


def test_what_does_not_fit():
    none = ((0, 0), (0, 0))
    assert pixels.fits((1, 1), 1, none)
    assert not pixels.fits((1, 1), 2, none)
    assert not pixels.fits((1, 1), 1, ((0, 1), (0, 0)))
    assert not pixels.fits((1, 3), 1, none)
