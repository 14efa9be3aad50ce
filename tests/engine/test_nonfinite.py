"""Which tensors are not finite."""

import jax.numpy as jnp

from osgan_jax.engine import nonfinite


def test_real_and_complex_tensors_are_named():
    tree = {'a': jnp.array([jnp.nan + 1j]), 'b': jnp.array([jnp.inf]), 'c': jnp.ones(2, int)}
    assert nonfinite.describe(tree) == 'a, b'
    assert nonfinite.describe({'a': jnp.array([1j]), 'c': jnp.zeros(2)}) == ''
