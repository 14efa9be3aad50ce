"""Convolutions of enlarged and of averaged images, against doing one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import convolutions, modules, pooling, resampled, spectral
from tests.support import derivatives

# height, width, kernel, channels in and out
CASES = [
    (4, 6, (3, 3), 3, 5),
    (2, 2, (1, 5), 2, 3),
    (5, 4, (3, 3), 3, 2),  # a side that does not halve
    (8, 8, (3, 3), 16, 16),
]


def _after_the_other(x, kernel, resample):
    """With XLA's own convolution."""
    x = pooling.enlarge(x) if resample == 'enlarge' else x
    x = convolutions.conv(x, kernel, implementation='plain')
    return pooling.mean_pool(x) if resample == 'mean_pool' else x


def _arrays(case):
    height, width, size, inputs, outputs = case
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, inputs))
    kernel = rng.normal(size=(*size, inputs, outputs)) / np.sqrt(np.prod(size) * inputs)
    return jnp.float32(x), jnp.float32(kernel)


@pytest.mark.parametrize('resample', resampled.RESAMPLES)
@pytest.mark.parametrize('case', CASES, ids=str)
def test_equals_one_after_the_other_in_value_and_all_gradients(case, resample):
    x, kernel = _arrays(case)
    expected = derivatives.all_orders(lambda x, k: _after_the_other(x, k, resample))(x, kernel)
    implementation = 'plain' if case == CASES[1] else 'adjoint'
    actual = derivatives.all_orders(
        lambda x, k: resampled.conv(x, k, resample, implementation=implementation)
    )(x, kernel)
    for mine, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert mine.shape == other.shape
        assert derivatives.relative(mine, other) < 1e-5


@pytest.mark.parametrize('resample', resampled.RESAMPLES)
def test_great_numbers_and_other_dtypes(resample):
    """Nothing overflows that did not before, and bfloat16 sums taps before they are rounded."""
    x, kernel = _arrays(CASES[0])
    great = resampled.conv(1e30 * x, 1e7 * kernel, resample)
    assert derivatives.relative(great, 1e37 * _after_the_other(x, kernel, resample)) < 1e-5
    rough = resampled.conv(jnp.bfloat16(x), kernel, resample)
    assert rough.dtype == jnp.bfloat16
    assert derivatives.relative(rough, _after_the_other(x, kernel, resample)) < 0.02


@pytest.mark.parametrize('layer', [modules.Conv, spectral.Conv])
def test_layers_keep_their_parameters(layer):
    x, _ = _arrays(CASES[0])
    options = {'train': False} if layer is spectral.Conv else {}
    plain = layer(5).init(jax.random.key(0), x, **options)
    for resample, grid in (('enlarge', (8, 12)), ('mean_pool', (2, 3))):
        made = layer(5, resample=resample)
        variables = made.init(jax.random.key(0), x, **options)
        jax.tree.map(np.testing.assert_array_equal, variables, plain)
        found = made.apply(plain, x, **options)
        assert found.shape == (2, *grid, 5)
        if resample == 'enlarge':
            expected = layer(5).apply(plain, pooling.enlarge(x), **options)
        else:
            expected = pooling.mean_pool(layer(5).apply(plain, x, **options))
        assert derivatives.relative(found, expected) < 1e-5


def test_what_does_not_fit():
    x, kernel = _arrays(CASES[0])
    with pytest.raises(ValueError, match="unknown resample 'shrink'"):
        resampled.conv(x, kernel, 'shrink')
    with pytest.raises(ValueError, match='a kernel with odd sides'):
        resampled.conv(x, kernel[:2], 'enlarge')
    with pytest.raises(ValueError, match='a stride of 1, half padding and one group, got 2'):
        modules.Conv(5, stride=2, resample='mean_pool').init(jax.random.key(0), x)
