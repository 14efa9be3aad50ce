"""What is compiled quickly gives the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.runtime import compiling


def draw(key):
    normal, uniform = (f(key, (1000, 7)) for f in (jax.random.normal, jax.random.uniform))
    return {'normal': normal * 0.02, 'uniform': uniform, 'sum': jnp.sum(normal)}


def test_numbers_are_those_of_jit():
    key = jax.random.key(3)
    quick, usual = compiling.call_once(draw, key), jax.jit(draw)(key)
    for name in ('normal', 'uniform'):
        np.testing.assert_allclose(quick[name], usual[name], rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(quick['sum'], usual['sum'], rtol=1e-5)


def test_others_may_trace_it():
    """jax allows options of the compiler in no inner jit."""
    shapes = jax.eval_shape(lambda: compiling.call_once(draw, jax.random.key(0)))
    assert shapes['normal'].shape == (1000, 7)
    traced = jax.jit(lambda key: compiling.call_once(draw, key))(jax.random.key(3))
    np.testing.assert_array_equal(traced['uniform'], jax.jit(draw)(jax.random.key(3))['uniform'])
