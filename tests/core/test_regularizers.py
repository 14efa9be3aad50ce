"""Penalties against closed forms, loops over kernels, and torch's double backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import osgan_jax
from osgan_jax.core import regularizers

N, SIZE, CHANNELS = 5, 4, 2
SHAPE = (N, SIZE, SIZE, CHANNELS)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def linear(weights):
    """A judge whose gradient is `weights` at every image."""
    return lambda x: jnp.sum(x * weights, axis=(1, 2, 3)) + 3.0


def quadratic(weights):
    """A judge whose gradient at x is `weights * x`."""
    return lambda x: jnp.sum(weights * jnp.square(x), axis=(1, 2, 3)) / 2


def gradient(judge, images):
    return jax.grad(lambda x: jnp.sum(judge(x)))(images)


@pytest.mark.parametrize('shape', [SHAPE, (N, 2)])
def test_squared_norm_is_float32_of_each_sample(shape):
    narrow = jnp.asarray(draw(0, *shape), jnp.bfloat16)
    found = jax.jit(regularizers.squared_norm)(narrow)
    assert found.dtype == jnp.float32
    expected = np.sum(np.asarray(narrow, np.float32).reshape(N, -1) ** 2, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_r1_and_its_gradient_to_the_weights():
    images, weights = draw(0, *SHAPE), draw(1, *SHAPE[1:])

    def penalty(weights):
        return jnp.mean(regularizers.r1(gradient(quadratic(weights), images), 10.0))

    value, of_weights = jax.jit(jax.value_and_grad(penalty))(weights)
    each = 5.0 * np.sum((weights * images) ** 2, (1, 2, 3))
    np.testing.assert_allclose(value, each.mean(), rtol=1e-5)
    np.testing.assert_allclose(of_weights, 10.0 * weights * (images**2).mean(0), rtol=1e-5)


def between(judge, real, fake, mixture):
    return regularizers.gradient_penalty(
        gradient(judge, regularizers.mix(real, fake, mixture)), 10.0
    )


def test_gradient_penalty_is_taken_between_real_and_fake():
    real, fake, weights = draw(0, *SHAPE), draw(1, *SHAPE), draw(2, *SHAPE[1:])
    mixture = np.linspace(0, 1, N, dtype=np.float32)

    def penalty(weights):
        return between(quadratic(weights), real, fake, mixture)

    mixed = fake + mixture[:, None, None, None] * (real - fake)
    norm = np.sqrt(np.sum((weights * mixed) ** 2, (1, 2, 3)))
    np.testing.assert_allclose(jax.jit(penalty)(weights), 10 * (norm - 1) ** 2, rtol=1e-4)
    of_weights = jax.grad(lambda w: jnp.mean(penalty(w)))(weights)
    factor = (20 * (norm - 1) / norm)[:, None, None, None]
    np.testing.assert_allclose(of_weights, np.mean(factor * weights * mixed**2, 0), rtol=1e-4)


def test_gradient_penalty_is_0_at_norm_1():
    weights = np.zeros(SHAPE[1:], np.float32)
    weights[1, 2, 0] = -1.0
    real, fake = draw(0, *SHAPE), draw(1, *SHAPE)
    found = between(linear(weights), real, fake, np.full(N, 0.3))
    np.testing.assert_allclose(found, np.zeros(N), atol=1e-10)


@pytest.mark.parametrize('judge', [linear, quadratic])
def test_gradient_penalty_is_finite_where_the_gradient_is_0(judge):
    def penalty(weights):
        mixture = jnp.full(N, 0.5)
        real = jnp.ones(SHAPE)
        return jnp.mean(between(judge(weights), real, real, mixture))

    value, of_weights = jax.jit(jax.value_and_grad(penalty))(jnp.zeros(SHAPE[1:]))
    np.testing.assert_allclose(value, 10.0, rtol=1e-5)
    assert np.isfinite(of_weights).all()


def test_path_lengths_of_a_linear_map():
    matrix, noise = draw(0, 6, np.prod(SHAPE[1:])), draw(1, *SHAPE)

    def paint(z):
        return (z @ matrix).reshape(-1, *SHAPE[1:])

    y = noise.reshape(N, -1) / SIZE
    expected = np.linalg.norm(y @ matrix.T, axis=1)
    found = jax.jit(lambda z: regularizers.path_lengths(paint, z, noise))(draw(2, N, 6))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_path_lengths_average_squares_over_layers():
    matrices, noise = draw(0, 3, 6, np.prod(SHAPE[1:])), draw(1, *SHAPE)

    def paint(ws):
        return jnp.einsum('nlw,lwp->np', ws, matrices).reshape(-1, *SHAPE[1:])

    y = noise.reshape(N, -1) / SIZE
    squares = [np.sum((y @ matrix.T) ** 2, axis=1) for matrix in matrices]
    found = regularizers.path_lengths(paint, draw(2, N, 3, 6), noise)
    np.testing.assert_allclose(found, np.sqrt(np.mean(squares, axis=0)), rtol=1e-5)


def test_path_lengths_have_a_finite_gradient_at_0():
    def length(matrix):
        paint = lambda z: (z @ matrix).reshape(SHAPE)  # noqa: E731
        return jnp.mean(regularizers.path_lengths(paint, draw(0, N, 6), draw(1, *SHAPE)))

    value, gradient = jax.value_and_grad(length)(jnp.zeros((6, np.prod(SHAPE[1:]))))
    assert 0 <= float(value) < 1e-5
    assert np.isfinite(gradient).all()


def loops(kernels):
    """Squared products of all pairs of different filters, one by one."""
    total = 0.0
    for kernel in kernels:
        filters = kernel.shape[-1]
        for i in range(filters):
            for j in range(filters):
                if i != j:
                    total += np.sum(kernel[..., i].astype(float) * kernel[..., j]) ** 2
    return total


def test_orthogonal_against_loops():
    conv, dense = draw(0, 3, 3, 2, 4), draw(1, 6, 5)
    params = {
        'conv': {'kernel': conv, 'bias': draw(2, 4)},
        'dense': {'kernel': dense},
        'scale': draw(3, 7),
        'embedding': {'embedding': draw(4, 10, 3)},
        'mapping': {'embedding': {'kernel': draw(5, 10, 3), 'bias': draw(6, 3)}},
    }
    value, gradient = jax.jit(jax.value_and_grad(regularizers.orthogonal))(params)
    np.testing.assert_allclose(value, loops([conv, dense]), rtol=1e-5)
    products = dense.T @ dense
    np.fill_diagonal(products, 0)
    np.testing.assert_allclose(gradient['dense']['kernel'], 4 * dense @ products, rtol=1e-4)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert bool(np.any(leaf)) == (path[0].key in ('conv', 'dense') and path[-1].key == 'kernel')


def test_orthogonal_is_0_for_orthogonal_filters_of_any_length():
    square, _ = np.linalg.qr(draw(0, 18, 18))
    kernel = (square[:, :5] * [1, 2, 3, 4, 5]).reshape(3, 3, 2, 5).astype(np.float32)
    np.testing.assert_allclose(regularizers.orthogonal({'kernel': kernel}), 0, atol=1e-3)
    assert float(regularizers.orthogonal({'kernel': kernel + 0.1})) > 1


def test_which_penalties_there_are():
    none = regularizers.AllPenalties(penalty_every=16, path_length_every=4, orthogonal=1e-4)
    assert (none.discriminator_every, none.generator_every, none.names) == (0, 0, ())
    for name in ('r1', 'r2', 'gradient_penalty'):
        some = regularizers.AllPenalties(**{name: 1.0}, penalty_every=16)
        assert (some.discriminator_every, some.generator_every) == (16, 0)
        assert some.names == ('penalty_d',)
    both = regularizers.AllPenalties(r1=1.0, path_length=2.0, path_length_every=4)
    assert (both.discriminator_every, both.generator_every) == (1, 4)
    assert both.names == ('penalty_d', 'penalty_g', 'path_length')


@pytest.mark.parametrize('weight', [-1.0, float('nan'), float('inf')])
def test_weights_that_reward_or_ruin_are_refused(weight):
    with pytest.raises(ValueError, match=f'r2 must be at least 0 and finite, got {weight}'):
        osgan_jax.Penalties(r1=1.0, r2=weight)


def test_devices_share_the_weights_of_the_discriminators_penalties():
    whole = regularizers.AllPenalties(r1=1.0, r2=2.0, gradient_penalty=3.0, path_length=4.0)
    assert whole.of_device(4) == regularizers.Penalties(0.25, 0.5, 0.75)


def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


@pytest.mark.parametrize('penalty', ['r1', 'gradient_penalty', 'path_length'])
def test_gradients_to_parameters_are_torchs_double_backward(penalty):
    torch = pytest.importorskip('torch')
    functional = torch.nn.functional
    kernel, out = 0.5 * draw(0, 2, 2, CHANNELS, 6), 0.5 * draw(1, 2 * 2 * 6, 1)
    mapping, paint = 0.5 * draw(2, 6, 8), 0.5 * draw(3, 2, 8, np.prod(SHAPE[1:]))
    real, fake, noise, z = draw(4, *SHAPE), draw(5, *SHAPE), draw(6, *SHAPE), draw(7, N, 6)
    mixture = np.linspace(0.1, 0.9, N, dtype=np.float32)

    def ours(kernel, out, mapping, paint):
        def judge(x):
            features = jax.nn.leaky_relu(convolve(x, kernel), 0.2)
            return (features.reshape(len(x), -1) @ out)[:, 0]

        def images(ws):
            return jnp.tanh(jnp.einsum('nlw,lwp->np', ws, paint)).reshape(SHAPE)

        if penalty == 'r1':
            values = regularizers.r1(gradient(judge, real), 10.0)
        elif penalty == 'gradient_penalty':
            values = between(judge, real, fake, mixture)
        else:
            w = jnp.tanh(z @ mapping)
            ws = jnp.stack([w, w], axis=1)
            values = jnp.square(regularizers.path_lengths(images, ws, noise) - 0.3)
        return jnp.mean(values)

    def theirs(kernel, out, mapping, paint):
        def squared(x):
            channels_first = x.permute(0, 3, 1, 2)
            features = functional.conv2d(channels_first, kernel.permute(3, 2, 0, 1), stride=2)
            features = functional.leaky_relu(features, 0.2).permute(0, 2, 3, 1)
            logits = features.reshape(N, -1) @ out
            (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            return gradient.pow(2).sum((1, 2, 3))

        if penalty == 'r1':
            return 5 * squared(torch.tensor(real, requires_grad=True)).mean()
        if penalty == 'gradient_penalty':
            share = torch.tensor(mixture)[:, None, None, None]
            between = share * torch.tensor(real) + (1 - share) * torch.tensor(fake)
            return 10 * (squared(between.requires_grad_()).sqrt() - 1).pow(2).mean()
        w = torch.tanh(torch.tensor(z) @ mapping)
        ws = torch.stack([w, w], 1)
        images = torch.tanh(torch.einsum('nlw,lwp->np', ws, paint)).reshape(SHAPE)
        moved = (images * torch.tensor(noise) / SIZE).sum()
        (gradient,) = torch.autograd.grad(moved, ws, create_graph=True)
        return (gradient.pow(2).sum(2).mean(1).sqrt() - 0.3).pow(2).mean()

    arrays = (kernel, out, mapping, paint)
    value, gradients = jax.jit(jax.value_and_grad(ours, argnums=(0, 1, 2, 3)))(*arrays)
    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    expected = theirs(*tensors)
    expected.backward()
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-5)
    for ours_, tensor in zip(gradients, tensors, strict=True):
        reference = 0 * ours_ if tensor.grad is None else tensor.grad
        np.testing.assert_allclose(ours_, reference, rtol=1e-4, atol=1e-5)
    assert max(float(np.abs(g).max()) for g in gradients) > 1e-2
