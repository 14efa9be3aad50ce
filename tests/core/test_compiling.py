"""What is compiled quickly gives the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.core import compiling


def draw(key):
    normal, uniform = (f(key, (1000, 7)) for f in (jax.random.normal, jax.random.uniform))
    return {'normal': normal * 0.02, 'uniform': uniform, 'sum': jnp.sum(normal)}


@pytest.mark.parametrize('few', [2**20, 0])
def test_numbers_are_those_of_jit(monkeypatch, few):
    monkeypatch.setattr(compiling, '_FEW', few)
    key = jax.random.key(3)
    quick, usual = compiling.call_once(draw, key), jax.jit(draw)(key)
    for name in ('normal', 'uniform'):
        np.testing.assert_allclose(quick[name], usual[name], rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(quick['sum'], usual['sum'], rtol=1e-5)


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(compiling, '_AT_ONCE', {'xla_no_such_option': True})
    np.testing.assert_array_equal(compiling.call_once(jnp.square, jnp.arange(3)), [0, 1, 4])


def test_a_program_can_be_called_again():
    program = compiling.compile_quickly(lambda x: {'y': x + 1}, np.zeros(2, np.float32))
    for value in (1, 2):
        np.testing.assert_array_equal(program(jnp.full(2, value, jnp.float32))['y'], value + 1)


def test_shapes_are_known_before_anything_is_compiled(monkeypatch):
    once = compiling.Deferred(draw, jax.random.key(3))
    assert once.shapes['normal'] == jax.ShapeDtypeStruct((1000, 7), jnp.float32)
    first, second = once(), once()
    monkeypatch.setattr(compiling, '_compile', None)
    for values in (second, once()):  # compiled once
        np.testing.assert_array_equal(values['normal'], first['normal'])


def test_others_may_trace_it():
    """jax allows options of the compiler in no inner jit."""
    shapes = jax.eval_shape(lambda: compiling.call_once(draw, jax.random.key(0)))
    assert shapes['normal'].shape == (1000, 7)
    traced = jax.jit(lambda key: compiling.call_once(draw, key))(jax.random.key(3))
    np.testing.assert_array_equal(traced['uniform'], jax.jit(draw)(jax.random.key(3))['uniform'])
