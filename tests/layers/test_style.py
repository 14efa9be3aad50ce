"""StyleGAN2's layers against kernels made for each sample, and filters written as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.layers import resampling, style
from tests.support import modules

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
RNG = np.random.default_rng(0)


def upfirdn(x, up, down, pads, gain):
    """Zeros between pixels, padding, the filter, every `down`-th pixel; all by loops."""
    n, h, w, c = x.shape
    wide = np.zeros((n, h * up, w * up, c))
    wide[:, ::up, ::up] = x
    wide = np.pad(wide, ((0, 0), pads, pads, (0, 0)))
    height, width = wide.shape[1] - 3, wide.shape[2] - 3
    out = np.zeros((n, height, width, c))
    for i in range(height):
        for j in range(width):
            out[:, i, j] = np.einsum('nabc,ab->nc', wide[:, i : i + 4, j : j + 4], FILTER)
    return gain * out[:, ::down, ::down]


def test_filters_by_loops():
    x = RNG.normal(size=(2, 6, 4, 3)).astype(np.float32)
    same = {'rtol': 1e-4, 'atol': 1e-5}
    np.testing.assert_allclose(resampling.double(x), upfirdn(x, 2, 1, (2, 1), 4), **same)
    np.testing.assert_allclose(resampling.halve(x), upfirdn(x, 1, 2, (1, 1), 1), **same)
    blurred = resampling.blur(x, (2, 2), gain=4.0)
    np.testing.assert_allclose(blurred, upfirdn(x, 1, 1, (2, 2), 4), **same)
    # Away from the border a constant stays what it is.
    ones = jnp.ones((1, 8, 8, 1))
    np.testing.assert_allclose(resampling.double(ones)[:, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(resampling.halve(ones)[:, 1:-1, 1:-1], 1, rtol=1e-6)


@pytest.mark.parametrize('demodulate', [True, False])
@pytest.mark.parametrize('double', [True, False])
def test_modulation_is_a_kernel_for_each_sample(double, demodulate):
    layer = style.ModulatedConv(5, double=double, demodulate=demodulate)
    x = RNG.normal(size=(3, 4, 4, 6)).astype(np.float32)
    w = RNG.normal(size=(3, 7)).astype(np.float32)
    params = modules.init(layer, jax.random.key(0), x, w)['params']
    found = modules.apply(layer, {'params': params}, x, w)
    scales = w @ np.asarray(params['style']['kernel']) / np.sqrt(7) + 1
    expected = []
    for image, scale in zip(x.astype(np.float64), scales, strict=True):
        kernel = np.asarray(params['kernel'], np.float64) / np.sqrt(9 * 6)
        kernel = kernel * scale[None, None, :, None]  # Eq. 1
        if demodulate:
            kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2)) + 1e-8)  # Eq. 3
        if double:
            # Each pixel is painted with the kernel, two pixels apart.
            painted = np.zeros((1, 9, 9, 5))
            for i in range(4):
                for j in range(4):
                    stamp = np.einsum('i,abio->abo', image[i, j], kernel)
                    painted[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += stamp
            expected.append(upfirdn(painted, 1, 1, (1, 1), 4)[0])
        else:
            padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
            out = np.zeros((4, 4, 5))
            for i in range(4):
                for j in range(4):
                    window = padded[i : i + 3, j : j + 3]
                    out[i, j] = np.einsum('abi,abio->o', window, kernel)
            expected.append(out)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4, atol=1e-4)


def test_demodulated_outputs_have_the_inputs_variance():
    layer = style.ModulatedConv(64)
    x = RNG.normal(size=(2, 16, 16, 64)).astype(np.float32)
    w = 3 * RNG.normal(size=(2, 8)).astype(np.float32)
    out = modules.apply(layer, modules.init(layer, jax.random.key(0), x, w), x, w)
    np.testing.assert_allclose(np.std(out[:, 1:-1, 1:-1]), 1, atol=0.05)


def test_learning_rates_are_equalised():
    layer = style.Dense(400, bias=1.0, multiplier=0.01)
    x = RNG.normal(size=(50, 300)).astype(np.float32)
    variables = modules.init(layer, jax.random.key(0), x)
    params = variables['params']
    np.testing.assert_allclose(np.std(params['kernel']), 100, rtol=0.02)
    np.testing.assert_allclose(params['bias'], 100)
    out = modules.apply(layer, variables, x)
    np.testing.assert_allclose(out, x @ params['kernel'] * 0.01 / np.sqrt(300) + 1, atol=1e-4)
    np.testing.assert_allclose(np.std(out), 1, atol=0.05)


@pytest.mark.parametrize('size', [1, 3])
def test_halving_convolution_blurs_first(size):
    layer = style.Conv(5, size, halve=True)
    x = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
    variables = modules.init(layer, jax.random.key(0), x)
    pad = (1, 1) if size == 1 else (2, 2)
    blurred = upfirdn(x, 1, 1, pad, 1)
    kernel = np.asarray(variables['params']['kernel']) / np.sqrt(size * size * 3)
    expected = np.zeros((2, 3, 3, 5))
    for i in range(3):
        for j in range(3):
            window = blurred[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size]
            expected[:, i, j] = np.einsum('nabi,abio->no', window, kernel)
    np.testing.assert_allclose(modules.apply(layer, variables, x), expected, rtol=1e-4, atol=1e-5)


def test_minibatch_deviation_by_loops():
    x = RNG.normal(size=(8, 3, 3, 2)).astype(np.float32)
    found = style.minibatch_deviation(x, 4)
    np.testing.assert_array_equal(found[..., :2], x)
    for n in range(8):
        group = x[n % 2 :: 2]
        deviation = np.sqrt(group.var(0) + 1e-8).mean()
        np.testing.assert_allclose(found[n, ..., 2], deviation, rtol=1e-5)
    assert style.minibatch_deviation(x[:2], 4).shape == (2, 3, 3, 3)
    with pytest.raises(ValueError, match='groups of 4 do not divide 6'):
        style.minibatch_deviation(x[:6], 4)
    gradient = jax.grad(lambda x: style.minibatch_deviation(x, 4).sum())(jnp.zeros((4, 2, 2, 1)))
    assert np.isfinite(gradient).all()


def test_groups_stay_within_their_part():
    real, fake = RNG.normal(size=(2, 8, 2, 2, 3)).astype(np.float32)
    together = style.minibatch_deviation(np.concatenate([real, 5 * fake]), 4, splits=2)
    apart = [style.minibatch_deviation(x, 4) for x in (real, 5 * fake)]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-6)
    # Fewer samples than a group: all of a part.
    few = style.minibatch_deviation(np.concatenate([real[:2], fake[:2]]), 4, splits=2)
    np.testing.assert_allclose(few[:2], style.minibatch_deviation(real[:2], 2), rtol=1e-6)
    with pytest.raises(ValueError, match='2 parts do not divide 7'):
        style.minibatch_deviation(real[:7], 4, splits=2)


def test_doubling_is_a_mirrored_convolution_of_an_image_spread_by_zeros():
    layer = style.ModulatedConv(4, double=True, demodulate=False)
    x = RNG.normal(size=(2, 5, 3, 6)).astype(np.float32)
    w = np.zeros((2, 7), np.float32)  # styles of 1
    variables = modules.init(layer, jax.random.key(0), x, w)
    kernel = np.asarray(variables['params']['kernel'])[::-1, ::-1] / np.sqrt(9 * 6)
    spread = np.zeros((2, 9 + 4, 5 + 4, 6))
    spread[:, 2:-2:2, 2:-2:2] = x
    out = np.zeros((2, 11, 7, 4))
    for i in range(11):
        for j in range(7):
            out[:, i, j] = np.einsum('nabi,abio->no', spread[:, i : i + 3, j : j + 3], kernel)
    expected = upfirdn(out, 1, 1, (1, 1), 4)
    np.testing.assert_allclose(
        modules.apply(layer, variables, x, w), expected, rtol=1e-4, atol=1e-5
    )


def test_pixel_norm_and_activation():
    x = RNG.normal(size=(3, 5)).astype(np.float32)
    expected = [row / np.sqrt((row**2).mean()) for row in x]
    np.testing.assert_allclose(style.pixel_norm(x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        style.activate(x), np.sqrt(2) * np.where(x < 0, 0.2 * x, x), rtol=1e-6
    )
