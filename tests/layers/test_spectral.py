"""Spectral normalisation against the singular value decomposition, attention against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import attention, spectral
from tests.support import modules

LAYERS = {
    'conv': (spectral.Conv(5, (3, 3)), np.ones((2, 4, 4, 3), np.float32), 'kernel'),
    'dense': (spectral.Dense(5), np.ones((2, 7), np.float32), 'kernel'),
    'embed': (spectral.Embed(6, 5), np.arange(6), 'embedding'),
}


def start(name):
    layer, x, weights = LAYERS[name]
    variables = modules.init(layer, jax.random.key(0), x, train=False)
    rng = np.random.default_rng(0)
    # Orthogonal weights have one singular value: nothing to find.
    kernel = rng.normal(size=variables['params'][weights].shape).astype(np.float32)
    return layer, x, weights, {**variables, 'params': {**variables['params'], weights: kernel}}


@pytest.mark.parametrize('name', LAYERS)
def test_weights_are_divided_by_their_largest_singular_value(name):
    layer, x, weights, variables = start(name)
    for _ in range(60):
        out, mutated = modules.apply(layer, variables, x, train=True, mutable='batch_stats')
        variables = {**variables, **mutated}
    kernel = variables['params'][weights]
    sigma = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    exact = {**variables['params'], weights: kernel / sigma}
    if name == 'embed':
        expected = exact['embedding'][x]
    elif name == 'dense':
        expected = x @ exact['kernel']
    else:
        expected = jax.lax.conv_general_dilated(
            x, exact['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_the_vector_moves_in_training_alone():
    layer, x, _, variables = start('dense')
    before = variables['batch_stats']['u']
    np.testing.assert_allclose(np.linalg.norm(before), 1, rtol=1e-5)
    _, kept = modules.apply(layer, variables, x, train=False, mutable='batch_stats')
    np.testing.assert_array_equal(kept['batch_stats']['u'], before)
    _, moved = modules.apply(layer, variables, x, train=True, mutable='batch_stats')
    assert np.abs(moved['batch_stats']['u'] - before).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(moved['batch_stats']['u']), 1, rtol=1e-5)


def test_parameters_are_kept_as_they_were_drawn():
    layer, x, _ = LAYERS['dense']
    variables = modules.init(layer, jax.random.key(3), x, train=True)
    again = modules.init(layer, jax.random.key(3), x, train=False)
    np.testing.assert_array_equal(variables['params']['kernel'], again['params']['kernel'])
    kernel = variables['params']['kernel']
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(5), atol=1e-5)


def test_gradient_holds_the_vectors_fixed():
    layer, x, _, variables = start('dense')
    u = np.asarray(variables['batch_stats']['u'], np.float64)
    kernel = np.asarray(variables['params']['kernel'], np.float64)
    v = kernel @ u
    v /= np.linalg.norm(v)
    u = kernel.T @ v
    u /= np.linalg.norm(u)
    weights = np.random.default_rng(1).normal(size=(2, 5))

    def loss(params):
        out = modules.apply(layer, {**variables, 'params': params}, x, train=False)
        return (out * weights).sum()

    # d(W / sigma) with sigma = v W u (Miyato et al. 2018, Eq. 12).
    outer = x.astype(np.float64).T @ weights
    sigma = v @ kernel @ u
    expected = outer / sigma - (outer * kernel).sum() / sigma**2 * np.outer(v, u)
    found = jax.grad(loss)(variables['params'])['kernel']
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_of_zeros_stay_finite():
    layer, x, _, variables = start('dense')
    zeros = jax.tree.map(jnp.zeros_like, variables['params'])
    out, mutated = modules.apply(
        layer, {**variables, 'params': zeros}, x, train=True, mutable='batch_stats'
    )
    assert not np.any(out)
    assert np.isfinite(mutated['batch_stats']['u']).all()


def test_attention_by_loops():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 16)).astype(np.float32)
    layer = attention.SelfAttention()
    variables = modules.init(layer, jax.random.key(0), x, train=False)
    # It starts as the identity.
    np.testing.assert_array_equal(modules.apply(layer, variables, x, train=False), x)
    variables = {**variables, 'params': {**variables['params'], 'gain': jnp.float32(0.7)}}

    def weights(name):
        kernel = np.asarray(variables['params'][name]['kernel'], np.float64)[0, 0]
        u = np.asarray(variables['batch_stats'][name]['u'], np.float64)
        v = kernel @ u / np.linalg.norm(kernel @ u)
        return kernel / np.linalg.norm(kernel.T @ v)

    def pooled(y):
        return np.array(
            [
                y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
                for i in range(2)
                for j in range(2)
            ]
        )

    expected = np.zeros(x.shape)
    for n, image in enumerate(x.astype(np.float64)):
        keys, values = pooled(image @ weights('key')), pooled(image @ weights('value'))
        for i in range(4):
            for j in range(4):
                scores = keys @ (image[i, j] @ weights('query'))
                share = np.exp(scores - scores.max())
                seen = (share / share.sum()) @ values
                expected[n, i, j] = image[i, j] + 0.7 * seen @ weights('out')
    found = modules.apply(layer, variables, x, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
