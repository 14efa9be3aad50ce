"""Perceptual path length, against closed forms of linear generators."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from osgan_jax.evaluation.features import lpips
from osgan_jax.evaluation.metrics import path_length
from osgan_jax.layers import convolutions
from osgan_jax.networks import dcgan, stylegan2

Z = 6


def squares(a, b):
    return jnp.sum(jnp.square(a - b), axis=(1, 2, 3))


def linear(matrix, **changes):
    """A generator whose images `[8, 8, 1]` are z, or a w that is z, times a matrix `[Z, 64]`."""
    parts = {
        'variables': {'matrix': np.asarray(matrix, np.float32)},
        'latent_dim': len(matrix),
        'synthesis': lambda v, w, labels, keys: (w @ v['matrix']).reshape(-1, 8, 8, 1),
        'mapping': lambda v, z, labels: z,
    }
    return path_length.Parts(**{**parts, **changes})


MATRIX = np.random.default_rng(0).standard_normal((Z, 64))


def seen(parts, num_pairs, **arguments):
    """The images of both ends, `[num_pairs, H, W, C]` each, as a distance is shown them."""
    found = []

    def distance(a, b):
        jax.debug.callback(lambda *images: found.append(images), a, b)
        return jnp.zeros(len(a))

    arguments = {'batch_size': num_pairs, 'num_devices': 1, **arguments}
    path_length.pair_distances(parts, distance, num_pairs=num_pairs, **arguments)
    jax.effects_barrier()
    [(a, b)] = found
    return np.asarray(a, np.float64), np.asarray(b, np.float64)


@functools.cache
def latents(num_pairs, seed):
    """z0 and z1 of pairs, `[num_pairs, Z]`: with a step of 1 the two ends of the line."""
    parts = linear(np.eye(Z, 64))
    a, b = (x.reshape(-1, 64)[:, :Z] for x in seen(parts, num_pairs, seed=seed, epsilon=1.0))
    return a, b


def test_latents_are_normal_and_of_each_pair():
    z = np.concatenate(latents(2000, seed=3))
    assert len(np.unique(z[:, 0])) == 4000
    np.testing.assert_allclose(z.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(z.T), np.eye(Z), atol=0.15)
    assert not np.isclose(z[:60], latents(60, seed=1)[0]).all(1).any()


@pytest.mark.parametrize(('sampling', 'crop'), [('end', False), ('full', True)])
def test_linear_generator(sampling, crop):
    """|J (w1 - w0)|^2 for every pair, wherever on the line the step is taken."""
    z0, z1 = latents(60, seed=1)
    images = ((z1 - z0) @ MATRIX).reshape(60, 8, 8)
    images = images[:, 3:7, 2:6] if crop else images
    expected = np.square(images).sum((1, 2))
    result = path_length.pair_distances(
        linear(MATRIX), squares, num_pairs=60, sampling=sampling, crop=crop, batch_size=60, seed=1
    )
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=3e-3)
    # The first percentile of 60 is the least, the 99th the greatest: all are kept.
    np.testing.assert_array_equal(path_length.reject_outliers(result), result)


def test_place_between_latents():
    z0, z1 = latents(60, seed=1)
    parts = linear(np.eye(Z, 64))
    near, far = (
        x.reshape(-1, 64)[:, :Z] for x in seen(parts, 60, seed=1, sampling='full', epsilon=0.25)
    )
    t = np.sum((near - z0) * (z1 - z0), 1) / np.square(z1 - z0).sum(1)
    np.testing.assert_allclose(near, z0 + t[:, None] * (z1 - z0), atol=1e-5)
    np.testing.assert_allclose(far - near, 0.25 * (z1 - z0), atol=1e-5)
    # Uniform: quartiles of 60 numbers.
    assert t.min() > -1e-6
    assert t.max() < 1 + 1e-6
    np.testing.assert_allclose(np.quantile(t, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.15)


def test_other_steps():
    z0, z1 = latents(60, seed=1)
    expected = np.square((z1 - z0) @ MATRIX).sum(1)
    run = {'num_pairs': 60, 'seed': 1, 'batch_size': 60, 'epsilon': 0.1}
    found = path_length.pair_distances(linear(MATRIX), squares, **run)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # What is not quadratic is divided by the square all the same.
    quartic = path_length.pair_distances(linear(MATRIX), lambda a, b: squares(a, b) ** 2, **run)
    np.testing.assert_allclose(quartic, 0.1**2 * expected**2, rtol=1e-5)


@pytest.mark.parametrize(
    ('sampling', 'mapping'), [('end', None), ('full', None), ('full', linear(MATRIX).mapping)]
)
def test_great_circles(sampling, mapping):
    """On a circle of radius sqrt(Z) a step of 1 is the angle: Z times its square, by hand."""
    z0, z1 = latents(60, seed=1)
    cosine = np.sum(z0 * z1, 1) / np.linalg.norm(z0, axis=1) / np.linalg.norm(z1, axis=1)
    result = path_length.pair_distances(
        linear(np.eye(Z, 64), mapping=mapping),
        squares,
        num_pairs=60,
        space='z',
        sampling=sampling,
        batch_size=60,
        seed=1,
    )
    np.testing.assert_allclose(result, Z * np.arccos(cosine) ** 2, rtol=3e-3)


def published_slerp(a, b, t):
    """As Shoemake 1985 writes it, of directions."""
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    angle = np.arccos(np.sum(a * b, -1, keepdims=True))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


@pytest.mark.parametrize('size', [2, 512])
def test_slerp_step(size):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, size))
    t = rng.uniform(0, 1, (50, 1))
    for epsilon in (1e-4, 0.3):
        first, second = path_length.slerp_step(
            *(jnp.asarray(x, jnp.float32) for x in (a, b, t)), epsilon
        )
        root = np.sqrt(size)
        np.testing.assert_allclose(first, root * published_slerp(a, b, t), atol=1e-5)
        np.testing.assert_allclose(second, root * published_slerp(a, b, t + epsilon), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(second, axis=1), root, rtol=1e-6)


@pytest.mark.parametrize('space', ['w', 'z'])
def test_steps_keep_more_digits_than_the_published_ones(space):
    """Squares of float32 steps against those in float64, in 512 dimensions as StyleGAN2 has."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200, 512)).astype(np.float32)
    t = rng.uniform(0, 1, (200, 1)).astype(np.float32)
    epsilon = np.float32(1e-4)
    exact = [x.astype(np.float64) for x in (a, b, t)]

    def lerp(a, b, t):
        return a + t * (b - a)

    def slerp(a, b, t):
        """By the formula of the published code, in the inputs' own precision."""
        a, b = (v / np.sqrt(np.square(v).sum(-1, keepdims=True)) for v in (a, b))
        cosine = (a * b).sum(-1, keepdims=True)
        across = b - cosine * a
        across = across / np.sqrt(np.square(across).sum(-1, keepdims=True))
        place = t * np.arccos(cosine)
        return a * np.cos(place) + across * np.sin(place)

    published = lerp if space == 'w' else slerp
    ours = path_length.lerp_step if space == 'w' else path_length.slerp_step
    scale = 1 if space == 'w' else np.sqrt(512)

    def square(first, second):
        return np.square(np.asarray(second, np.float64) - np.asarray(first, np.float64)).sum(1)

    expected = square(
        *(scale * published(*exact[:2], exact[2] + e) for e in (0, np.float64(epsilon)))
    )
    plain = square(*(scale * published(a, b, t + e) for e in (np.float32(0), epsilon)))
    found = square(*ours(jnp.asarray(a), jnp.asarray(b), jnp.asarray(t), 1e-4))
    error, plain_error = (np.abs(x / expected - 1) for x in (found, plain))
    assert plain.dtype == np.float64
    assert plain_error.mean() > 2e-4
    assert error.mean() < plain_error.mean() / 3
    assert error.max() < 2e-4
    assert abs(np.mean(found / expected) - 1) < 2e-5


