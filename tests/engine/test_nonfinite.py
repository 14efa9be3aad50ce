"""Which tensors are not finite."""

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax.engine import nonfinite


def test_real_and_complex_tensors_are_named():
    tree = {'a': jnp.array([jnp.nan + 1j]), 'b': jnp.array([jnp.inf]), 'c': jnp.ones(2, int)}
    assert nonfinite.describe(tree) == 'a, b'
    assert nonfinite.describe({'a': jnp.array([1j]), 'c': jnp.zeros(2)}) == ''


def test_a_cpu_looks_at_what_a_program_finds_elsewhere(monkeypatch):
    tree = {
        'a': jnp.array([1.0, jnp.nan]),
        'b': jnp.ones((2, 3), jnp.bfloat16).at[1, 2].set(-jnp.inf),
        'c': jnp.array([1j]),
        'd': np.ones(4, np.float32),
        'e': jnp.zeros((0, 2)),
        'key': jax.random.key(0),
    }
    here = nonfinite.finite_leaves(tree)
    assert here.tolist() == [False, False, True, True, True]
    monkeypatch.setattr(nonfinite, '_on_cpu', lambda leaf: False)
    np.testing.assert_array_equal(nonfinite.finite_leaves(tree), here)
    assert nonfinite.finite_leaves({}).tolist() == [True]
