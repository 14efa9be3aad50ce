"""Normalisation by name, against numpy."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import modules, norms
from tests.support.modules import apply, init


class _Norm(nn.Module):
    kind: str
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x, *, train):
        return norms.normalise(x, self.kind, train=train, dtype=self.dtype)


def _x(channels=8):
    return 3 + 2 * jax.random.normal(jax.random.key(0), (4, 5, 6, channels))


def _standardise(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ('kind', 'channels'),
    [('group', 8), ('group', 48), ('group', 64), ('group', 5), ('instance', 8), ('layer', 8)],
)
def test_sample_wise_norms(kind, channels):
    x = _x(channels)
    module = _Norm(kind)
    out = jax.jit(lambda x: module.init_with_output(jax.random.key(1), x, train=True)[0])(x)
    groups = {'group': math.gcd(32, channels), 'instance': channels, 'layer': 1}[kind]
    split = np.asarray(x, np.float64).reshape(4, 5, 6, groups, channels // groups)
    expected = _standardise(split, (1, 2, 4)).reshape(x.shape)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_and_its_running_statistics():
    x = _x()
    module = _Norm('batch')
    variables = init(module, jax.random.key(1), x, train=False)
    out, state = apply(module, variables, x, train=True, mutable='batch_stats')
    x64 = np.asarray(x, np.float64)
    np.testing.assert_allclose(out, _standardise(x64, (0, 1, 2)), rtol=1e-4, atol=1e-4)
    (stats,) = state['batch_stats'].values()
    # Momentum 0.9 from mean 0 and variance 1.
    np.testing.assert_allclose(stats['mean'], 0.1 * x64.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * x64.var((0, 1, 2)), rtol=1e-4)
    used = apply(module, {**variables, **state}, x, train=False)
    np.testing.assert_allclose(
        used, (x64 - stats['mean']) / np.sqrt(stats['var'] + 1e-5), rtol=1e-4, atol=1e-4
    )


def test_group_norm_gradients_equal_flax():
    x, direction = _x(16), jax.random.normal(jax.random.key(2), (4, 5, 6, 16))
    params = {'scale': jnp.linspace(0.5, 2, 16), 'bias': jnp.linspace(-1, 1, 16)}

    def gradients(module):
        def loss(params, x):
            return (jnp.sin(module.apply({'params': params}, x)) * direction).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

    chex.assert_trees_all_close(
        gradients(norms.GroupNorm(4)),
        gradients(nn.GroupNorm(num_groups=4, epsilon=1e-5)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_group_norm_of_a_constant_image_is_near_its_bias():
    module = norms.GroupNorm(2)
    x = jnp.full((1, 3, 3, 4), 100.1)
    out = module.apply(module.init(jax.random.key(0), x), x)
    # The difference of E[x^2] and E[x]^2 is rounding alone here, and must not be amplified.
    assert np.abs(out).max() < 0.05


@pytest.mark.parametrize('kind', ['none', 'spectral'])
def test_identities(kind):
    x = _x()
    assert norms.normalise(x, kind, train=True) is x


@pytest.mark.parametrize('kind', ['group', 'instance', 'layer', 'batch'])
def test_bfloat16_keeps_float32_parameters_and_statistics(kind):
    x = _x().astype(jnp.bfloat16)
    module = _Norm(kind, jnp.bfloat16)
    variables = init(module, jax.random.key(1), x, train=False)
    out, _ = apply(module, variables, x, train=True, mutable='batch_stats')
    chex.assert_type(out, jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)


def test_normal_scale():
    scale = norms.normal_scale(0.02)(jax.random.key(0), (10_000,))
    assert abs(float(scale.mean()) - 1) < 1e-3
    assert abs(float(scale.std()) - 0.02) < 1e-3


def test_spectral_norm_reaches_one():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            layer = modules.Conv(12, (4, 4), stride=2, name='conv')
            return norms.wrap_spectral(layer, x, 'spectral', train=train)

    module, x = Layer(), _x(3)
    variables = init(module, jax.random.key(1), x, train=False)
    kernel = 7.0 * variables['params']['conv']['kernel']
    variables = {**variables, 'params': {'conv': {**variables['params']['conv'], 'kernel': kernel}}}
    for _ in range(60):
        out, state = apply(module, variables, x, train=True, mutable='batch_stats')
        variables = {**variables, **state}
    largest = np.linalg.svd(np.asarray(kernel).reshape(-1, 12), compute_uv=False)[0]
    expected = modules.Conv(12, (4, 4), stride=2).apply(
        {'params': {'kernel': kernel / largest, 'bias': jnp.zeros(12)}}, x
    )
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    sigma = next(v for k, v in state['batch_stats']['SpectralNorm_0'].items() if 'sigma' in k)
    np.testing.assert_allclose(sigma, largest, rtol=1e-3)
    # train=False moves nothing, and gives the same again.
    chex.assert_trees_all_close(apply(module, variables, x, train=False), out, rtol=1e-3, atol=1e-5)


def test_unknown_name():
    with pytest.raises(ValueError, match='unknown normalisation'):
        norms.normalise(_x(), 'weight', train=True)