# What is compared of an image.


def test_crop():
    images = np.arange(2 * 16 * 16 * 3, dtype=np.float32).reshape(2, 16, 16, 3)
    found = path_length.prepare(jnp.asarray(images), crop=True)
    np.testing.assert_array_equal(found, images[:, 6:14, 4:12])
    np.testing.assert_array_equal(path_length.prepare(jnp.asarray(images)), images)
    # Of 20 pixels, c is 2.
    found = path_length.prepare(
        jnp.asarray(np.pad(images, ((0, 0), (0, 4), (0, 4), (0, 0)))), crop=True
    )
    np.testing.assert_array_equal(found, images[:, 6:14, 4:12])


def test_large_images_are_averaged():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 512, 512, 1)).astype(np.float32)
    found = np.asarray(path_length.prepare(jnp.asarray(images)))
    assert found.shape == (2, 256, 256, 1)
    np.testing.assert_allclose(found[1, 7, 9], images[1, 14:16, 18:20].mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(found.mean(), images.mean(), atol=1e-6)
    # A crop of 512 is 256 and stays as it is.
    found = path_length.prepare(jnp.asarray(images), crop=True)
    np.testing.assert_array_equal(found, images[:, 192:448, 128:384])


@pytest.mark.parametrize(
    ('shape', 'crop', 'expected'),
    [
        ((256, 256), False, (256, 256)),
        ((511, 300), False, (511, 300)),
        ((768, 768), False, (256, 256)),
        ((640, 320), False, (320, 160)),
        ((1024, 1024), True, (256, 256)),
        ((1024, 1024), False, (256, 256)),
    ],
)
def test_sizes_that_are_compared(shape, crop, expected):
    images = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    found = jax.eval_shape(lambda x: path_length.prepare(x, crop=crop), images)
    assert found.shape == (1, *expected, 3)


def test_images_that_cannot_be_prepared():
    for shape in [(1, 7, 7, 1), (1, 16, 12, 1), (1, 16, 32, 1)]:
        with pytest.raises(ValueError, match='cannot be cropped to a face'):
            path_length.prepare(jnp.zeros(shape), crop=True)
    for shape in [(1, 515, 512, 1), (1, 512, 515, 1)]:
        with pytest.raises(ValueError, match='pixels cannot be averaged to about 256: 2 does not'):
            path_length.prepare(jnp.zeros(shape))


@pytest.mark.parametrize('count', [1, 2, 50, 101, 1000])
def test_outliers(count):
    """By ranks: position 1% and 99% of the way from the least to the greatest."""
    distances = np.random.default_rng(count).permutation(np.exp(np.linspace(0, 9, count)))
    kept = path_length.reject_outliers(distances)
    ranked = np.sort(distances)
    first, last = int(np.floor(0.01 * (count - 1))), int(np.ceil(0.99 * (count - 1)))
    np.testing.assert_array_equal(np.sort(kept), ranked[first : last + 1])
    if count == 1000:
        assert (first, last) == (9, 990)  # 0.01 * 999 = 9.99 and 0.99 * 999 = 989.01, outwards


def test_outliers_are_left_out_of_the_mean():
    """A distance that is 1e6 for one pair in a hundred."""

    def spiky(a, b):
        return jnp.where(a[:, 0, 0, 0] > 2.6, 1e6, 1.0) * squares(a, b)

    run = {'num_pairs': 1000, 'batch_size': 1000, 'seed': 0}
    result = path_length.pair_distances(linear(np.eye(Z, 64)), spiky, **run)
    spikes = result > 1e5
    assert 1 <= spikes.sum() <= 9
    kept = path_length.reject_outliers(result)
    assert len(kept) == 982
    assert kept.mean() < 30 < result.mean()
    np.testing.assert_array_equal(np.sort(kept), np.sort(result)[9:991])


# Randomness.


def restless(num_classes=0):
    """A generator whose noise, and whose classes, differ by thousands."""

    def synthesis(v, w, labels, keys):
        added = 1e3 * jax.vmap(jax.random.normal)(keys)
        if labels is not None:
            added += 1e4 * labels
        return (w @ v['matrix'] / 100 + added[:, None]).reshape(-1, 8, 8, 1)

    return linear(MATRIX, synthesis=synthesis, num_classes=num_classes)


def test_both_images_have_the_noise_and_the_label():
    a, b = seen(restless(5), 400, epsilon=1e-2)
    np.testing.assert_allclose(a, b, atol=0.1)
    level = a.mean((1, 2, 3))
    # Labels 0 to 4, a fifth each, and noise of deviation 1000 that is different in every pair.
    labels = np.clip(np.round(level / 1e4), 0, 4)
    np.testing.assert_allclose(np.bincount(labels.astype(int)) / 400, 0.2, atol=0.06)
    noise = level - 1e4 * labels
    assert 900 < noise.std() < 1100
    assert len(np.unique(np.round(noise, 1))) > 350


def test_one_and_several_devices_and_other_batches():
    log = []

    def lengths(**arguments):
        # Sums of images show every draw; differences of two would hide noise and labels. The
        # distance's own array goes to all devices.
        distance = jax.tree_util.Partial(lambda two, a, b: squares(a, -b) / two, np.float32(2))
        return path_length.pair_distances(
            restless(3), distance, seed=5, sampling='full', epsilon=1e-2, **arguments
        )

    expected = lengths(num_pairs=11, batch_size=11, num_devices=1)
    several = lengths(
        num_pairs=11, batch_size=4, num_devices=4, progress=lambda *at: log.append(at)
    )
    np.testing.assert_allclose(several, expected, rtol=1e-5)
    assert log == [(0, 11), (4, 11), (8, 11), (11, 11)]
    # A shorter run is the beginning of a longer one.
    begun = lengths(num_pairs=5, batch_size=3, num_devices=1)
    np.testing.assert_allclose(begun, expected[:5], rtol=1e-5)


# Generators of the package.


def parts_of(module, variables, has_styles):
    network = types.SimpleNamespace(has_styles=has_styles, latents=None)
    gan = types.SimpleNamespace(generator=module, network=network, latent_dim=Z, num_classes=0)
    return path_length.parts_of(gan, variables)


@pytest.fixture(scope='module')
def style():
    """A small StyleGAN2 whose noise is a hundred times what it adds noise to."""
    module = stylegan2.Generator(
        8, channels=1, w_dim=Z, latent_dim=Z, base_channels=32, max_channels=8, mapping_layers=2
    )
    z = jnp.zeros((1, Z))
    variables = jax.jit(lambda: module.init(jax.random.key(0), z, train=False))()
    params = jax.tree.map(lambda x: x + 100.0 if x.shape == () else x, variables['params'])
    return module, {'params': params, 'batch_stats': {'w_average': jnp.ones(Z)}}


def test_stylegan2_parts(style):
    module, variables = style
    parts = parts_of(module, variables, has_styles=True)
    synthesis = jax.jit(lambda w, keys: parts.synthesis(variables, w, None, keys))
    z = jax.random.normal(jax.random.key(1), (3, Z))
    w = parts.mapping(variables, z, None)
    keys = jax.random.split(jax.random.key(2), 2)
    images = synthesis(w, keys[jnp.array([0, 1, 0])])
    assert images.shape == (3, 8, 8, 1)

    @jax.jit
    def plain(w, key):
        ws = module.apply(variables, w, method='styles')
        return module.apply(variables, ws, key, method='synthesis')

    # The noise of a row is its key's, whatever else is in the batch.
    for row, key in enumerate((0, 1, 0)):
        [alone] = plain(w[row : row + 1], keys[key])
        np.testing.assert_allclose(images[row], alone, rtol=1e-4, atol=1e-3)
    twice = w[jnp.array([0, 0, 0])]
    same = synthesis(twice, keys[jnp.array([0, 0, 1])])
    np.testing.assert_array_equal(same[0], same[1])
    assert np.abs(same[0] - same[2]).max() > 10


@pytest.mark.parametrize('space', ['w', pytest.param('z', marks=pytest.mark.slow)])
def test_stylegan2_with_much_noise(style, space):
    """Were noise not the same for both images, lengths would be of the order of 1e12."""
    module, variables = style
    parts = parts_of(module, variables, has_styles=True)
    result = path_length.pair_distances(
        parts, squares, num_pairs=8, space=space, batch_size=8, epsilon=1e-3
    )
    assert result.min() > 0
    assert result.max() < 1e9


@pytest.mark.slow
def test_lower_precision_is_not_lost_in(style):
    """Of bfloat16's 8 bits nothing would be left of a step of 1e-4."""
    module, variables = style
    quiet = jax.tree.map(lambda x: x * 0 if x.shape == () else x, variables)
    coarse = module.clone(dtype=jnp.bfloat16)
    parts = parts_of(coarse, quiet, has_styles=True)
    result = path_length.pair_distances(parts, squares, num_pairs=4, batch_size=4, seed=1)

    def images(w):
        return module.apply(quiet, module.apply(quiet, w, method='styles'), method='synthesis')

    @jax.jit
    def slopes(z0, z1):
        near, far = (module.apply(quiet, z, method='mapping') for z in (z0, z1))
        return squares(jax.jvp(images, (near,), (far - near,))[1], 0)

    # The derivative along the line has all the digits.
    with convolutions.implementation('plain'):
        expected = slopes(*(z[:4].astype(np.float32) for z in latents(60, seed=1)))
    np.testing.assert_allclose(result, expected, rtol=0.01)


def test_a_generator_without_w():
    module = dcgan.Generator(latent_dim=Z, image_size=16, channels=1, width=4, dtype=jnp.bfloat16)
    variables = jax.jit(lambda: module.init(jax.random.key(0), jnp.zeros((2, Z)), train=False))()
    # It runs in float32 all the same.
    parts = parts_of(module, variables, has_styles=False)
    assert parts.mapping is None
    near, far = seen(parts, 3, seed=1, space='z', epsilon=1.0)
    plain = module.clone(dtype=jnp.float32)
    generate = jax.jit(lambda z: plain.apply(variables, z, train=False))
    for images, z in zip((near, far), latents(60, seed=1), strict=True):
        z = z[:3]
        z = np.sqrt(Z) * z / np.linalg.norm(z, axis=1, keepdims=True)
        expected = generate(jnp.asarray(z, jnp.float32))
        np.testing.assert_allclose(images, expected, atol=1e-5)


@pytest.mark.slow
def test_with_lpips():
    """Weights go to all devices, as the arrays of a Partial."""
    x = jnp.zeros((1, 16, 16, 1))
    variables = jax.jit(lambda: lpips.LPIPS(2).init(jax.random.key(0), x, x))()
    variables['params']['vgg16'] = jax.tree.map(
        lambda leaf: 20 * leaf, variables['params']['vgg16']
    )
    distance = jax.tree_util.Partial(lambda v, a, b: lpips.LPIPS(2).apply(v, a, b), variables)
    matrix = np.random.default_rng(0).standard_normal((Z, 256)) / 3
    parts = linear(matrix, synthesis=lambda v, w, *_: (w @ v['matrix']).reshape(-1, 16, 16, 1))
    result = path_length.pair_distances(parts, distance, num_pairs=8, batch_size=8, epsilon=1e-2)
    a, b = seen(parts, 8, epsilon=1e-2)
    expected = jax.jit(distance)(a.astype(np.float32), b.astype(np.float32)) / 1e-4
    assert (expected > 0).all()
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_bad_arguments():
    for arguments, message in (
        ({'batch_size': 0}, 'expected a batch_size of at least 1'),
        ({'num_devices': 5}, '1 to 4 devices'),
    ):
        with pytest.raises(ValueError, match=message):
            path_length.pair_distances(linear(MATRIX), squares, **{'num_pairs': 4, **arguments})
    with pytest.raises(ValueError, match=r'expected one distance a pair, \(4,\), got \(\)'):
        path_length.pair_distances(
            linear(MATRIX), lambda a, b: squares(a, b).sum(), num_pairs=4, batch_size=16
        )


def test_what_is_not_finite():
    def broken(v, w, labels, keys):
        images = linear(MATRIX).synthesis(v, w, labels, keys)
        return jnp.where(w[:, :1, None, None] > 1.5, jnp.nan, images)

    a, _ = seen(linear(np.eye(Z, 64)), 100)
    first = int(np.argmax(a[:, 0, 0, 0] > 1.5))
    assert first > 0
    with pytest.raises(ValueError, match=f'distance of pair {first} is nan: the generator made'):
        path_length.pair_distances(
            linear(MATRIX, synthesis=broken), squares, num_pairs=100, batch_size=4
        )
